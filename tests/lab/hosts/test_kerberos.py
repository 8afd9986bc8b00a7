"""Moves by Kerberos in a real domain: who is let in, as whom, and what each way of not being let in says."""

import json
import secrets
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.lab.conftest import NAME
from tests.lab.faults import restart_daemon
from tests.lab.harness import Pair, vmferry, wait
from tests.lab.realm import GUEST, MOVE, ask, dc, follow_remedy, move, refused, said

from vmferry.core.ad import keytab
from vmferry.core.errors import Exit
from vmferry.lab import domain, network
from vmferry.lab.host import LabHost
from vmferry.lab.lab import MACHINE, Lab

pytestmark = pytest.mark.lab

LIFE = 130  # seconds
ENOUGH = 40  # seconds of a ticket in which a busy machine, too, takes a job
OPERATOR = f"operator@{domain.REALM}"
OPERATORS = f"@vmferry operators@{domain.REALM}"


@pytest.fixture(scope="module")
def joined() -> Iterator[Pair]:
    """Two hosts of a domain, not paired, with a guest on the first."""
    lab = Lab.named(f"{NAME}k")
    lab.down()
    try:
        lab.up(2, samba=MACHINE, say=print)
        pair = Pair(lab)
        with pair.observing():
            for host in pair.hosts:
                vmferry(host, "host", "set", f"--operator={OPERATORS}")
            pair.start(GUEST)
            yield pair
            assert pair.observer.ran_twice() == []
    finally:
        lab.down()


class Ageing:
    """The operator's ticket on the second host, got some tests before the one that waits for its end.

    Samba gives no service ticket in the last two minutes of a ticket's life, which may be one for changing a password
    only: the one for the host's API is got at once.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._cache = f"FILE:{pair.two.home / 'tickets' / 'ageing'}"
        self._until = 0.0
        self.renew()

    def renew(self) -> None:
        password = (dc(self._pair.lab).passwords / "operator").read_text()
        self._until = time.time() + LIFE
        self._pair.two.run("kinit", "-f", "-l", f"{LIFE}s", "-c", self._cache, "operator", text=password)
        self._pair.two.run("kvno", "-c", self._cache, "-S", "HTTP", self._pair.one.name)

    def left(self) -> float:
        """Seconds until it has ended for certain."""
        return self._until + 2 - time.time()

    def variables(self) -> list[str]:
        return ["env", f"KRB5CCNAME={self._cache}"]


@pytest.fixture(scope="module")
def ageing(joined: Pair) -> Ageing:
    """The ticket; a test that asks for it has it begin to age."""
    return Ageing(joined)


@pytest.fixture
def pair(joined: Pair) -> Iterator[Pair]:
    """The same, with no delegation and the guest on the first host, whatever a test did."""
    yield joined
    for host in joined.hosts:
        network.limit(joined.lab.layout, host.name, "migration", None)
        forbid(joined, host)
        host.set_up(again=True)


def allow(pair: Pair, source: LabHost, destination: LabHost, *services: str, transition: bool = True) -> None:
    """Let a host act for users towards services of another; with Samba's own tool, and in both of Samba's spellings."""
    shown = dc(pair.lab).run("samba-tool", "delegation", "show", f"{source.name}$").stdout.splitlines()
    for service in services or (domain.MIGRATION, "cifs"):
        for name in (destination.name, f"{destination.name}.{domain.NAME}"):
            for spn in dict.fromkeys((f"{service}/{name}", f"{service}/{name}".replace(" ", "\\ "))):
                if f"msDS-AllowedToDelegateTo: {spn}" not in shown:
                    dc(pair.lab).run("samba-tool", "delegation", "add-service", f"{source.name}$", spn)
    if transition:
        dc(pair.lab).run("samba-tool", "delegation", "for-any-protocol", f"{source.name}$", "on")


def forbid(pair: Pair, source: LabHost) -> None:
    """Take all of it back."""
    shown = dc(pair.lab).run("samba-tool", "delegation", "show", f"{source.name}$").stdout
    for line in shown.splitlines():
        if line.startswith("msDS-AllowedToDelegateTo: "):
            dc(pair.lab).run("samba-tool", "delegation", "del-service", f"{source.name}$", line.partition(": ")[2])
    if "TO_AUTHENTICATE_FOR_DELEGATION: True" in shown:
        dc(pair.lab).run("samba-tool", "delegation", "for-any-protocol", f"{source.name}$", "off")


def test_an_operator_moves_a_vm_there_and_back_from_her_workstation(pair: Pair) -> None:
    with refused("delegation-absent", "vmferry delegation grant kvm1 kvm2") as caught:
        ask(pair, "operator", pair.one, *MOVE, "kvm2", "--include-storage")
    pair.assert_only_on(GUEST, pair.one)
    follow_remedy(pair, caught)
    move(pair, pair.one)
    job = vmferry(pair.two, "job", "list")[0]
    assert (job["caller"]["name"], job["role"]) == (OPERATOR, "destination")
    with refused("delegation-absent", "vmferry delegation grant kvm2 kvm1") as caught:
        ask(pair, "operator", pair.two, *MOVE, "kvm1", "--include-storage")
    follow_remedy(pair, caught)
    move(pair, pair.two)
    job = vmferry(pair.one, "job", "list")[0]["id"]
    offer = next(one for one in vmferry(pair.one, "audit", "list", "--job", job) if one["action"] == "offer_vm")
    assert (offer["caller"], offer["on_behalf_of"], offer["result"]) == ("kvm2", OPERATOR, "ok")
    asked = next(one for one in vmferry(pair.two, "audit", "list", "--job", job) if one["action"] == "move_vm")
    assert (asked["caller"], asked["method"], asked["role"]) == (OPERATOR, "kerberos", "operator")
    assert [host["known_by"] for host in vmferry(pair.one, "host", "list")] == ["domain"]


@pytest.mark.parametrize(("given", "missing"), [(domain.MIGRATION, "cifs"), ("cifs", domain.MIGRATION)])
def test_a_move_with_storage_takes_both_services(pair: Pair, given: str, missing: str) -> None:
    allow(pair, pair.one, pair.two, given)
    with refused("delegation-absent", "vmferry delegation grant kvm1 kvm2") as caught:
        ask(pair, "operator", pair.one, *MOVE, "kvm2", "--include-storage")
    assert f"`{missing}`" in caught.value.problem["detail"]
    assert vmferry(pair.two, "job", "list") == [] or vmferry(pair.two, "job", "list")[0]["state"] != "running"
    follow_remedy(pair, caught)
    assert ask(pair, "operator", pair.one, "vm", "check", GUEST.name, "kvm2", "--include-storage")["findings"] == []


@pytest.mark.usefixtures("ageing")  # begins to age here
def test_kerberos_only_is_enough_for_her_ticket_and_not_for_the_socket(pair: Pair) -> None:
    allow(pair, pair.one, pair.two, transition=False)
    check = ("vm", "check", GUEST.name, "kvm2", "--include-storage")
    with refused("principal-missing", "kinit", "vmferry host set --principal root="):
        vmferry(pair.one, *check)
    vmferry(pair.one, "host", "set", "--principal=root=operator")
    with refused("delegation-kerberos-only", "vmferry delegation grant kvm1 kvm2") as caught:
        vmferry(pair.one, *check)
    assert ask(pair, "operator", pair.one, *check)["findings"] == []
    follow_remedy(pair, caught)
    assert vmferry(pair.one, *check)["findings"] == []
    vmferry(pair.one, "host", "set", "--principal=")


@pytest.mark.parametrize(("person", "why"), [("sensitive", "marked as sensitive"), ("protected", "Protected Users")])
def test_who_must_not_be_acted_for_is_not(pair: Pair, person: str, why: str) -> None:
    """The KDC refuses a sensitive user; Samba's lets a protected one pass, whom we refuse."""
    allow(pair, pair.one, pair.two)
    check = ("vm", "check", GUEST.name, "kvm2", "--include-storage")
    for host in pair.hosts:
        vmferry(host, "host", "set", f"--operator={OPERATORS}", f"--operator={person}@{domain.REALM}")
    with refused("user-protected", "someone else") as caught:
        ask(pair, person, pair.one, *check)
    assert why in caught.value.problem["detail"]
    vmferry(pair.one, "host", "set", f"--principal=root={person}")
    with refused("user-protected", "someone else") as caught:
        vmferry(pair.one, *check)
    assert why in caught.value.problem["detail"]
    vmferry(pair.one, "host", "set", "--principal=")


def test_she_needs_the_role_on_both_hosts(pair: Pair) -> None:
    allow(pair, pair.one, pair.two)
    viewer = f"viewer@{domain.REALM}"
    check = ("vm", "check", GUEST.name, "kvm2", "--include-storage")
    with refused("not-allowed", "kvm1"):
        ask(pair, "viewer", pair.one, *check)
    vmferry(pair.one, "host", "set", f"--operator={viewer}", f"--operator={OPERATOR}")
    with refused("not-allowed", "kvm2"):
        ask(pair, "viewer", pair.one, *check)
    record = [one for one in vmferry(pair.two, "audit", "list") if one["result"] == "not-allowed"][-1]
    assert record["action"] == "sign_in"
    vmferry(pair.two, "host", "set", f"--operator={viewer}", f"--operator={OPERATOR}")
    assert ask(pair, "viewer", pair.one, *check)["findings"] == []


def test_authentications_that_differ(pair: Pair) -> None:
    allow(pair, pair.one, pair.two)
    check = ("vm", "check", GUEST.name, "kvm2", "--include-storage")
    vmferry(pair.two, "host", "set", "--authentication=certificate")
    with refused("authentication-differs", "--authentication certificate", "kvm1") as caught:
        ask(pair, "operator", pair.one, *check)
    assert "kerberos" in caught.value.problem["detail"]
    vmferry(pair.two, "host", "set", "--authentication=automatic")
    assert ask(pair, "operator", pair.one, *check)["findings"] == []


def test_a_name_that_the_domain_does_not_have(pair: Pair) -> None:
    allow(pair, pair.one, pair.two)
    with refused("account-unknown", "name that the host has in the domain", exit_code=Exit.USAGE):
        ask(pair, "operator", pair.one, *MOVE, "10.91.0.2", "--include-storage")


def test_a_service_name_that_is_not_registered(pair: Pair) -> None:
    allow(pair, pair.one, pair.two)
    check = ("vm", "check", GUEST.name, "kvm2", "--include-storage")
    for name in (domain.MIGRATION, domain.MIGRATION.replace(" ", "\\ ")):
        dc(pair.lab).run("samba-tool", "spn", "delete", f"{name}/kvm2.{domain.NAME}", "kvm2$")
    with refused("service-name-missing", "vmferry delegation register") as caught:
        ask(pair, "operator", pair.one, *check)
    follow_remedy(pair, caught)
    assert ask(pair, "operator", pair.one, *check)["findings"] == []


def test_without_keys_and_with_new_ones(pair: Pair) -> None:
    """The daemon looks at the keytab each time: it is never started anew here."""
    allow(pair, pair.one, pair.two)
    check = ("vm", "check", GUEST.name, "kvm2", "--include-storage")
    keytab, away = pair.one.home / "krb5.keytab", pair.one.home / "away"
    keytab.rename(away)
    try:
        with refused("kerberos-keytab", "net ads join", exit_code=Exit.FAILED):
            ask(pair, "operator", pair.one, *check)
    finally:
        away.rename(keytab)
    assert ask(pair, "operator", pair.one, *check)["findings"] == []


TALK = """
import base64, http.client, json, ssl, sys
from vmferry.client.tls import seen
from vmferry.identity import kerberos

how, host = sys.argv[1:]
certificate, _ = seen(host, 6601, 5)
bound = None if how == "unbound" else kerberos.binding(certificate)
if how == "bound elsewhere":
    bound = bound[:-1] + bytes([bound[-1] ^ 1])
token = base64.b64encode(kerberos.initiate(kerberos.own(), "HTTP", host, bound, spnego=True).token).decode()
context = ssl._create_unverified_context()
for _ in range(2 if how == "replayed" else 1):
    connection = http.client.HTTPSConnection(host, 6601, context=context)
    connection.connect()
    assert connection.sock.getpeercert(binary_form=True) == certificate
    connection.request("GET", "/api/v1/vms", headers={"Authorization": "Negotiate " + token})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    shown = answer.headers.get_all("WWW-Authenticate") or []
print(json.dumps([answer.status, said if isinstance(said, list) else said["code"], len(max(shown, key=len))]))
"""


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("well", 200, None),
        ("replayed", 401, "ticket-replayed"),
        ("unbound", 401, "ticket-unbound"),
        ("bound elsewhere", 401, "ticket-unbound"),
    ],
)
def test_a_ticket_is_good_once_and_for_one_connection(pair: Pair, how: str, status: int, said: str | None) -> None:
    with dc(pair.lab).ticket("operator", pair.two) as variables:
        words = ["env", *(f"{name}={value}" for name, value in variables.items()), sys.executable, "-c", TALK]
        answer = json.loads(pair.two.run(*words, how, "kvm1").stdout)
    assert answer[0] == status
    if said is None:
        assert [vm["name"] for vm in answer[1]] == [GUEST.name]
        assert answer[2] > 100  # Kerberos' answer: this is the host
    else:
        assert answer[1] == said


def test_a_clock_that_is_off(pair: Pair) -> None:
    """Hosts of a lab share a clock; but a cache of tickets says how far off the KDC's is, and krb5 adds that."""
    folder = pair.two.home / "tickets"
    cache = folder / "skewed"
    pair.two.run(
        "kinit", "-f", "-c", f"FILE:{cache}", "operator", text=(dc(pair.lab).passwords / "operator").read_text()
    )
    data = cache.read_bytes()
    assert data[:2] == b"\x05\x04"  # MIT krb5, doc/formats/ccache_file_format
    (length,) = struct.unpack(">H", data[2:4])
    offset = struct.pack(">HHHii", 12, 1, 8, 600, 0)  # one field: DeltaTime, seconds and microseconds
    cache.write_bytes(data[:2] + offset + data[4 + length :])
    words = ["env", f"KRB5CCNAME=FILE:{cache}", "vmferry", "--output", "json", "--host", "kvm1", "vm", "list"]
    with refused("clock-skewed", "timedatectl set-ntp true"):
        said(pair.two.run(*words, check=False))
    cache.write_bytes(data)
    assert [vm["name"] for vm in said(pair.two.run(*words, check=False))] == [GUEST.name]


def test_a_keytab_that_was_renewed_is_picked_up(pair: Pair) -> None:
    """The account's password is changed: tickets made with the old keys still serve, and new ones do at once."""
    allow(pair, pair.one, pair.two)
    check = ("vm", "check", GUEST.name, "kvm2", "--include-storage")
    assert ask(pair, "operator", pair.one, *check)["findings"] == []
    before = keytab.account(keytab.entries((pair.two.home / "krb5.keytab").read_bytes()))
    password = "Renewed-1-" + secrets.token_hex(8)
    controller = dc(pair.lab)
    controller.run("samba-tool", "user", "setpassword", "kvm2$", f"--newpassword={password}")
    with refused("keytab-stale", "net ads keytab"):
        ask(pair, "operator", pair.one, *check)
    fresh = pair.two.home / "fresh.keytab"
    controller.run("samba-tool", "domain", "exportkeytab", str(fresh), "--principal=kvm2$")
    fresh.chmod(0o600)
    fresh.rename(pair.two.home / "krb5.keytab")
    after = keytab.account(keytab.entries((pair.two.home / "krb5.keytab").read_bytes()))
    assert before is not None
    assert after is not None
    assert after.number > before.number
    assert ask(pair, "operator", pair.one, *check)["findings"] == []


def test_a_ticket_that_ends_in_mid_move_ends_nothing_else(pair: Pair, ageing: Ageing) -> None:
    """The move goes on by the key of its job; the next one takes a new ticket."""
    allow(pair, pair.one, pair.two)
    if ageing.left() < ENOUGH:
        ageing.renew()
    network.limit(pair.lab.layout, "kvm1", "migration", "8mbit")
    words = [*ageing.variables(), "vmferry", "--output", "json", "--host", "kvm1"]
    job = said(pair.two.run(*words, *MOVE, "kvm2", "--include-storage", "--detach", check=False))["id"]
    wait(lambda: ageing.left() < 0, LIFE + 5, "the ticket to end")
    assert vmferry(pair.one, "job", "show", job)["state"] == "running"
    with refused("ticket-expired", "kinit"):
        said(pair.two.run(*words, "vm", "list", check=False))
    network.limit(pair.lab.layout, "kvm1", "migration", None)
    assert pair.wait_end(pair.one, job)["state"] == "done"
    pair.assert_only_on(GUEST, pair.two)
    allow(pair, pair.two, pair.one)
    move(pair, pair.two)


# --- CredSSP ------------------------------------------------------------------------------------------------


@pytest.fixture
def credssp(pair: Pair) -> Iterator[Pair]:
    """Both hosts use CredSSP, and root of the first is the operator; nobody may delegate to anybody."""
    for host in pair.hosts:
        vmferry(host, "host", "set", "--authentication=credssp")
    vmferry(pair.one, "host", "set", "--principal=root=operator")
    yield pair
    for host in pair.hosts:
        vmferry(host, "host", "set", "--authentication=automatic", "--principal=")


def with_password(pair: Pair, person: str, *words: str, password: str | None = None) -> Any:
    text = password or (dc(pair.lab).passwords / person).read_text()
    done = pair.one.run("vmferry", "--output", "json", *words, "--password-file", "-", check=False, text=text)
    return said(done)


def test_who_is_signed_in_moves_a_vm_with_her_password(credssp: Pair) -> None:
    pair = credssp
    with refused("password-needed", "--password-file"):
        vmferry(pair.one, *MOVE, "kvm2", "--include-storage")
    with refused("password-wrong"):
        with_password(pair, "operator", *MOVE, "kvm2", "--include-storage", password="Wrong-1-word")
    with_password(pair, "operator", *MOVE, "kvm2", "--include-storage")
    pair.assert_only_on(GUEST, pair.two)
    pair.check(GUEST, pair.two)
    job = vmferry(pair.two, "job", "list")[0]
    assert job["caller"] == {"name": OPERATOR, "host": "kvm1", "method": "credssp"}
    password = (dc(pair.lab).passwords / "operator").read_text().strip()
    for host in pair.hosts:
        for file in [path for path in host.home.rglob("*") if path.is_file() and path.stat().st_size < 1 << 22]:
            assert password.encode() not in file.read_bytes(), file
    for host in pair.hosts:
        vmferry(host, "host", "set", "--authentication=automatic")
    allow(pair, pair.two, pair.one)
    move(pair, pair.two)


def test_who_is_not_signed_in_gets_the_error_that_windows_has(credssp: Pair) -> None:
    with refused("credssp-not-signed-in", "Sign in on kvm1", "vmferry delegation grant kvm1 kvm2") as caught:
        ask(credssp, "operator", credssp.one, *MOVE, "kvm2", "--include-storage")
    assert "No credentials are available in the security package (0x8009030E)" in caught.value.problem["detail"]


def test_a_protected_user_is_refused(credssp: Pair) -> None:
    pair = credssp
    vmferry(pair.one, "host", "set", "--principal=root=protected")
    vmferry(pair.two, "host", "set", f"--operator={OPERATOR}", f"--operator=protected@{domain.REALM}")
    with refused("user-protected", "someone else"):
        with_password(pair, "protected", "vm", "check", GUEST.name, "kvm2", "--include-storage")


@pytest.mark.parametrize("number", [0, 1])
def test_a_host_can_forbid_it(credssp: Pair, number: int) -> None:
    host = credssp.hosts[number]
    file = host.home / "vmferry.toml"
    before = file.read_text()
    file.write_text(before + "forbid_credssp = true\n")
    try:
        restart_daemon(host)
        with refused("credssp-forbidden", "--authentication kerberos", host.name):
            with_password(credssp, "operator", "vm", "check", GUEST.name, "kvm2", "--include-storage")
    finally:
        file.write_text(before)
        restart_daemon(host)
