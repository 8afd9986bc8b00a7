"""The lab itself: it comes up and goes down whatever was before, touches nothing else, and its checks see damage."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.conftest import NAME
from tests.lab.harness import LIMIT, Pair, kill, processes, wait
from tests.lab.traces import NOTHING, belongings, machine

from vmferry.core.errors import PreflightError, UsageError
from vmferry.lab import network
from vmferry.lab.host import LabHost
from vmferry.lab.lab import Lab
from vmferry.lab.vms.vm import Guest, GuestDisk

pytestmark = pytest.mark.lab

SMALL = GuestDisk(size=128, filled=4)
_VMFERRY = str(Path(sys.executable).with_name("vmferry"))


@pytest.fixture
def spare() -> Iterator[Lab]:
    """A lab beside the one of the other tests."""
    lab = Lab.named(f"{NAME}2")
    lab.down()
    yield lab
    lab.down()


def test_comes_up_twice_and_leaves_nothing_behind(spare: Lab) -> None:
    before = machine()
    spare.up(1)
    pid = spare.host("kvm1").pid
    Guest(disks=(SMALL,)).create(spare.host("kvm1"))
    spare.up(2)
    assert [host.name for host in spare.hosts] == ["kvm1", "kvm2"]
    assert spare.host("kvm1").pid == pid
    assert [row.vms for row in spare.status()] == [["web01"], []]
    assert "10.91.0.2" in spare.host("kvm1").run("getent", "hosts", "kvm2").stdout
    assert belongings(spare)["processes"]
    spare.down()
    assert belongings(spare) == NOTHING
    spare.down()
    assert machine() == before
    with pytest.raises(PreflightError, match="not up"):
        spare.host("kvm1")


def started(lab: Lab) -> subprocess.Popen[bytes]:
    command = [_VMFERRY, "lab", "up", "--name", lab.layout.name]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("reached", ["a namespace", "a process", "a host"])
def test_a_start_that_is_cut_off_is_taken_up_or_taken_away(spare: Lab, reached: str) -> None:
    layout = spare.layout
    cut = {
        "a namespace": lambda: layout.namespace("kvm1") in network.namespaces(),
        "a process": lambda: network.hosts(layout) and belongings(spare)["processes"],
        "a host": lambda: layout.pid_file("kvm1").exists(),
    }[reached]
    for then in (spare.down, spare.up):
        command = started(spare)
        try:
            wait(cut, LIMIT, f"{reached} of the lab")
        finally:
            command.kill()
            command.wait()
        then()
        if then == spare.down:
            assert belongings(spare) == NOTHING
    assert [row.up for row in spare.status()] == [True, True]
    for host in spare.hosts:
        assert len(processes(host, "vmferry.lab.init")) == 1


def test_a_host_that_died_comes_up_again_alone(spare: Lab) -> None:
    spare.up()
    one, two = spare.hosts
    first = one.pid
    assert two.pid is not None
    os.kill(two.pid, signal.SIGKILL)
    wait(lambda: two.pid is None, LIMIT, "kvm2 to be dead")
    assert [row.up for row in spare.status()] == [True, False]
    spare.up()
    assert [row.up for row in spare.status()] == [True, True]
    assert one.pid == first


def test_hosts_are_apart(pair: Pair) -> None:
    told = {host.name: host.run("hostname").stdout.strip() for host in pair.hosts}
    assert told == {"kvm1": "kvm1", "kvm2": "kvm2"}
    identities = {host.run("virsh", "capabilities").stdout.partition("<uuid>")[2][:36] for host in pair.hosts}
    assert len(identities) == 2
    (pair.one.images / "mine").touch()
    assert pair.two.run("ls", "/var/lib/libvirt/images").stdout == ""
    assert pair.one.run("ls", "/var/lib/libvirt/images").stdout == "mine\n"
    (pair.lab.layout.shared / "ours").touch()
    for host in pair.hosts:
        assert host.run("ls", str(pair.lab.layout.shared)).stdout == "ours\n"


def test_qemu_does_not_run_as_root(pair: Pair) -> None:
    Guest(disks=(SMALL,)).create(pair.one)
    (pid,) = processes(pair.one, "qemu-system")
    assert Path(f"/proc/{pid}").stat().st_uid != 0


@pytest.mark.parametrize("program", ["libvirtd --pid-file", "bin/vmferryd", "vmferry.supervisor"])
def test_what_dies_in_a_host_is_started_again(pair: Pair, program: str) -> None:
    before = processes(pair.one, program)
    kill(pair.one, program)
    wait(lambda: set(processes(pair.one, program)) - set(before), 5.0, f"a new {program}")
    pair.one.wait_ready()


_SEND = """\
import socket, sys
with socket.create_connection((sys.argv[1], 5001), timeout=float(sys.argv[2])) as connection:
    connection.sendall(bytes(4 << 20))
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
"""
_RECEIVE = """\
import socket, sys
socket.setdefaulttimeout(3)
with socket.create_server((sys.argv[1], 5001)) as server:
    print("ready", flush=True)
    connection, _ = server.accept()
    while connection.recv(1 << 20):
        pass
"""


def sending(pair: Pair, address: str) -> float:
    """Send 4 MiB from the first host to an address of the second; return the seconds it took."""
    with subprocess.Popen(pair.two.command("python3", "-c", _RECEIVE, address), stdout=subprocess.PIPE) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == b"ready\n"
        began = time.monotonic()
        pair.one.run("python3", "-c", _SEND, address, "2")
        return time.monotonic() - began


def test_links_have_the_bandwidth_that_is_set(pair: Pair) -> None:
    fast = sending(pair, "10.92.0.2")
    for host in pair.hosts:
        network.limit(pair.lab.layout, host.name, "migration", "40mbit")
    slow = sending(pair, "10.92.0.2")
    assert slow > 0.7  # 4 MiB at 5 MB/s
    assert fast < slow / 2
    assert sending(pair, "10.91.0.2") < slow / 2


def test_a_cable_that_is_out_carries_nothing(pair: Pair) -> None:
    network.set_link(pair.lab.layout, "kvm2", "migration", up=False)
    with pytest.raises(subprocess.CalledProcessError):
        sending(pair, "10.92.0.2")
    sending(pair, "10.91.0.2")
    network.set_link(pair.lab.layout, "kvm2", "migration", up=True)
    sending(pair, "10.92.0.2")


def test_the_observer_tells_where_a_guest_runs_and_how_long_it_paused(pair: Pair) -> None:
    guest = Guest(disks=(SMALL,))
    pair.start(guest, pair.two)
    seen = pair.observer
    assert {tick.host for tick in seen.ticks()} == {"kvm2"}
    seen.wait(lambda tick: tick.records > 10)
    began = time.monotonic()
    pair.two.run("virsh", "suspend", guest.name)
    paused = time.monotonic()
    assert pair.two.run("virsh", "domstate", guest.name).stdout.strip() == "paused"
    resuming = time.monotonic()
    pair.two.run("virsh", "resume", guest.name)
    resumed = time.monotonic()
    seen.wait_ticking("kvm2")
    assert resuming - paused <= seen.pause(began, time.monotonic()) <= resumed - began + 0.1
    assert seen.lost() == 0


def test_a_guest_that_stopped_for_good_is_seen(pair: Pair) -> None:
    guest = Guest(disks=(SMALL,))
    pair.start(guest)
    pair.one.run("virsh", "destroy", guest.name)
    destroyed = time.monotonic()
    wait(lambda: pair.observer.pause(destroyed, time.monotonic()) > 0.3, 5.0, "the pause to grow")


def test_a_guest_finds_damage(pair: Pair) -> None:
    guest = Guest(disks=(SMALL,))
    pair.start(guest)
    pair.observer.wait(lambda tick: tick.records > 3)
    pair.check(guest, pair.one)
    pair.observer.command("spoil")
    tick = pair.observer.verify()
    assert (tick.memory_errors, tick.disk_errors) == (1, 1)


def test_a_guest_takes_new_rates(pair: Pair) -> None:
    guest = Guest(rate=0, records=0, disks=(SMALL,))
    pair.start(guest)
    seen = pair.observer.verify()
    assert (seen.pages_changed, seen.records) == (0, 0)
    pair.observer.command("rate 8")
    pair.observer.command("records 50")
    pair.observer.wait(lambda tick: tick.pages_changed > 100 and tick.records > 10)


def test_two_copies_that_run_are_seen(paired: Pair) -> None:
    paired.clean()
    with paired.observing():
        for host in paired.hosts:
            Guest(disks=(SMALL,)).create(host)
        wait(paired.observer.ran_twice, LIMIT, "ticks from both hosts")
    paired.clean()


def test_the_command_line(lab: Lab) -> None:
    def vmferry(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([_VMFERRY, *arguments], capture_output=True, text=True, check=False)

    name = lab.layout.name
    shown = vmferry("lab", "status", "--name", name)
    assert "kvm1" in shown.stdout
    assert "10.92.0.2" in shown.stdout
    assert vmferry("lab", "exec", "--name", name, "kvm2", "--", "sh", "-c", "hostname; exit 7").returncode == 7
    told = vmferry("lab", "exec", "--name", name, "kvm2", "--", "hostname")
    assert (told.stdout, told.stderr) == ("kvm2\n", "")
    for option in ("--down", "--up"):
        assert vmferry("lab", "link", "management", "--name", name, "--host", "kvm1", option).returncode == 0
    assert vmferry("lab", "link", "management", "--name", name).returncode == 2
    assert vmferry("lab", "link", "management", "--name", "absent", "--up").returncode == 3
    unknown = vmferry("lab", "exec", "--name", name, "kvm8", "--", "true")
    assert (unknown.returncode, "kvm8" in unknown.stderr) == (2, True)
    release = vmferry("lab", "up", "--name", "absent", "--release", "kvm2=potato")
    assert (release.returncode, "trixie" in release.stderr) == (2, True)
    with pytest.raises(UsageError, match="kvm8"):
        lab.host("kvm8")


def test_a_host_that_is_killed_takes_all_its_processes_along(spare: Lab) -> None:
    spare.up(1)
    host: LabHost = spare.host("kvm1")
    Guest(disks=(SMALL,)).create(host)
    assert processes(host, "qemu-system")
    host.stop()
    assert belongings(spare)["processes"] == []
