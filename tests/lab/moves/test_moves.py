"""Moves that go well, on real hosts: the VM arrives whole, as it was, and nothing stays behind."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.lab.harness import LIMIT, Failed, Pair, begin, kill, processes, vmferry, wait
from tests.lab.steps import (
    GUEST,
    SLOW_GUEST,
    SMALL,
    begin_slow,
    check_filled,
    check_only_on,
    move,
    other,
    slow,
    wait_clean,
    xml,
)

from vmferry.lab.host import LabHost
from vmferry.lab.vms.vm import Guest, GuestDisk, check_content, state

pytestmark = pytest.mark.lab


def there_and_back(pair: Pair, moves: int) -> None:
    pair.start(GUEST)
    at = pair.one
    for _ in range(moves):
        move(pair, GUEST, at)
        at = other(pair, at)
        check_only_on(pair, GUEST, at)
        check_filled(GUEST, at)


def test_moves_there_and_back_whole_each_time(pair: Pair) -> None:
    there_and_back(pair, 4)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_moves_twenty_times_whole_each_time(pair: Pair) -> None:
    there_and_back(pair, 20)


def both_at_once(pair: Pair, jobs: list[tuple[Guest, LabHost]]) -> None:
    begun = [(begin(host, guest.name, other(pair, host).name, "--include-storage"), host) for guest, host in jobs]
    for job, host in begun:
        for side in (host, other(pair, host)):
            ended = pair.wait_end(side, job, 120.0)
            assert ended["state"] == "done", ended["error"]


def test_moves_two_vms_at_once_one_way_and_crossing(pair: Pair) -> None:
    first, second = GUEST, Guest(name="web02", number=2, disks=(SMALL,))
    pair.start(first)
    pair.start(second)
    both_at_once(pair, [(first, pair.one), (second, pair.one)])
    wait_clean(pair.one)
    move(pair, second, pair.two)
    both_at_once(pair, [(first, pair.two), (second, pair.one)])
    for guest, host in ((first, pair.one), (second, pair.two)):
        pair.check(guest, host)
        check_filled(guest, host)
        assert state(other(pair, host), guest.name) == "absent"
        assert pair.observer.ran_twice(guest.number) == []


@contextmanager
def configured(host: LabHost, line: str) -> Iterator[None]:
    """Have a line more in a host's vmferry.toml for a while."""
    file = host.home / "vmferry.toml"
    before = file.read_text()

    def take(text: str) -> None:
        file.write_text(text)
        old = set(processes(host, "bin/vmferryd"))
        kill(host, "bin/vmferryd")
        wait(lambda: old.isdisjoint(processes(host, "bin/vmferryd")), LIMIT, f"vmferryd on {host.name} to be gone")
        host.wait_ready()

    take(f"{before}{line}\n")
    try:
        yield
    finally:
        take(before)


def threads(host: LabHost, program: str) -> set[str]:
    return {
        file.read_text().strip()
        for pid in processes(host, program)
        for file in Path(f"/proc/{pid}/task").glob("*/comm")
    }


# On the two processors of most machines that run this, every other move goes in one stream.
@pytest.mark.parametrize("channels", [pytest.param(0, marks=pytest.mark.campaign), 2])
def test_moves_in_one_memory_stream_and_in_several(pair: Pair, channels: int) -> None:
    with configured(pair.one, f"memory_channels = {channels}"):
        job = begin_slow(pair, SLOW_GUEST)
        wait(lambda: "live_migration" in threads(pair.one, "qemu-system"), LIMIT, "QEMU to copy memory")
        senders = {name for name in threads(pair.one, "qemu-system") if name.startswith("multifdsend")}
        assert len(senders) == channels
        slow(pair, None)
        for host in pair.hosts:
            ended = pair.wait_end(host, job, 120.0)
            assert ended["state"] == "done", ended["error"]
        check_only_on(pair, SLOW_GUEST, pair.two)


DISKS = (
    SMALL,
    GuestDisk(target="vdb", format="raw", size=512, filled=8),
    GuestDisk(target="vdc", size=128, filled=16, readonly=True),
    GuestDisk(target="vdd", format="raw", size=128, filled=4, readonly=True),
    GuestDisk(target="vde", size=1024, filled=4, options="preallocation=metadata"),
    GuestDisk(target="sda", format="raw", device="cdrom", empty=True, readonly=True),
)


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_carries_every_kind_of_disk_and_keeps_holes(pair: Pair) -> None:
    guest = Guest(disks=DISKS, records=0)
    pair.start(guest)
    files = [disk.path(guest.name).rpartition("/")[2] for disk in DISKS if not disk.empty]
    before = {file: allocated(pair.one.images / file) for file in files}
    job = move(pair, guest, pair.one, "--remove-source-media")
    check_only_on(pair, guest, pair.two)
    check_filled(guest, pair.two)
    for file in files:
        copied = allocated(pair.two.images / file)
        assert copied == pytest.approx(before[file], rel=0.1) or copied < before[file], file
    filled = sum(disk.filled for disk in DISKS) << 20
    assert vmferry(pair.one, "job", "show", job)["summary"]["disk_bytes"] < 1.2 * filled


def owners(host: LabHost, guest: Guest) -> list[tuple[int, int, int]]:
    found = [host.images / disk.path(guest.name).rpartition("/")[2] for disk in guest.disks if not disk.empty]
    return [(file.stat().st_uid, file.stat().st_gid, file.stat().st_mode) for file in found]


def test_keeps_definition_autostart_owner_and_mode(pair: Pair) -> None:
    guest = Guest(disks=(SMALL, GuestDisk(target="vdc", size=128, filled=4, readonly=True), DISKS[-1]))
    pair.start(guest)
    (pair.one.images / "web01-vda.qcow2").chmod(0o640)
    pair.one.run("virsh", "autostart", guest.name)
    definition, owned = xml(pair.one, guest.name), owners(pair.one, guest)
    move(pair, guest, pair.one, "--remove-source-media")
    assert xml(pair.two, guest.name) == definition
    assert owners(pair.two, guest) == owned
    assert "Autostart:      enable" in pair.two.run("virsh", "dominfo", guest.name).stdout
    check_only_on(pair, guest, pair.two)


def test_changes_nothing_but_the_paths_that_were_asked_for(pair: Pair) -> None:
    guest = Guest(disks=(SMALL, GuestDisk(target="vdb", size=128, filled=4)))
    pair.start(guest)
    definition = xml(pair.one, guest.name)
    elsewhere = "/var/lib/libvirt/images/elsewhere-data.img"
    move(pair, guest, pair.one, "--storage-path", "/run/small", "--disk", f"vdb={elsewhere}")
    expected = definition.replace(SMALL.path(guest.name), "/run/small/web01-vda.qcow2")
    assert xml(pair.two, guest.name) == expected.replace(guest.disks[1].path(guest.name), elsewhere)
    check_content(pair.two, guest.disks[0], "/run/small/web01-vda.qcow2")
    check_content(pair.two, guest.disks[1], elsewhere)
    check_only_on(pair, guest, pair.two)


def test_keeps_the_source_disks_when_asked_to(pair: Pair) -> None:
    pair.start(GUEST)
    move(pair, GUEST, pair.one, "--keep-source-disks")
    pair.check(GUEST, pair.two)
    assert state(pair.one, GUEST.name) == "absent"
    check_filled(GUEST, pair.one)
    assert [file.name for file in pair.one.images.iterdir()] == ["web01-vda.qcow2"]


def test_leaves_a_disk_that_both_hosts_see_where_it_is(pair: Pair) -> None:
    shared = pair.lab.layout.shared
    guest = Guest(disks=(GuestDisk(size=256, filled=8, folder=str(shared)),))
    pair.start(guest)
    file = shared / "web01-vda.qcow2"
    before = file.stat().st_ino
    other = "<domain type='qemu'><name>other</name><memory>65536</memory><os><type>hvm</type></os><devices><disk "
    other += f"type='file'><driver type='qcow2'/><source file='{file}'/><target dev='vdc'/></disk></devices></domain>"
    pair.two.run("virsh", "define", "/dev/stdin", text=other)
    try:
        with pytest.raises(Failed) as refused:
            vmferry(pair.one, "vm", "move", guest.name, "kvm2")
        assert refused.value.problem["code"] == "shared-disk-in-use"
    finally:
        pair.two.run("virsh", "undefine", "other")
    job = move(pair, guest, pair.one, storage=False)
    check_only_on(pair, guest, pair.two)
    check_filled(guest, pair.two)
    assert file.stat().st_ino == before
    assert [found.name for found in shared.iterdir()] == [file.name]
    assert vmferry(pair.one, "job", "show", job)["summary"]["disk_bytes"] == 0


def test_moves_without_encryption_where_both_hosts_allow_it(pair: Pair) -> None:
    pair.start(GUEST)
    job = move(pair, GUEST, pair.one, "--encryption", "off")
    check_only_on(pair, GUEST, pair.two)
    connections = vmferry(pair.one, "job", "show", job)["summary"]["connections"]
    assert connections
    assert not any("TLS" in connection for connection in connections)


def test_sums_a_move_up(pair: Pair) -> None:
    pair.start(GUEST)
    began = time.monotonic()
    summary = vmferry(pair.one, "job", "show", move(pair, GUEST, pair.one))["summary"]
    assert 0 < summary["downtime"] < summary["total_time"] < time.monotonic() - began
    assert summary["disk_bytes"] >= 40 << 20
    assert summary["memory_bytes"] > 0
    assert summary["wire_bytes"] >= 40 << 20  # less than disk_bytes, which counts holes too
    assert len(summary["connections"]) >= 2
    assert all("TLS" in connection for connection in summary["connections"])
    assert summary["overhead_before"] is not None
    assert summary["overhead_after"] is not None
    check_only_on(pair, GUEST, pair.two)


def test_a_move_that_is_cancelled_leaves_the_vm_where_it_is(pair: Pair) -> None:
    job = begin_slow(pair, SLOW_GUEST)
    canceller = threading.Thread(target=vmferry, args=(pair.one, "job", "cancel", job))
    canceller.start()
    for host in pair.hosts:
        ended = pair.wait_end(host, job)
        assert (ended["state"], ended["error"]["code"]) == ("cancelled", "cancelled")
        assert ended["reason"]
    canceller.join()
    shown = vmferry(pair.one, "job", "show", job)
    assert (shown["state"], shown["error"]["code"], shown["error"]["exit_code"]) == ("cancelled", "cancelled", 6)
    check_only_on(pair, SLOW_GUEST, pair.one)
    check_filled(SLOW_GUEST, pair.one)
    slow(pair, None)
    move(pair, SLOW_GUEST, pair.one)
    check_only_on(pair, SLOW_GUEST, pair.two)
