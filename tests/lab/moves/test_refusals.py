"""Moves that cannot be: each is refused by name, with the reason and the way out, and changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.lab.harness import Failed, Pair, begin, vmferry, wait
from tests.lab.steps import SLOW_GUEST, SMALL, begin_slow, check_only_on, holdings
from tests.lab.tap import Tap

from vmferry.core.errors import Exit
from vmferry.lab import network
from vmferry.lab.vms.vm import Guest, GuestDisk, state
from vmferry.transfer.rpc.protocol import Procedure

pytestmark = pytest.mark.lab

GUEST = Guest(busy=8, rate=1, disks=(GuestDisk(size=128, filled=8),))  # it starts quickly, and hardly ever moves

_TAKEN = "<domain type='qemu'><name>web01</name><memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>"


@contextmanager
def unchanged(pair: Pair) -> Iterator[None]:
    """Assert that both hosts hold afterwards what they held before; a worker started early may be ending."""
    before = [holdings(host) for host in pair.hosts]
    yield
    wait(lambda: [holdings(host) for host in pair.hosts] == before, 15.0, f"the hosts to be as before: {before}")


def refused(pair: Pair, vm: str, destination: str, *options: str) -> dict[str, Any]:
    """Ask for a move that must be refused before anything is made; return the problem."""
    with unchanged(pair), pytest.raises(Failed) as raised:
        vmferry(pair.one, "vm", "move", vm, destination, *options)
    problem = raised.value.problem
    assert problem["exit_code"] == raised.value.code
    return problem


def expect(
    problem: dict[str, Any], code: str, exit_code: Exit, reason: tuple[str, ...], remedy: tuple[str, ...]
) -> None:
    """Assert that a problem has its code, and that its two sentences name what they must."""
    assert (problem["code"], problem["exit_code"]) == (code, exit_code)
    assert [word for word in reason if word not in problem["detail"]] == [], problem["detail"]
    assert [word for word in remedy if word not in problem["remedy"]] == [], problem["remedy"]
    assert "{" not in problem["detail"] + problem["remedy"]


def test_an_unknown_vm(pair: Pair) -> None:
    problem = refused(pair, "nosuch", "kvm2", "--include-storage")
    expect(problem, "vm-unknown", Exit.USAGE, ("nosuch", "kvm1"), ("vmferry vm list",))


def test_a_vm_that_does_not_run(pair: Pair) -> None:
    pair.start(GUEST)
    pair.one.run("virsh", "destroy", GUEST.name)
    problem = refused(pair, GUEST.name, "kvm2", "--include-storage")
    expect(problem, "vm-not-running", Exit.PREFLIGHT, ("web01", "shut off", "kvm1"), ("virsh start web01",))


def test_a_destination_that_cannot_be_reached(pair: Pair) -> None:
    pair.start(GUEST)
    network.set_link(pair.lab.layout, "kvm2", "management", up=False)
    problem = refused(pair, GUEST.name, "kvm2", "--include-storage")
    expect(problem, "host-unreachable", Exit.UNREACHABLE, ("kvm2", "6601"), ("vmferryd", "6601"))


def test_the_host_itself(pair: Pair) -> None:
    pair.start(GUEST)
    problem = refused(pair, GUEST.name, "kvm1", "--include-storage")
    expect(problem, "same-host", Exit.USAGE, ("web01", "kvm1"), ("vmferry host list",))


def test_a_host_that_is_not_paired(pair: Pair) -> None:
    pair.start(GUEST)
    problem = refused(pair, GUEST.name, "kvm9", "--include-storage")
    expect(problem, "host-unknown", Exit.USAGE, ("kvm9", "kvm1"), ("vmferry host pair kvm9",))


def test_a_host_that_was_paired_once(pair: Pair) -> None:
    pair.start(GUEST)
    vmferry(pair.one, "host", "unpair", "kvm2", "--yes")
    try:
        problem = refused(pair, GUEST.name, "kvm2", "--include-storage")
    finally:
        pair.pair()
    expect(problem, "host-unknown", Exit.USAGE, ("kvm2", "kvm1"), ("vmferry host pair kvm2",))


def test_a_storage_path_that_does_not_exist(pair: Pair) -> None:
    pair.start(GUEST)
    missing = "/var/lib/libvirt/images/nosuch"
    problem = refused(pair, GUEST.name, "kvm2", "--include-storage", "--storage-path", missing)
    expect(problem, "storage-path-missing", Exit.PREFLIGHT, (missing, "vda", "kvm2"), ("--storage-path",))


def test_a_storage_path_that_is_too_full(pair: Pair) -> None:
    guest = Guest(disks=(GuestDisk(size=256, filled=100),))
    pair.start(guest)
    problem = refused(pair, guest.name, "kvm2", "--include-storage", "--storage-path", "/run/small")
    expect(problem, "storage-full", Exit.PREFLIGHT, ("/run/small", "vda", "kvm2"), ("--storage-path",))


def test_a_name_that_is_taken(pair: Pair) -> None:
    pair.start(GUEST)
    pair.two.run("virsh", "define", "/dev/stdin", text=_TAKEN)
    problem = refused(pair, GUEST.name, "kvm2", "--include-storage")
    expect(problem, "name-taken", Exit.PREFLIGHT, ("kvm2", "web01"), ("Rename",))


def test_a_disk_file_that_is_there_already(pair: Pair) -> None:
    pair.start(GUEST)
    (pair.two.images / "web01-vda.qcow2").write_text("somebody's")
    problem = refused(pair, GUEST.name, "kvm2", "--include-storage")
    expect(problem, "disk-exists", Exit.PREFLIGHT, ("kvm2", "web01-vda.qcow2", "vda"), ("--disk vda=",))
    assert (pair.two.images / "web01-vda.qcow2").read_text() == "somebody's"


def test_a_second_move_of_one_vm(pair: Pair) -> None:
    job = begin_slow(pair, SLOW_GUEST)
    with pytest.raises(Failed) as raised:
        vmferry(pair.one, "vm", "move", SLOW_GUEST.name, "kvm2", "--include-storage")
    expect(raised.value.problem, "vm-busy", Exit.PREFLIGHT, ("web01", job), (f"vmferry job watch {job}",))
    assert raised.value.code == Exit.PREFLIGHT
    assert vmferry(pair.one, "job", "show", job)["state"] == "running"
    vmferry(pair.one, "job", "cancel", job)
    assert pair.wait_end(pair.one, job)["state"] == "cancelled"
    check_only_on(pair, SLOW_GUEST, pair.one)


def test_an_unknown_disk(pair: Pair) -> None:
    pair.start(GUEST)
    problem = refused(pair, GUEST.name, "kvm2", "--include-storage", "--disk", "vdz=/var/lib/libvirt/images/a")
    expect(problem, "disk-unknown", Exit.USAGE, ("web01", "vdz"), ("vda", "vmferry vm show web01"))


def test_a_disk_that_the_destination_does_not_see(pair: Pair) -> None:
    pair.start(GUEST)
    problem = refused(pair, GUEST.name, "kvm2")
    expect(problem, "disk-not-shared", Exit.PREFLIGHT, ("kvm2", "vda", "web01"), ("--include-storage",))


def test_a_disk_with_a_backing_file(pair: Pair) -> None:
    guest = Guest(disks=(SMALL, GuestDisk(target="vdb", size=128, filled=4)))
    pair.start(guest)
    pair.one.run("virsh", "destroy", guest.name)
    top, base = guest.disks[1].path(guest.name), "/var/lib/libvirt/images/base.qcow2"
    pair.one.run("mv", top, base)
    pair.one.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, top)
    pair.one.run("virsh", "start", guest.name)
    pair.observer.wait_ticking("kvm1")
    problem = refused(pair, guest.name, "kvm2", "--include-storage")
    expect(problem, "disk-unsupported", Exit.PREFLIGHT, ("vdb", "web01", base), ("virsh blockpull web01 vdb",))


def test_a_path_without_storage(pair: Pair) -> None:
    pair.start(GUEST)
    problem = refused(pair, GUEST.name, "kvm2", "--storage-path", "/run/small")
    expect(problem, "storage-path-needs-storage", Exit.USAGE, ("--storage-path",), ("--include-storage",))


def test_a_refused_move_can_be_made_right_at_once(pair: Pair) -> None:
    pair.start(GUEST)
    refused(pair, GUEST.name, "kvm2")
    job = begin(pair.one, GUEST.name, "kvm2", "--include-storage")
    assert pair.wait_end(pair.one, job, 120.0)["state"] == "done"
    check_only_on(pair, GUEST, pair.two)


def test_a_vm_that_somebody_starts_with_the_uuid_after_the_admission(pair: Pair) -> None:
    """It is nothing of the move's: no Prepare reaches libvirt, and the undo leaves it running."""
    one, two = pair.hosts
    pair.start(GUEST)
    uuid = one.run("virsh", "domuuid", GUEST.name).stdout.strip()
    victim = _TAKEN.replace("web01</name>", f"victim</name><uuid>{uuid}</uuid>")

    def start() -> bool:
        two.run("virsh", "create", "/dev/stdin", text=victim)
        return False

    tap = Tap(one, two, f"rpc>{int(Procedure.PREPARE)}", before=True, action=start)
    try:
        with tap.running():
            job = begin(one, GUEST.name, two.name, "--include-storage", "--encryption", "off")
            ended = [pair.wait_end(host, job) for host in pair.hosts]
        assert tap.acted.is_set()
        assert [job["state"] for job in ended] == ["failed", "failed"]
        assert ended[1]["error"]["code"] == "uuid-taken"
        assert state(two, "victim") == "running"
    finally:
        two.run("virsh", "destroy", "victim", check=False)
    check_only_on(pair, GUEST, one)
