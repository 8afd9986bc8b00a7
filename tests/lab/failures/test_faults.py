"""Things that die in the middle of copying: one host owns the VM afterwards, and the same move then succeeds."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.lab.harness import Pair, kill, leftovers, processes, vmferry, wait
from tests.lab.steps import SLOW_GUEST, begin_slow, check_filled, check_only_on, move, slow, wait_clean

from vmferry.lab import layout, network
from vmferry.lab.host import LabHost
from vmferry.lab.vms.vm import Guest, GuestDisk, state

pytestmark = pytest.mark.lab

_WORKER = "bin/vmferry-transfer"
_DAEMON = "bin/vmferryd"


def descendants(pid: int) -> list[int]:
    """Return a process and all its children's children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(below for child in children for below in descendants(int(child)))]


def kill_daemon(host: LabHost) -> None:
    """Kill vmferryd and everything that it started itself, as systemd would end a unit's control group."""
    found = processes(host, _DAEMON)
    assert found, f"vmferryd does not run on {host.name}"
    for pid in {below for daemon in found for below in descendants(daemon)}:
        os.kill(pid, signal.SIGKILL)


def migration_link_down(host: LabHost) -> None:
    network.set_link(host.lab, host.name, "migration", up=False)


def fails_and_succeeds_then(pair: Pair, job: str, guest: Guest, repair: Callable[[], None] | None = None) -> None:
    """Assert that a move ended on both hosts with a reason and the VM only on the source; then make the move again."""
    for host in pair.hosts:
        ended = pair.wait_end(host, job)
        assert ended["state"] == "failed", ended
        assert ended["reason"]
        assert ended["phase"]
        assert ended["error"]["remedy"]
    for host in pair.hosts:
        host.wait_ready()
    check_only_on(pair, guest, pair.one)
    check_filled(guest, pair.one)
    assert [line for line in leftovers(pair.one) if ".vmferry-" in line or "socket" in line] == []
    slow(pair, None)
    if repair:
        repair()
    move(pair, guest, pair.one)
    check_only_on(pair, guest, pair.two)
    check_filled(guest, pair.two)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_worker_is_killed(pair: Pair, side: str) -> None:
    job = begin_slow(pair, SLOW_GUEST)
    kill(pair.one if side == "source" else pair.two, _WORKER)
    fails_and_succeeds_then(pair, job, SLOW_GUEST)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_libvirtd_is_killed(pair: Pair, side: str) -> None:
    job = begin_slow(pair, SLOW_GUEST)
    kill(pair.one if side == "source" else pair.two, "libvirtd --pid-file")
    fails_and_succeeds_then(pair, job, SLOW_GUEST)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_daemon_is_killed_and_the_move_goes_on(pair: Pair, side: str) -> None:
    job = begin_slow(pair, SLOW_GUEST)
    hit = pair.one if side == "source" else pair.two
    workers = sorted(processes(hit, _WORKER))
    kill_daemon(hit)
    hit.wait_ready()
    assert sorted(processes(hit, _WORKER)) == workers != []
    assert vmferry(hit, "job", "show", job)["state"] == "running"
    slow(pair, None)
    for host in pair.hosts:
        ended = pair.wait_end(host, job, 120.0)
        assert ended["state"] == "done", ended["error"]
        assert ended["summary"]
    check_only_on(pair, SLOW_GUEST, pair.two)
    check_filled(SLOW_GUEST, pair.two)
    for host in pair.hosts:
        host.wait_ready()
    move(pair, SLOW_GUEST, pair.two)  # the daemon that came back is as good as the one before
    check_only_on(pair, SLOW_GUEST, pair.one)


@pytest.mark.parametrize("side", [pytest.param("source", marks=pytest.mark.campaign), "destination"])
def test_the_migration_link_goes_down(pair: Pair, side: str) -> None:
    job = begin_slow(pair, SLOW_GUEST)
    host = pair.one if side == "source" else pair.two
    migration_link_down(host)

    def repair() -> None:
        network.set_link(pair.lab.layout, host.name, "migration", up=True)

    fails_and_succeeds_then(pair, job, SLOW_GUEST, repair)


def test_the_destinations_disk_fills_up(pair: Pair) -> None:
    guest = Guest(disks=(GuestDisk(size=256, filled=45),))
    job = begin_slow(pair, guest, "--storage-path", "/run/small")
    pair.two.run("dd", "if=/dev/zero", "of=/run/small/filler", "bs=1M", check=False)
    fails_and_succeeds_then(pair, job, guest)
    assert pair.two.run("ls", "-A", "/run/small").stdout.split() == ["filler"]


def test_the_guest_itself_is_killed(pair: Pair) -> None:
    job = begin_slow(pair, SLOW_GUEST)
    kill(pair.one, "qemu-system-x86_64 -name guest=web01")
    for host in pair.hosts:
        ended = pair.wait_end(host, job)
        assert ended["state"] == "failed", ended
        assert ended["reason"]
    assert state(pair.one, SLOW_GUEST.name) == "shut off"
    wait_clean(pair.two)
    pair.one.run("virsh", "start", SLOW_GUEST.name)
    pair.observer.wait_ticking("kvm1")
    check_filled(SLOW_GUEST, pair.one)


def test_the_whole_destination_goes_off_the_network(pair: Pair) -> None:
    job = begin_slow(pair, SLOW_GUEST)
    for link in ("management", "migration"):
        network.set_link(pair.lab.layout, "kvm2", link, up=False)
    ended = pair.wait_end(pair.one, job)
    assert ended["state"] == "failed"
    addresses = f"{layout.migration('kvm1')} -> {layout.migration('kvm2')}"
    assert (ended["summary"]["interface"], addresses in ended["summary"]["connections"][0]) == ("mig", True)
    wait(lambda: state(pair.one, SLOW_GUEST.name) == "running", 5.0, "the VM to run on")

    def repair() -> None:
        for link in ("management", "migration"):
            network.set_link(pair.lab.layout, "kvm2", link, up=True)

    fails_and_succeeds_then(pair, job, SLOW_GUEST, repair)
