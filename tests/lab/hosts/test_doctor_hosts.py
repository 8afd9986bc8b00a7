"""`vmferry doctor` among hosts: a pairing that one of two has forgotten, a host that is asked too much, and three."""

import subprocess
from collections.abc import Iterator

import pytest
from tests.lab.conftest import NAME
from tests.lab.faults import refusals, restart_daemon, stopped
from tests.lab.harness import Failed, Pair, vmferry, wait
from tests.lab.hosts.test_doctor import doctor, ways
from tests.lab.hosts.test_settings import dropped

from vmferry.agent.measure.reachability import AT_ONCE
from vmferry.core.errors import Exit
from vmferry.lab import layout
from vmferry.lab.host import LabHost
from vmferry.lab.lab import Lab

pytestmark = pytest.mark.lab

# Listens at every data port of an address until its input ends; one may yet have been tried a moment ago.
_OCCUPY = """\
import socket, sys, time
taken, left = [], list(range(6610, 6660))
while left:
    try:
        taken.append(socket.create_server((sys.argv[1], left[-1])))
        left.pop()
    except OSError:
        time.sleep(0.05)
print("taken", flush=True)
sys.stdin.read()
"""


def test_a_pairing_that_one_host_has_forgotten(pair: Pair) -> None:
    domain = "<domain type='qemu'><name>web01</name><memory>65536</memory><os><type>hvm</type></os></domain>"
    pair.one.run("virsh", "define", "/dev/stdin", text=domain)
    with stopped(pair.one):  # so that it is not told
        vmferry(pair.two, "host", "unpair", "kvm1", "--yes")
    try:
        code, matrix = doctor(pair.one, "kvm2")
        assert code == Exit.PREFLIGHT
        assert ways(matrix) == {"kvm1 kvm2": ["not-paired"], "kvm2 kvm1": ["view-unknown"]}
        with pytest.raises(Failed) as caught:
            vmferry(pair.two, "doctor", "kvm1")
        assert caught.value.problem["code"] == "host-unknown"
        with pytest.raises(Failed) as caught:
            vmferry(pair.one, "vm", "check", "web01", "kvm2")
        assert caught.value.problem["code"] == "not-paired"
    finally:
        vmferry(pair.one, "host", "unpair", "kvm2", "--yes")
        pair.pair()
    assert ways(doctor(pair.one, "kvm2")[1]) == {"kvm1 kvm2": [], "kvm2 kvm1": []}


def test_a_host_that_was_set_up_anew(pair: Pair) -> None:
    state = pair.two.home / "vmferry"
    files = [state / "host.pem", state / "host.key"]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    try:
        restart_daemon(pair.two)
        code, matrix = doctor(pair.one, "kvm2")
        assert code == Exit.PREFLIGHT
        assert ways(matrix) == {"kvm1 kvm2": ["certificate-changed"], "kvm2 kvm1": ["view-unknown"]}
    finally:
        for file, content in zip(files, before, strict=True):
            file.write_bytes(content)
        restart_daemon(pair.two)
    assert ways(doctor(pair.one, "kvm2")[1]) == {"kvm1 kvm2": [], "kvm2 kvm1": []}


def test_data_ports_that_something_else_has(pair: Pair) -> None:
    command = pair.two.command("python3", "-c", _OCCUPY, layout.migration("kvm2"))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        code, matrix = doctor(pair.one, "kvm2")
        assert code == Exit.DONE
        assert ways(matrix) == {"kvm1 kvm2": ["data-port-untried"], "kvm2 kvm1": []}
    assert ways(doctor(pair.one, "kvm2")[1]) == {"kvm1 kvm2": [], "kvm2 kvm1": []}


def test_a_host_that_is_asked_too_much(pair: Pair) -> None:
    assert set(refusals(pair.one, "kvm2", "client.probe(ProbeRequest())", 2 * AT_ONCE)) == {"probe-busy"}
    wait(lambda: refusals(pair.one, "kvm2", "client.probe(ProbeRequest())", 1) == [], 10.0, "kvm2 to listen again")


@pytest.fixture(scope="module")
def three() -> Iterator[Lab]:
    """Three hosts, of which the first is paired with both others."""
    lab = Lab.named(f"{NAME}4")
    lab.down()
    try:
        lab.up(3)
        join(lab.host("kvm2"), lab.host("kvm1"))
        join(lab.host("kvm3"), lab.host("kvm1"))
        yield lab
    finally:
        lab.down()


def join(one: LabHost, other: LabHost) -> None:
    """Pair two hosts."""
    token = vmferry(one, "host", "pair", "--invite")["token"]
    other.run("vmferry", "host", "pair", one.name, "--token-file", "-", text=token)


def test_three_hosts(three: Lab) -> None:
    one, two, last = three.hosts

    def faulty() -> dict[str, list[str]]:
        """Return what is found on the routes of the matrix that are not in order."""
        code, matrix = doctor(one, "--all")
        assert [report["name"] for report in matrix["hosts"]] == ["kvm1", "kvm2", "kvm3"]
        seen = ways(matrix)
        assert len(seen) == 6
        assert code == (Exit.PREFLIGHT if any(seen.values()) else Exit.DONE)
        return {route: codes for route, codes in seen.items() if codes}

    assert faulty() == {"kvm2 kvm3": ["host-unknown"], "kvm3 kvm2": ["host-unknown"]}
    join(last, two)
    assert faulty() == {}
    with dropped(last, layout.migration("kvm3")):
        assert faulty() == {"kvm1 kvm3": ["data-port-unreachable"], "kvm2 kvm3": ["data-port-unreachable"]}
        shown = one.run("vmferry", "doctor", "--all", check=False).stdout.splitlines()
        assert [line.split()[1:] for line in shown[-3:]] == [
            ["-", "ok", "data-port-unreachable"],
            ["ok", "-", "data-port-unreachable"],
            ["ok", "ok", "-"],
        ]
    with stopped(last):
        assert faulty() == {
            "kvm1 kvm3": ["host-unreachable"],
            "kvm2 kvm3": ["host-unreachable"],
            "kvm3 kvm1": ["view-unknown"],
            "kvm3 kvm2": ["view-unknown"],
        }
