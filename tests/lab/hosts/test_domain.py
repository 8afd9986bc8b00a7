"""The lab's domain is good for Kerberos with delegation: real tickets from a real KDC, of two versions of Samba."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.conftest import NAME
from tests.lab.harness import LIMIT, wait
from tests.lab.traces import NOTHING, belongings, machine

from vmferry.core.errors import PreflightError, UnreachableError, UsageError
from vmferry.lab import controller, domain
from vmferry.lab.controller import Controller
from vmferry.lab.lab import MACHINE, Lab
from vmferry.lab.layout import Layout

pytestmark = pytest.mark.lab

NEWER = "trixie"
CIFS = "cifs/kvm2"
MIGRATION = f"{domain.MIGRATION}/kvm2"
# Samba's KDC looks names with spaces up like this, of whatever version.
ESCAPED = MIGRATION.replace(" ", "\\ ")
REFUSED = "KDC can't fulfill requested option"
_VMFERRY = str(Path(sys.executable).with_name("vmferry"))


@pytest.fixture(scope="module")
def domains() -> Iterator[dict[str, Lab]]:
    """Two labs side by side, with domains of this machine's Samba and of the newer; all of it goes at the end."""
    labs = {MACHINE: Lab.named(f"{NAME}a"), NEWER: Lab.named(f"{NAME}b")}
    for lab in labs.values():
        lab.down()
    before = machine()
    try:
        for samba, lab in labs.items():
            lab.up(2, samba=samba, say=print)
        yield labs
    finally:
        for lab in labs.values():
            lab.down()
    assert [belongings(lab) for lab in labs.values()] == [NOTHING, NOTHING]
    assert machine() == before


@pytest.fixture(params=[MACHINE, NEWER])
def samba(request: pytest.FixtureRequest) -> str:
    """Whose Samba it is."""
    return str(request.param)


@pytest.fixture
def lab(domains: dict[str, Lab], samba: str) -> Lab:
    """The lab with that Samba."""
    return domains[samba]


def dc(lab: Lab) -> Controller:
    assert lab.controller is not None
    return lab.controller


def delegation(lab: Lab, *arguments: str) -> str:
    """Change who may act for whom as an administrator would, with Samba's own tool."""
    return dc(lab).run("samba-tool", "delegation", *arguments).stdout


def act(lab: Lab, person: str, service: str = "", host: str = "kvm1") -> str:
    """Have a host ask for a ticket in somebody's name, and with it for one to a service; what kvno objects."""
    machine = lab.host(host)
    account = f"{host.upper()}$"
    into = [*("env", "KRB5CCNAME=FILE:/run/acting")]
    machine.run(*into, "kinit", "-k", account)
    command = ["kvno", "-q", "-U", person, *(["-P", service] if service else [account])]
    done = machine.run(*into, *command, check=False)
    assert bool(done.returncode) == bool(done.stderr)
    return done.stderr


@pytest.fixture
def granted(lab: Lab) -> Iterator[Lab]:
    """kvm1 may act for anybody towards kvm2's migration service, however she came in."""
    for service in (MIGRATION, ESCAPED):
        delegation(lab, "add-service", "kvm1$", service)
    delegation(lab, "for-any-protocol", "kvm1$", "on")
    yield lab
    for service in (MIGRATION, ESCAPED):
        delegation(lab, "del-service", "kvm1$", service)
    if "TO_AUTHENTICATE_FOR_DELEGATION: True" in delegation(lab, "show", "kvm1$"):
        delegation(lab, "for-any-protocol", "kvm1$", "off")


def test_it_is_there(lab: Lab, samba: str) -> None:
    rows = lab.status()
    assert [row.host for row in rows] == ["kvm1", "kvm2", "dc"]
    assert {row.domain for row in rows} == {"lab.vmferry.test"}
    (row,) = rows[2:]
    assert row.up
    assert (row.samba or "").startswith("4.")
    assert (row.release == NEWER) == (samba == NEWER)
    assert "10.91.0.2" in lab.host("kvm1").run("getent", "hosts", "kvm2.lab.vmferry.test").stdout
    # So it was found in the DNS.
    assert f"{domain.REALM} = {{" not in (lab.host("kvm1").home / "krb5.conf").read_text()


def test_tickets_for_every_service_name_fit_the_keytab(lab: Lab) -> None:
    for host in lab.hosts:
        keytab = host.home / "krb5.keytab"
        assert keytab.stat().st_mode & 0o777 == 0o600
        names = domain.service_names(host.name)
        assert len(names) == 8
        with dc(lab).ticket("operator", host) as ticket:
            said = subprocess.run(
                host.command("kvno", "-k", str(keytab), *names, environment=ticket),
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        assert said.count("keytab entry valid") == len(names), said
        assert "arcfour" not in host.run("klist", "-ek", str(keytab)).stdout


@pytest.mark.parametrize("person", [person.name for person in domain.HOME.people])
def test_everybody_gets_a_ticket_of_her_own(domains: dict[str, Lab], person: str) -> None:
    lab = domains[MACHINE]
    one = lab.host("kvm1")
    with dc(lab).ticket(person, one) as ticket:
        shown = subprocess.run(
            one.command("klist", "-f", environment=ticket), capture_output=True, text=True, check=True
        ).stdout
    assert f"Default principal: {person}@LAB.VMFERRY.TEST" in shown
    forwardable = "F" in shown.rpartition("Flags: ")[2]
    assert forwardable == (person not in ("sensitive", "protected"))
    assert list((one.home / "tickets").iterdir()) == []


def test_roles_are_groups(domains: dict[str, Lab]) -> None:
    lab = domains[MACHINE]
    for group, people in (
        (domain.ADMINISTRATORS, {"Administrator"}),
        (domain.OPERATORS, {"operator", "sensitive", "protected"}),
        (domain.VIEWERS, {"viewer"}),
        ("Protected Users", {"protected"}),
    ):
        assert set(dc(lab).run("samba-tool", "group", "listmembers", group).stdout.split()) == people


def test_without_delegation_a_host_learns_who_somebody_is_and_no_more(lab: Lab) -> None:
    for person in ("operator", "administrator"):
        assert act(lab, person) == ""
    for service in (MIGRATION, CIFS):
        assert REFUSED in act(lab, "operator", service)
    assert "not found in Kerberos database" in act(lab, "mallory")


def test_with_delegation_a_host_acts_for_others_towards_that_service_alone(granted: Lab) -> None:
    assert "TO_AUTHENTICATE_FOR_DELEGATION: True" in delegation(granted, "show", "kvm1$")
    for person in ("operator", "viewer", "administrator"):
        assert act(granted, person, MIGRATION) == ""
    assert REFUSED in act(granted, "operator", CIFS)
    assert REFUSED in act(
        granted, "operator", f"{domain.MIGRATION}/kvm1", host="kvm2"
    )  # the other way is another grant
    delegation(granted, "for-any-protocol", "kvm1$", "off")
    assert REFUSED in act(granted, "operator", MIGRATION)


def test_who_cannot_be_delegated(granted: Lab) -> None:
    assert REFUSED in act(granted, "sensitive", MIGRATION)
    # Windows refuses this one; no Samba does, unless she comes with her own ticket, which is not forwardable.
    assert act(granted, "protected", MIGRATION) == ""


def test_delegation_that_the_destination_allows(lab: Lab, samba: str) -> None:
    delegation(lab, "add-principal", "kvm2$", "kvm1$")
    try:
        assert REFUSED in act(lab, "operator", MIGRATION)  # Windows needs no more than this
        delegation(lab, "for-any-protocol", "kvm1$", "on")
        for service in (MIGRATION, CIFS):
            assert (REFUSED in act(lab, "operator", service)) == (samba == MACHINE)
        assert REFUSED in act(lab, "sensitive", MIGRATION)
    finally:
        delegation(lab, "for-any-protocol", "kvm1$", "off")
        delegation(lab, "del-principal", "kvm2$", "kvm1$")


def kept(lab: Lab) -> dict[str, bytes]:
    """Return what must stay as it is: passwords, keytabs, and what each machine knows of the others."""
    names = ("krb5.keytab", "krb5.conf", "hosts", "resolv.conf", "wanted.json", "passwords/*")
    files = [
        file for machine in ("kvm1", "kvm2", "dc") for name in names for file in lab.layout.home(machine).glob(name)
    ]
    return {str(file): file.read_bytes() + str(file.stat().st_mtime_ns).encode() for file in files}


def test_twice_changes_nothing_and_a_controller_that_died_comes_back(domains: dict[str, Lab]) -> None:
    lab = domains[MACHINE]
    before, pids = kept(lab), [host.pid for host in (*lab.hosts, dc(lab))]
    assert len(before) == 2 * 4 + 4 + 5
    lab.up(2, samba=MACHINE)
    assert (kept(lab), [host.pid for host in (*lab.hosts, dc(lab))]) == (before, pids)
    assert pids[2] is not None
    os.kill(pids[2], signal.SIGKILL)
    wait(lambda: dc(lab).pid is None, LIMIT, "the controller to be dead")
    assert [row.up for row in lab.status()] == [True, True, False]
    lab.up()  # a lab with a domain keeps it
    assert kept(lab).keys() == before.keys()
    assert {file: content for file, content in kept(lab).items() if "wanted" not in file} == {
        file: content for file, content in before.items() if "wanted" not in file
    }
    assert act(lab, "operator") == ""


def test_a_host_that_comes_later_joins(domains: dict[str, Lab]) -> None:
    lab = domains[NEWER]
    lab.up(3)
    assert act(lab, "operator", host="kvm3") == ""
    assert "kvm3.lab.vmferry.test" in lab.host("kvm1").run("getent", "hosts", "kvm3").stdout


def test_secrets_are_each_labs_own_and_roots_alone(domains: dict[str, Lab]) -> None:
    old, new = (kept(lab) for lab in domains.values())
    secret = [content for files in (old, new) for file, content in files.items() if "keytab" in file or "/pass" in file]
    assert len({content[:60] for content in secret}) == len(secret)
    for lab in domains.values():
        assert dc(lab).passwords.stat().st_mode & 0o777 == 0o700
        files = [*dc(lab).passwords.iterdir(), dc(lab).home / "samba-lib/private/sam.ldb"]
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_the_command_line(domains: dict[str, Lab]) -> None:
    name = domains[MACHINE].layout.name

    def vmferry(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([_VMFERRY, "lab", *arguments], capture_output=True, text=True, check=False)

    shown = vmferry("exec", "--name", name, "--as", "viewer", "kvm2", "--", "klist")
    assert "viewer@LAB.VMFERRY.TEST" in shown.stdout
    assert vmferry("exec", "--name", name, "--as", "viewer", "kvm2", "--", "sh", "-c", "exit 7").returncode == 7
    assert vmferry("exec", "--name", name, "--as", "mallory", "kvm2", "--", "klist").returncode == 2
    assert "KVM1" in vmferry("exec", "--name", name, "dc", "--", "samba-tool", "computer", "list").stdout
    assert "Samba 4." in vmferry("status", "--name", name).stdout
    assert vmferry("link", "migration", "--name", name, "--host", "dc", "--down").returncode == 2
    other = vmferry("up", "--name", name, "--samba", "newer")
    assert (other.returncode, "dc was created with" in other.stderr) == (2, True)


def test_what_it_lacks_is_said(domains: dict[str, Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = Controller.of(Layout("absent"))
    with pytest.raises(UsageError, match="no domain") as unmade, nobody.ticket("operator", nobody):
        pass
    assert unmade.value.code.name == "lab-no-domain"
    lab = domains[MACHINE]
    one = lab.host("kvm1")
    one.run("ip", "link", "set", "mgmt", "down")
    try:
        with (
            pytest.raises(UnreachableError, match="get a ticket on kvm1: kinit: ") as cut,
            dc(lab).ticket("operator", one),
        ):
            pass
    finally:
        one.run("ip", "link", "set", "mgmt", "up")
    assert cut.value.code.name == "lab-no-ticket"
    monkeypatch.setattr(controller, "_PROGRAMS", {"samba": "samba-tool-that-nobody-has"})
    with pytest.raises(PreflightError, match="samba") as missing:
        nobody.start(["kvm1"])
    assert missing.value.code.name == "lab-domain-missing"
