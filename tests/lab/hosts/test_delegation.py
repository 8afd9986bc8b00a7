"""Delegation in a real domain: what is written is read back with Samba's own tools, and tried with MIT's kvno."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.lab.conftest import NAME
from tests.lab.harness import LIMIT, Failed, Pair, kill, processes, vmferry, wait
from tests.lab.realm import GUEST, MOVE, as_person, ask, dc, move, refused

from vmferry.core.errors import Exit
from vmferry.lab import domain
from vmferry.lab.lab import MACHINE, Lab

pytestmark = pytest.mark.lab

REFUSED = "KDC can't fulfill requested option"
ESCAPED = domain.MIGRATION.replace(" ", "\\ ")
BASE = ",".join(f"DC={part}" for part in domain.NAME.split("."))
SAM = "/var/lib/samba/private/sam.ldb"
# Past Samba's modules, one of which sees to it that no two accounts have the same name.
DUPLICATE = """
import glob, ldb, sys
database = ldb.Ldb(glob.glob("/var/lib/samba/private/sam.ldb.d/DC=LAB,*.ldb")[0], options=["modules:"])
message = ldb.Message(ldb.Dn(database, sys.argv[1]))
message["name"] = ldb.MessageElement(sys.argv[2], ldb.FLAG_MOD_ADD, "servicePrincipalName")
database.modify(message)
"""
DATABASE = """
import ldb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
parameters = LoadParm()
parameters.load("/etc/samba/smb.conf")
parameters.set("dsdb:schema update allowed", "yes")
database = SamDB(parameters.private_path("sam.ldb"), session_info=system_session(), lp=parameters)
"""
CLEAN = f"""{DATABASE}
for entry in database.search(expression="(sAMAccountName=kvm*)", attrs=["userAccountControl"]):
    message = ldb.Message(entry.dn)
    message["targets"] = ldb.MessageElement([], ldb.FLAG_MOD_REPLACE, "msDS-AllowedToDelegateTo")
    control = int(str(entry["userAccountControl"])) & ~0x1080000
    message["control"] = ldb.MessageElement(str(control), ldb.FLAG_MOD_REPLACE, "userAccountControl")
    database.modify(message)
"""
WRITABLE = f"""{DATABASE}
name = "CN=ms-DS-Allowed-To-Act-On-Behalf-Of-Other-Identity," + str(database.get_schema_basedn())
message = ldb.Message(ldb.Dn(database, name))
message["systemOnly"] = ldb.MessageElement("FALSE", ldb.FLAG_MOD_REPLACE, "systemOnly")
database.modify(message, controls=["relax:0"])
database.set_schema_update_now()
"""
FULL = f"kvm2.{domain.NAME}"  # what Kerberos asks for, even if it is told `kvm2`: the domain is in resolv.conf
HOSTS = ("kvm2", FULL)
TARGETS = {f"{service}/{name}" for service in (domain.MIGRATION, ESCAPED, "cifs") for name in HOSTS}


@pytest.fixture(scope="module")
def joined() -> Iterator[Lab]:
    """Two hosts of a domain."""
    yield from domain_of(f"{NAME}d", MACHINE)


@pytest.fixture(scope="module")
def modern() -> Iterator[Lab]:
    """The same, with a newer Samba, which has resource-based delegation; and who may write to an account may set it.

    That is so in Windows; Samba's schema lets nobody but the controller itself.
    """
    for lab in domain_of(f"{NAME}e", "trixie"):
        dc(lab).run("/usr/bin/python3", "-c", WRITABLE)
        yield lab


def domain_of(name: str, release: str) -> Iterator[Lab]:
    lab = Lab.named(name)
    lab.down()
    try:
        lab.up(2, samba=release, say=print)
        yield lab
    finally:
        lab.down()


@pytest.fixture
def lab(joined: Lab) -> Iterator[Lab]:
    """The same, with no delegation when a test ends."""
    yield joined
    dc(joined).run("/usr/bin/python3", "-c", CLEAN)


def samba(lab: Lab, *words: str) -> str:
    """Do something with Samba's own tool, as the domain's root."""
    return dc(lab).run("samba-tool", *words).stdout


def targets(lab: Lab, account: str = "kvm1$") -> set[str]:
    """Return what an account may delegate to, as Samba's tool says."""
    lines = samba(lab, "delegation", "show", account).splitlines()
    return {line.partition(": ")[2] for line in lines if line.startswith("msDS-AllowedToDelegateTo: ")}


def any_protocol(lab: Lab, account: str = "kvm1$") -> bool:
    return "TO_AUTHENTICATE_FOR_DELEGATION: True" in samba(lab, "delegation", "show", account)


def delegation(lab: Lab, *words: str, person: str = "administrator", host: str = "kvm1") -> Any:
    """Run `vmferry delegation` with somebody's ticket; return its JSON.

    Raises:
        Failed: it failed.
    """
    return as_person(lab, person, lab.host(host), "delegation", *words)


def act(lab: Lab, person: str, service: str) -> str:
    """Have kvm1 ask for a ticket in somebody's name, and with it for one to a service; what kvno objects."""
    machine = lab.host("kvm1")
    into = [*("env", "KRB5CCNAME=FILE:/run/acting")]
    machine.run(*into, "kinit", "-k", "KVM1$")
    done = machine.run(
        *into, "kvno", "-q", "-k", str(machine.home / "krb5.keytab"), "-U", person, "-P", service, check=False
    )
    assert bool(done.returncode) == bool(done.stderr)
    return done.stderr


def links(lab: Lab) -> dict[tuple[str, str, str], tuple[str, str]]:
    shown = delegation(lab, "show", person="viewer")
    return {
        (one["source"], one["destination"], one["service"]): (one["kind"], one["protocol"]) for one in shown["links"]
    }


def test_a_grant_is_what_the_kdc_and_sambas_tools_see(lab: Lab) -> None:
    assert REFUSED in act(lab, "operator", f"{domain.MIGRATION}/kvm2")
    planned = delegation(lab, "grant", "kvm1", "kvm2", "--dry-run")
    assert (targets(lab), any_protocol(lab)) == (set(), False)
    made = delegation(lab, "grant", "kvm1", "kvm2")
    assert made == planned
    assert {one["account"] for one in made} == {"kvm1"}
    assert (targets(lab), any_protocol(lab)) == (TARGETS, True)
    for name in HOSTS:
        assert act(lab, "operator", f"{domain.MIGRATION}/{name}") == ""
        assert act(lab, "operator", f"cifs/{name}") == ""
    assert REFUSED in act(lab, "sensitive", f"{domain.MIGRATION}/kvm2")
    assert links(lab) == {
        ("kvm1", "kvm2", "migration"): ("classic", "any"),
        ("kvm1", "kvm2", "storage"): ("classic", "any"),
        ("kvm2", "kvm1", "migration"): ("none", "none"),
        ("kvm2", "kvm1", "storage"): ("none", "none"),
    }
    assert delegation(lab, "grant", "kvm1", "kvm2") == []  # a second time
    assert len(delegation(lab, "revoke", "kvm1", "kvm2")) == 2
    assert (targets(lab), any_protocol(lab)) == (set(), False)
    assert delegation(lab, "revoke", "kvm1", "kvm2") == []
    assert REFUSED in act(lab, "operator", f"{domain.MIGRATION}/kvm2")


def test_what_is_asked_for_is_what_is_written(lab: Lab) -> None:
    delegation(lab, "grant", "kvm1", "kvm2", "--no-storage", "--kerberos-only", "--both")
    assert targets(lab) == {one for one in TARGETS if not one.startswith("cifs/")}
    assert {one.partition("/")[2].partition(".")[0] for one in targets(lab, "kvm2$")} == {"kvm1"}
    assert (any_protocol(lab), any_protocol(lab, "kvm2$")) == (False, False)
    assert links(lab)["kvm1", "kvm2", "migration"] == ("classic", "kerberos-only")
    assert links(lab)["kvm1", "kvm2", "storage"] == ("none", "none")
    assert REFUSED in act(lab, "operator", f"{domain.MIGRATION}/kvm2")
    delegation(lab, "grant", "kvm1", "kvm2")  # adds the rest
    assert (targets(lab), any_protocol(lab)) == (TARGETS, True)


def test_what_others_set_stays(lab: Lab) -> None:
    samba(lab, "delegation", "add-service", "kvm1$", "http/intranet")
    samba(lab, "delegation", "for-any-protocol", "kvm1$", "on")
    delegation(lab, "grant", "kvm1", "kvm2")
    assert targets(lab) == TARGETS | {"http/intranet"}
    delegation(lab, "revoke", "kvm1", "kvm2")
    assert (targets(lab), any_protocol(lab)) == ({"http/intranet"}, True)


def test_who_may_not_is_told_the_right_and_the_other_way(lab: Lab) -> None:
    with pytest.raises(Failed) as caught:
        delegation(lab, "grant", "kvm1", "kvm2", person="operator")
    assert (caught.value.problem["code"], caught.value.code) == ("write-refused", Exit.ACCESS)
    assert "Write msDS-AllowedToDelegateTo" in caught.value.problem["remedy"]
    assert "vmferry delegation grant kvm1 kvm2 --resource-based" in caught.value.problem["remedy"]
    assert targets(lab) == set()


def test_without_a_ticket_nothing_is_done_although_the_host_has_keys(lab: Lab) -> None:
    with pytest.raises(Failed) as caught:
        vmferry(lab.host("kvm1"), "delegation", "show")
    assert (caught.value.problem["code"], caught.value.code) == ("ticket-missing", Exit.ACCESS)
    assert "kinit administrator" in caught.value.problem["remedy"]


def test_hosts_that_the_domain_does_not_know(lab: Lab) -> None:
    for other, code in (("kvm9", "account-unknown"), ("kvm1.elsewhere.test", "account-unknown")):
        with pytest.raises(Failed) as caught:
            delegation(lab, "grant", "kvm1", other)
        assert (caught.value.problem["code"], caught.value.code) == (code, Exit.USAGE)
    with pytest.raises(Failed) as caught:
        delegation(lab, "grant", "kvm1", f"kvm1.{domain.NAME}")
    assert caught.value.problem["code"] == "delegation-to-itself"


def let_write(lab: Lab, person: str, host: str) -> None:
    """Let somebody write to a host's account, as its local administrators might."""
    sid = next(
        line.partition(": ")[2] for line in samba(lab, "user", "show", person).splitlines() if "objectSid" in line
    )
    account = f"CN={host.upper()},CN=Computers,{BASE}"
    samba(lab, "dsacl", "set", f"--objectdn={account}", f"--sddl=(A;;WP;;;{sid})", "-H", SAM)


def test_who_may_write_and_lacks_the_privilege_is_told_so(lab: Lab) -> None:
    let_write(lab, "operator", "kvm2")
    with pytest.raises(Failed) as caught:
        delegation(lab, "grant", "kvm2", "kvm1", person="operator")
    assert (caught.value.problem["code"], caught.value.code) == ("privilege-missing", Exit.ACCESS), caught.value
    assert "SeEnableDelegationPrivilege" in caught.value.problem["detail"]
    assert "vmferry delegation grant kvm2 kvm1 --resource-based" in caught.value.problem["remedy"]
    assert targets(lab, "kvm2$") == set()


def steps(lab: Lab, user: str, *, person: str = "viewer", host: str = "kvm1") -> dict[str, str]:
    """Verify kvm1 to kvm2; return the code of each step, or its state where there is none."""
    machine = lab.host(host)
    with dc(lab).ticket(person, machine) as variables:
        words = ("delegation", "verify", "kvm1", "kvm2", "--as", user, "--storage")
        before = ["env", *(f"{name}={value}" for name, value in variables.items())]
        done = machine.run(*before, "vmferry", "--output", "json", *words, check=False)
    found = json.loads(done.stdout)["steps"]
    assert done.returncode == (Exit.PREFLIGHT if "failed" in {one["state"] for one in found} else Exit.DONE)
    assert all(one["remedy"] for one in found if one["state"] == "failed")
    return {one["name"]: one["code"] or one["state"] for one in found}


def expected(**other: str) -> dict[str, str]:
    names = ("accounts", "controllers", "user", "migration name", "migration delegation", "storage name")
    tried = ("storage delegation", "KDC: user's ticket", "KDC: migration ticket", "KDC: storage ticket")
    return dict.fromkeys((*names, *tried), "ok") | {
        name.replace("_", " ").replace("KDC", "KDC:"): code for name, code in other.items()
    }


def test_verify_tells_apart_what_the_kdc_says_in_the_same_words(lab: Lab) -> None:
    absent = "delegation-absent"
    assert steps(lab, "operator") == expected(
        migration_delegation=absent, storage_delegation=absent, KDC_migration_ticket=absent, KDC_storage_ticket=absent
    )
    delegation(lab, "grant", "kvm1", "kvm2", "--no-storage")
    assert steps(lab, "operator") == expected(storage_delegation=absent, KDC_storage_ticket=absent)
    delegation(lab, "grant", "kvm1", "kvm2")
    assert steps(lab, f"operator@{domain.REALM}") == expected()
    samba(lab, "delegation", "for-any-protocol", "kvm1$", "off")
    only = "delegation-kerberos-only"
    assert steps(lab, "operator") == expected(KDC_migration_ticket=only, KDC_storage_ticket=only)
    delegation(lab, "grant", "kvm1", "kvm2")  # the mend
    assert steps(lab, "operator") == expected()
    guarded = "user-protected"
    assert steps(lab, "sensitive") == expected(user=guarded, KDC_migration_ticket=guarded, KDC_storage_ticket=guarded)
    assert steps(lab, "protected") == expected(user=guarded)  # whom Windows' KDC refuses, and Samba's does not
    nobody = steps(lab, "nobody")
    assert (nobody["user"], nobody["KDC: user's ticket"]) == ("principal-unknown", "principal-unknown")


def test_verify_from_another_machine_tries_no_kdc(lab: Lab) -> None:
    delegation(lab, "grant", "kvm1", "kvm2")
    found = steps(lab, "operator", host="kvm2")
    assert {code for name, code in found.items() if name.startswith("KDC")} == {"kdc-untried"}
    assert {code for name, code in found.items() if not name.startswith("KDC")} == {"ok"}


def test_protected_by_a_group_in_the_group_or_by_the_primary_group(lab: Lab) -> None:
    delegation(lab, "grant", "kvm1", "kvm2")
    assert steps(lab, "viewer") == expected()
    samba(lab, "group", "addmembers", "Protected Users", domain.VIEWERS)
    try:
        assert steps(lab, "viewer")["user"] == "user-protected"
    finally:
        samba(lab, "group", "removemembers", "Protected Users", domain.VIEWERS)
    samba(lab, "group", "addmembers", "Protected Users", "viewer")
    samba(lab, "user", "setprimarygroup", "viewer", "Protected Users")
    try:
        assert steps(lab, "viewer", person="operator")["user"] == "user-protected"
    finally:
        samba(lab, "user", "setprimarygroup", "viewer", "Domain Users")
        samba(lab, "group", "removemembers", "Protected Users", "viewer")


def names(lab: Lab, account: str) -> set[str]:
    """Return an account's service names, as Samba's tool says."""
    return {line.strip() for line in samba(lab, "spn", "list", account).splitlines() if line.startswith("\t")}


def test_service_names_that_are_missing_or_elsewhere_are_repaired(lab: Lab) -> None:
    delegation(lab, "grant", "kvm1", "kvm2")
    one, two = names(lab, "kvm1$"), names(lab, "kvm2$")
    for gone in (f"{ESCAPED}/{FULL}", f"{domain.MIGRATION}/{FULL}", f"cifs/{FULL}"):
        samba(lab, "spn", "delete", gone, "kvm2$")
    samba(lab, "spn", "add", f"cifs/{FULL}", "kvm1$")
    found = steps(lab, "operator")
    assert found["migration name"] == found["KDC: migration ticket"] == "service-name-missing"
    assert found["storage name"] == "service-name-elsewhere"
    shown = delegation(lab, "show", "kvm1", "kvm2")["hosts"]
    faults = {(fault["name"], fault["fault"]) for host in shown for fault in host["names"]}
    assert faults == {
        (f"{domain.MIGRATION}/{FULL}", "missing"),
        (f"{ESCAPED}/{FULL}", "missing"),
        (f"cifs/{FULL}", "elsewhere"),
    }
    with pytest.raises(Failed) as caught:  # nobody can be asked
        delegation(lab, "register", "kvm2")
    assert caught.value.problem["code"] == "confirmation-needed"
    assert f"cifs/{FULL} from kvm1" in caught.value.problem["detail"]
    planned = delegation(lab, "register", "kvm2", "--dry-run")
    assert delegation(lab, "register", "kvm2", "--yes") == planned
    assert (names(lab, "kvm1$"), names(lab, "kvm2$")) == (one, two)
    assert delegation(lab, "register", "kvm2") == []
    assert steps(lab, "operator") == expected()


def test_a_duplicate_is_taken_from_the_other(lab: Lab) -> None:
    """Controllers let none come into being; two of them that do not reach each other do."""
    one, two = names(lab, "kvm1$"), names(lab, "kvm2$")
    dc(lab).run("/usr/bin/python3", "-c", DUPLICATE, f"CN=KVM1,CN=Computers,{BASE}", f"{domain.MIGRATION}/{FULL}")
    assert steps(lab, "operator")["migration name"] == "service-name-duplicate"
    delegation(lab, "register", "kvm2", "--yes")
    assert (names(lab, "kvm1$"), names(lab, "kvm2$")) == (one, two)
    assert steps(lab, "operator")["migration name"] == "ok"


def acting(lab: Lab, account: str = "kvm2$") -> str:
    """Return who may act for others at a host, as Samba's tool says."""
    return samba(lab, "delegation", "show", account).partition("Principals that may delegate")[2]


def test_resource_based_takes_only_the_right_to_write_to_the_destination(modern: Lab) -> None:
    samba(modern, "delegation", "add-principal", "kvm2$", "dc$")  # somebody else's
    let_write(modern, "operator", "kvm2")
    planned = delegation(modern, "grant", "kvm1", "kvm2", "--resource-based", "--dry-run", person="operator")
    assert delegation(modern, "grant", "kvm1", "kvm2", "--resource-based", person="operator") == planned
    assert {one["account"] for one in planned} == {"kvm2"}
    assert ("CN=KVM1," in acting(modern), "CN=DC," in acting(modern)) == (True, True)
    assert delegation(modern, "grant", "kvm1", "kvm2", "--resource-based", person="operator") == []
    assert links(modern)["kvm1", "kvm2", "storage"] == ("resource-based", "any")
    only = "delegation-kerberos-only"  # Samba's own: Windows needs no more
    assert steps(modern, "operator") == expected(KDC_migration_ticket=only, KDC_storage_ticket=only)
    samba(modern, "delegation", "for-any-protocol", "kvm1$", "on")
    assert steps(modern, "operator") == expected()
    assert act(modern, "operator", f"{domain.MIGRATION}/kvm2") == ""
    delegation(modern, "revoke", "kvm1", "kvm2", person="operator")
    assert ("CN=KVM1," in acting(modern), "CN=DC," in acting(modern)) == (False, True)
    assert REFUSED in act(modern, "operator", f"{domain.MIGRATION}/kvm2")


def test_a_move_by_resource_based_delegation(modern: Lab) -> None:
    """With her ticket; on the host itself Samba wants "any protocol" besides, which Windows does not."""
    pair = Pair(modern)
    samba(modern, "delegation", "for-any-protocol", "kvm1$", "off")
    with pair.observing():
        for host in pair.hosts:
            vmferry(host, "host", "set", f"--operator=@{domain.OPERATORS}@{domain.REALM}")
        vmferry(pair.one, "host", "set", "--principal=root=operator")
        pair.start(GUEST)
        with refused("delegation-absent", "vmferry delegation grant kvm1 kvm2") as caught:
            ask(pair, "operator", pair.one, *MOVE, "kvm2", "--include-storage")
        command = caught.value.problem["remedy"].partition("`")[2].partition("`")[0].removeprefix("vmferry delegation ")
        delegation(modern, *command.split(), "--resource-based")
        move(pair, pair.one)
        delegation(modern, "grant", "kvm2", "kvm1", "--resource-based")
        move(pair, pair.two)
        with refused("delegation-kerberos-only", "any protocol"):
            vmferry(pair.one, *MOVE, "kvm2", "--include-storage")
        samba(modern, "delegation", "for-any-protocol", "kvm1$", "on")
        vmferry(pair.one, *MOVE, "kvm2", "--include-storage")
        pair.assert_only_on(GUEST, pair.two)
        assert pair.observer.ran_twice() == []


def test_samba_as_it_is_takes_no_resource_based_delegation(lab: Lab) -> None:
    with pytest.raises(Failed) as caught:
        delegation(lab, "grant", "kvm1", "kvm2", "--resource-based")
    assert caught.value.problem["code"] == "resource-unsupported"
    assert "samba-tool delegation add-principal 'kvm2$' 'kvm1$'" in caught.value.problem["remedy"]
    with pytest.raises(Failed) as caught:
        delegation(lab, "grant", "kvm1", "kvm2", "--resource-based", "--kerberos-only")
    assert (caught.value.problem["code"], caught.value.code) == ("resource-options", Exit.USAGE)


def test_service_names_take_a_right(lab: Lab) -> None:
    samba(lab, "spn", "delete", "HTTP/kvm1", "kvm1$")
    samba(lab, "spn", "delete", "host/kvm1", "kvm1$")  # which stands for it
    try:
        with pytest.raises(Failed) as caught:
            delegation(lab, "register", "kvm1", person="viewer")
        assert (caught.value.problem["code"], caught.value.code) == ("attribute-refused", Exit.ACCESS)
        assert '"Write servicePrincipalName" on kvm1' in caught.value.problem["remedy"]
        delegation(lab, "register", "kvm1")
        assert "HTTP/kvm1" in names(lab, "kvm1$")
    finally:
        samba(lab, "spn", "add", "host/kvm1", "kvm1$")


def test_unconstrained_delegation_is_shown(lab: Lab) -> None:
    samba(lab, "delegation", "for-any-service", "kvm2$", "on")
    try:
        shown = {host["name"]: host["unconstrained"] for host in delegation(lab, "show")["hosts"]}
        assert shown == {"kvm1": False, "kvm2": True}
    finally:
        samba(lab, "delegation", "for-any-service", "kvm2$", "off")


DAEMON = """
import sys
from pathlib import Path
from vmferry.core.errors import UsageError, VmferryError
from vmferry.directory import accounts, connection, explain
from vmferry.identity.kerberos import HostKeys

keys = HostKeys(Path(sys.argv[1]), "kvm1")
with connection.connect(cache=keys.tickets()) as directory:
    print(directory.user)
    print(accounts.group_sid(directory, sys.argv[2]) == accounts.group_sid(directory, sys.argv[2].upper()))
    print(accounts.group_sid(directory, "Domain Admins")[-4:])
    try:
        accounts.group_sid(directory, "Nobodies*")
    except UsageError as error:
        print(error.code.name)
    for user in ("operator", "sensitive"):
        found = explain.explain(directory, "kvm1", "kvm2", user, "storage")
        print(found and found.code.name)
try:
    connection.connect().__enter__()
except VmferryError as error:
    print(error.code.name)
"""


def test_a_host_reads_the_directory_with_an_account_of_its_own(lab: Lab) -> None:
    """What the daemon does; the commands, of which the last line is, never use that account."""
    one = lab.host("kvm1")
    words = [sys.executable, "-c", DAEMON, str(one.home / "krb5.keytab"), domain.OPERATORS]
    said = one.run(*words).stdout.splitlines()
    before = ["KVM1$@LAB.VMFERRY.TEST", "True", "-512", "group-unknown"]
    assert said == [*before, "delegation-absent", "user-protected", "ticket-missing"]


@pytest.fixture
def lenient(lab: Lab) -> Iterator[Lab]:
    """The same, with a controller that takes Kerberos inside TLS, as Windows does unless it is set to want more."""
    settings = dc(lab).home / "samba-etc/smb.conf"
    before = settings.read_text()
    settings.write_text(
        before.replace("[global]\n", "[global]\n\tldap server require strong auth = allow_sasl_over_tls\n")
    )
    begin_anew(lab)
    yield lab
    settings.write_text(before)
    begin_anew(lab)


def begin_anew(lab: Lab) -> None:
    """End Samba, which the machine starts again."""
    before = processes(dc(lab), "samba")
    kill(dc(lab), "samba")
    wait(lambda: not {*before} & {*processes(dc(lab), "samba")}, LIMIT, "Samba to end")
    dc(lab).wait_ready()


def authority(lab: Lab) -> str:
    """Return kvm1's copy of the certificate that vouches for the controller."""
    made = dc(lab).home / "samba-lib/private/tls/ca.pem"
    wait(made.exists, LIMIT, "Samba's certificate")
    copy = lab.host("kvm1").home / "ca.pem"
    copy.write_bytes(made.read_bytes())
    return str(copy)


def test_by_tls(lenient: Lab) -> None:
    tls = ("--ldaps", "--authority", authority(lenient))
    assert len(delegation(lenient, "grant", "kvm1", "kvm2", *tls)) == 2
    assert (targets(lenient), any_protocol(lenient)) == (TARGETS, True)
    assert delegation(lenient, "show", *tls)["links"] == delegation(lenient, "show")["links"]


def test_by_tls_that_is_refused_and_to_a_controller_that_is_away(lab: Lab) -> None:
    tls = ("show", "--ldaps", "--controller", f"dc.{domain.NAME}")
    for words, code in (
        ((*tls, "--authority", authority(lab)), "directory-refused"),  # Samba takes no Kerberos inside TLS as it is set
        (tls, "directory-unreachable"),  # nobody vouches for it
        (("show", "--controller", FULL), "directory-unreachable"),  # nobody listens there
    ):
        with pytest.raises(Failed) as caught:
            delegation(lab, *words)
        assert caught.value.problem["code"] == code
