"""Create the lab's domain, on its controller: `/usr/bin/python3 -P provision.py FILE.json`.

Samba's modules belong to the system's Python, which need not have vmferry's packages. So this module imports nothing of
vmferry, and reads its task from a file that lab/controller.py writes. It works on the database, so it needs no running
Samba and no password on a command line. What exists is not changed.

Creating a domain takes half a minute of CPU time. So it is done once for each version of Samba, and kept as a template
whose keys no lab uses: the copy of each lab gets its own keys and passwords before Samba starts.
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
_READY = STATE / "renewed"  # exists when the domain has its own keys
_AES = "24"  # 128 and 256 bits
_RC4 = 23  # the account has such a key, but the domain issues no tickets for it


def main() -> None:
    """Create what the file describes."""
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
    """Copy the template, or create it. What an interrupted start left is removed."""
    for entry in STATE.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
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
        # The key that encrypts the secrets is stored beside them, and would be the same in all labs.
        plaintext_secrets=True,
    )
    draft = Path(wanted["draft"])
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(STATE, draft)
    os.sync()
    try:
        draft.rename(template)
    except OSError:  # another lab has created it meanwhile
        shutil.rmtree(draft)


def renew(database: SamDB, wanted: dict[str, Any], parameters: LoadParm) -> None:
    """Give the domain keys of its own."""
    for _ in range(2):  # the KDC also accepts tickets of the previous key
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
    # Samba itself registers these names with a script, over the network, when it starts.
    full = f"{controller}.{wanted['realm'].lower()}"
    add_values(database, f"{controller}$", "servicePrincipalName", [f"ldap/{full}", f"ldap/{controller}"])
    settings = ldb.Message(ldb.Dn(database, database.domain_dn()))
    settings["maxPwdAge"] = ldb.MessageElement("0", ldb.FLAG_MOD_REPLACE, "maxPwdAge")  # labs may stay up for long
    database.modify(settings)


def found(database: SamDB, account: str) -> Any:
    """Return an account by its name; None if it does not exist."""
    wanted = f"(sAMAccountName={ldb.binary_encode(account)})"
    result = database.search(base=database.domain_dn(), scope=ldb.SCOPE_SUBTREE, expression=wanted)
    return result[0] if result else None


def add_values(database: SamDB, account: str, attribute: str, values: list[str]) -> None:
    """Add missing values to an attribute of an account."""
    entry = found(database, account)
    present = {str(value).lower() for value in entry.get(attribute, [])}
    missing = [value for value in values if value.lower() not in present]
    if missing:
        change = ldb.Message(entry.dn)
        change[attribute] = ldb.MessageElement(missing, ldb.FLAG_MOD_ADD, attribute)
        database.modify(change)


def replace(database: SamDB, account: str, **values: str) -> None:
    """Replace attributes of an account."""
    change = ldb.Message(found(database, account).dn)
    for attribute, value in values.items():
        change[attribute] = ldb.MessageElement(value, ldb.FLAG_MOD_REPLACE, attribute)
    database.modify(change)


def add_person(database: SamDB, person: dict[str, Any], realm: str) -> None:
    """Create a user, with password, groups and the mark against delegation."""
    name, flag = person["name"], dsdb.UF_NOT_DELEGATED
    groups = [group for group in person["groups"] if not member(database, name, group)]
    if not groups:
        return  # the groups are set last, so all was done
    password = Path(person["password"]).read_text().strip()
    if not found(database, name):
        database.newuser(name, password)
    else:
        database.setpassword(f"(sAMAccountName={ldb.binary_encode(name)})", password)
    # The built-in administrator has no user principal name, which MIT Kerberos uses for the user that a service acts
    # for. Windows derives a missing one, and Samba does not.
    long = f"{name}@{realm.lower()}"
    replace(database, name, **{"msDS-SupportedEncryptionTypes": _AES, "userPrincipalName": long})
    if person["sensitive"]:
        control = int(str(found(database, name)["userAccountControl"]))
        replace(database, name, userAccountControl=str(control | flag))
    for group in groups:
        database.add_remove_group_members(group, [name])


def member(database: SamDB, name: str, group: str) -> bool:
    """Return whether a user is in a group."""
    entry = found(database, name)
    return entry is not None and str(entry.dn) in {str(value) for value in found(database, group).get("member", [])}


def add_host(database: SamDB, host: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Join a host to the domain: add its account, its service names, and its address in the DNS."""
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
    """Add a host's address to the domain's DNS."""
    name = f"DC={host['name']},DC={zone},CN=MicrosoftDNS,DC=DomainDnsZones,{database.domain_dn()}"
    address = ndr_pack(ARecord(host["address"]))
    try:
        database.add({"dn": name, "objectClass": ["top", "dnsNode"], "dnsRecord": [address]})
    except ldb.LdbError as error:
        if error.args[0] != ldb.ERR_ENTRY_ALREADY_EXISTS:
            raise


def escaped(names: list[str]) -> list[str]:
    """Return names with spaces in the form that Samba's KDC looks up, which differs from that of Windows."""
    return [name.replace(" ", "\\ ") for name in names if " " in name]


def write_keytab(database: SamDB, parameters: LoadParm, host: dict[str, Any], realm: str) -> None:
    """Write a host's keys to a keytab, under the name of its account and under each service name.

    Samba exports the keys under the name of the account only. The keys are the same for all names of the account, and
    acceptors such as CredSSP's look for the name of the service.
    """
    enable_net_export_keytab()
    keytab = Path(host["keytab"])
    account = f"{host['name'].upper()}$"
    with tempfile.TemporaryDirectory(dir=keytab.parent) as folder:
        exported = Path(folder, "exported")
        Net(None, parameters).export_keytab(keytab=str(exported), principal=account)
        keys = read_keytab(exported.read_bytes())
        draft = Path(folder, "keytab")
        names = [account, *host["services"]]
        draft.write_bytes(b"\5\2" + b"".join(entry(name, realm, key) for name in names for key in keys))
        draft.rename(keytab)


def add_trust(database: SamDB, other: dict[str, Any]) -> None:
    """Add an external trust in both directions ([MS-ADTS] 6.1.6.7). Each domain adds its own side.

    The KDCs need nothing more. The account that older protocols of Windows use for a trust is not created.
    """
    name = ldb.Dn(database, f"CN={other['name']},CN=System,{database.domain_dn()}")
    if database.search(base=name.parent(), scope=ldb.SCOPE_ONELEVEL, expression=f"(trustPartner={other['name']})"):
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
        "dn": name,
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
    """Return what follows the name in each entry: type of the name, time, version, type of the key, and the key."""
    keys, at = [], 2
    while at < len(content):
        (size,) = struct.unpack_from(">i", content, at)
        record, at = content[at + 4 : at + 4 + abs(size)], at + 4 + abs(size)
        if size > 0:
            (components,) = struct.unpack_from(">H", record)
            start = 2
            for _ in range(components + 1):  # one more for the realm
                start += 2 + struct.unpack_from(">H", record, start)[0]
            (kind,) = struct.unpack_from(">H", record, start + 9)
            if kind != _RC4:
                keys.append(record[start:])
    return keys


def entry(name: str, realm: str, key: bytes) -> bytes:
    """Return an entry of a keytab in MIT's format, in which the length precedes each text."""
    parts = name.split("/")
    texts = b"".join(struct.pack(">H", len(text)) + text.encode() for text in (realm, *parts))
    record = struct.pack(">H", len(parts)) + texts + key
    return struct.pack(">i", len(record)) + record


if __name__ == "__main__":
    main()
