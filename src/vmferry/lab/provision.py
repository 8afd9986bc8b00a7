"""Makes the lab's domain, inside the controller: `/usr/bin/python3 -P provision.py FILE.json`.

Samba's modules belong to the system's Python, which need not have vmferry's packages: so this imports nothing of
vmferry, and what it shall make comes in a file (lab/controller.py writes it). Working on the database itself, it
needs no running Samba and no password on any command line. What is there already is left as it is.

A new domain takes half a minute of a processor. So it is made once for each version of Samba, and kept as a template
whose keys no lab uses: each lab's copy gets keys and passwords of its own before Samba starts.
"""

import json
import logging
import os
import shutil
import struct
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ldb
from samba import Ldb, dsdb, enable_net_export_keytab, generate_random_machine_password, unix2nttime
from samba.auth import system_session
from samba.dcerpc import drsblobs, lsa, security
from samba.ndr import ndr_pack
from samba.net import Net
from samba.param import LoadParm
from samba.provision import provision
from samba.provision.sambadns import ARecord
from samba.samdb import SamDB
from samba.upgradehelpers import update_krbtgt_account_password, update_machine_account_password

STATE = Path("/var/lib/samba")
SETTINGS = "/etc/samba/smb.conf"
_READY = STATE / "renewed"  # the domain is this lab's own
_AES = "24"  # 128 and 256 bits
_RC4 = 23  # the account has such a key, and the domain gives no tickets for it


def main() -> None:
    """Make what the file describes."""
    wanted = json.loads(Path(sys.argv[1]).read_text())
    os.umask(0o077)
    parameters = LoadParm()
    parameters.load(SETTINGS)
    if not _READY.exists():
        take(Path(wanted["template"]), wanted, parameters)
    database = SamDB(url=parameters.private_path("sam.ldb"), session_info=system_session(), lp=parameters)
    if not _READY.exists():
        renew(database, wanted, parameters)
        _READY.touch()
    Path(wanted["identifier"]).write_text(str(database.get_domain_sid()))
    for group in wanted["groups"]:
        if not found(database, group):
            database.newgroup(group)
    for person in wanted["people"]:
        add_person(database, person, wanted["realm"])
    for host in wanted["hosts"]:
        add_host(database, host, wanted)
        if not Path(host["keytab"]).exists():
            write_keytab(database, parameters, host, wanted["realm"])
    for other in wanted["trusts"]:
        add_trust(database, other)


def take(template: Path, wanted: dict[str, Any], parameters: LoadParm) -> None:
    """Take a copy of the template; what a start that was cut off left is thrown away."""
    for place in STATE.iterdir():
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    if template.exists():
        shutil.copytree(template, STATE, dirs_exist_ok=True)
        return
    provision(
        logging.getLogger("provision"),
        system_session(),
        smbconf=SETTINGS,
        lp=parameters,
        realm=wanted["realm"],
        domain=wanted["short"],
        hostname=wanted["controller"]["name"],
        hostip=wanted["controller"]["address"],
        serverrole="active directory domain controller",
        dns_backend="SAMBA_INTERNAL",
        dom_for_fun_level=getattr(dsdb, f"DS_DOMAIN_FUNCTION_{wanted['level']}"),
        # The key that would encrypt the secrets lies beside them, and would be the same in all labs.
        plaintext_secrets=True,
    )
    draft = Path(wanted["draft"])
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(STATE, draft)
    os.sync()
    try:
        draft.rename(template)
    except OSError:  # another lab was faster
        shutil.rmtree(draft)


def renew(database: SamDB, wanted: dict[str, Any], parameters: LoadParm) -> None:
    """Give the domain keys that no other lab has."""
    for _ in range(2):  # the KDC takes tickets of the key before the last as well
        update_krbtgt_account_password(database)
    secrets = Ldb(url=parameters.private_path("secrets.ldb"), session_info=system_session(), lp=parameters)
    controller = wanted["controller"]["name"]
    names = SimpleNamespace(
        netbiosname=controller.upper(),
        domain=wanted["short"],
        realm=wanted["realm"],
        dnsdomain=wanted["realm"].lower(),
        domainsid=security.dom_sid(database.get_domain_sid()),
    )
    for _ in range(2):
        update_machine_account_password(database, secrets, names)
    # Samba's own registration of these runs as a script at its start, over the network.
    full = f"{controller}.{wanted['realm'].lower()}"
    add_values(database, f"{controller}$", "servicePrincipalName", [f"ldap/{full}", f"ldap/{controller}"])
    settings = ldb.Message(ldb.Dn(database, database.domain_dn()))
    settings["maxPwdAge"] = ldb.MessageElement("0", ldb.FLAG_MOD_REPLACE, "maxPwdAge")  # labs may stay up for long
    database.modify(settings)


def found(database: SamDB, account: str) -> Any:
    """Give an account by its name; None if there is none."""
    wanted = f"(sAMAccountName={ldb.binary_encode(account)})"
    result = database.search(base=database.domain_dn(), scope=ldb.SCOPE_SUBTREE, expression=wanted)
    return result[0] if result else None


def add_values(database: SamDB, account: str, attribute: str, values: list[str]) -> None:
    """Add what is missing of an account's values."""
    entry = found(database, account)
    present = {str(value).lower() for value in entry.get(attribute, [])}
    missing = [value for value in values if value.lower() not in present]
    if missing:
        change = ldb.Message(entry.dn)
        change[attribute] = ldb.MessageElement(missing, ldb.FLAG_MOD_ADD, attribute)
        database.modify(change)


def replace(database: SamDB, account: str, **values: str) -> None:
    """Set values of an account."""
    change = ldb.Message(found(database, account).dn)
    for attribute, value in values.items():
        change[attribute] = ldb.MessageElement(value, ldb.FLAG_MOD_REPLACE, attribute)
    database.modify(change)


def add_person(database: SamDB, person: dict[str, Any], realm: str) -> None:
    """Make somebody, with their password, groups and mark."""
    name, flag = person["name"], dsdb.UF_NOT_DELEGATED
    groups = [group for group in person["groups"] if not member(database, name, group)]
    if not groups:
        return  # the groups are set last: all of it was done
    password = Path(person["password"]).read_text().strip()
    if not found(database, name):
        database.newuser(name, password)
    else:
        database.setpassword(f"(sAMAccountName={ldb.binary_encode(name)})", password)
    # The administrator that every domain has from the first lacks the longer name, by which MIT's client asks for those
    # it acts for; Windows makes it up where it is not there, and Samba does not.
    long = f"{name}@{realm.lower()}"
    replace(database, name, **{"msDS-SupportedEncryptionTypes": _AES, "userPrincipalName": long})
    if person["sensitive"]:
        control = int(str(found(database, name)["userAccountControl"]))
        replace(database, name, userAccountControl=str(control | flag))
    for group in groups:
        database.add_remove_group_members(group, [name])


def member(database: SamDB, name: str, group: str) -> bool:
    """Tell whether somebody is in a group."""
    entry = found(database, name)
    return entry is not None and str(entry.dn) in {str(value) for value in found(database, group).get("member", [])}


def add_host(database: SamDB, host: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Join a host: its account, its names in the domain, its address in the domain's DNS."""
    account, full = f"{host['name'].upper()}$", f"{host['name']}.{wanted['realm'].lower()}"
    if not found(database, account):
        database.newcomputer(host["name"].upper())
    entry = found(database, account)
    if int(str(entry["userAccountControl"])) & dsdb.UF_ACCOUNTDISABLE:
        by_name = f"(sAMAccountName={account})"
        replace(database, account, **{"msDS-SupportedEncryptionTypes": _AES, "dNSHostName": full})
        database.setpassword(by_name, generate_random_machine_password(120, 120))
        database.enable_account(by_name)
    add_values(database, account, "servicePrincipalName", host["services"] + escaped(host["services"]))
    add_address(database, host, wanted["realm"].lower())


def add_address(database: SamDB, host: dict[str, Any], zone: str) -> None:
    """Register a host's address in the domain's DNS."""
    place = f"DC={host['name']},DC={zone},CN=MicrosoftDNS,DC=DomainDnsZones,{database.domain_dn()}"
    address = ndr_pack(ARecord(host["address"]))
    try:
        database.add({"dn": place, "objectClass": ["top", "dnsNode"], "dnsRecord": [address]})
    except ldb.LdbError as error:
        if error.args[0] != ldb.ERR_ENTRY_ALREADY_EXISTS:
            raise


def escaped(names: list[str]) -> list[str]:
    """Give names with spaces as Samba's KDC looks them up: it does not know them as Windows has them registered."""
    return [name.replace(" ", "\\ ") for name in names if " " in name]


def write_keytab(database: SamDB, parameters: LoadParm, host: dict[str, Any], realm: str) -> None:
    """Write a host's keys under its account's name and under each name of its services.

    Samba exports the account's keys. An account has one set of them, whatever name a ticket is for, and acceptors
    such as CredSSP's look for the very name.
    """
    enable_net_export_keytab()
    place = Path(host["keytab"])
    account = f"{host['name'].upper()}$"
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        exported = Path(folder, "exported")
        Net(None, parameters).export_keytab(keytab=str(exported), principal=account)
        keys = read_keytab(exported.read_bytes())
        draft = Path(folder, "keytab")
        names = [account, *host["services"]]
        draft.write_bytes(b"\5\2" + b"".join(entry(name, realm, key) for name in names for key in keys))
        draft.rename(place)


def add_trust(database: SamDB, other: dict[str, Any]) -> None:
    """Trust another domain, and be trusted, as an external one ([MS-ADTS] 6.1.6.7); each side does it for itself.

    That is all that the KDCs need. The account by which Windows' older protocols know the trust is not made.
    """
    place = ldb.Dn(database, f"CN={other['name']},CN=System,{database.domain_dn()}")
    if database.search(base=place.parent(), scope=ldb.SCOPE_ONELEVEL, expression=f"(trustPartner={other['name']})"):
        return
    password = Path(other["password"]).read_text().strip().encode("utf-16-le")
    clear = drsblobs.AuthInfoClear()
    clear.size, clear.password = len(password), list(password)
    key = drsblobs.AuthenticationInformation()
    key.AuthType, key.AuthInfo, key.LastUpdateTime = lsa.TRUST_AUTH_TYPE_CLEAR, clear, unix2nttime(int(time.time()))
    keys = drsblobs.AuthenticationInformationArray()
    keys.count, keys.array = 1, [key]
    both = drsblobs.trustAuthInOutBlob()
    both.count, both.current = 1, keys
    trust = {
        "dn": place,
        "objectClass": "trustedDomain",
        "trustPartner": other["name"],
        "flatName": other["short"],
        "securityIdentifier": ndr_pack(security.dom_sid(other["identifier"])),
        "trustType": str(lsa.LSA_TRUST_TYPE_UPLEVEL),
        "trustDirection": str(lsa.LSA_TRUST_DIRECTION_INBOUND | lsa.LSA_TRUST_DIRECTION_OUTBOUND),
        "trustAttributes": "0",
        "msDS-SupportedEncryptionTypes": _AES,
        "trustAuthIncoming": ndr_pack(both),
        "trustAuthOutgoing": ndr_pack(both),
    }
    database.add(trust, controls=["relax:0"])


def read_keytab(content: bytes) -> list[bytes]:
    """Give what follows the name in each entry: the kind of name, when it was made, version, kind of key, key."""
    keys, at = [], 2
    while at < len(content):
        (size,) = struct.unpack_from(">i", content, at)
        record, at = content[at + 4 : at + 4 + abs(size)], at + 4 + abs(size)
        if size > 0:
            (components,) = struct.unpack_from(">H", record)
            start = 2
            for _ in range(components + 1):  # the realm, too
                start += 2 + struct.unpack_from(">H", record, start)[0]
            (kind,) = struct.unpack_from(">H", record, start + 9)
            if kind != _RC4:
                keys.append(record[start:])
    return keys


def entry(name: str, realm: str, key: bytes) -> bytes:
    """Give an entry of a keytab: in MIT's format, each text with its length before it."""
    parts = name.split("/")
    texts = b"".join(struct.pack(">H", len(text)) + text.encode() for text in (realm, *parts))
    record = struct.pack(">H", len(parts)) + texts + key
    return struct.pack(">i", len(record)) + record


if __name__ == "__main__":
    main()
