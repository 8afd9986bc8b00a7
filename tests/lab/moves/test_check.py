"""The checks before a move, each fault made for real; and a pair of hosts where all is well."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.lab.harness import Pair, begin, vmferry, wait
from tests.lab.steps import SLOW_GUEST, begin_slow, check_only_on, holdings, told

from vmferry.core.errors import Exit
from vmferry.lab.host import LabHost
from vmferry.lab.vms.vm import Guest, GuestDisk, state

pytestmark = pytest.mark.lab

GUEST = Guest(busy=8, rate=1, disks=(GuestDisk(size=128, filled=8),))
NAME = GUEST.name
QUICK = 8  # times a command that asks nothing of another host; where all checks waited for anything it is more


def check(pair: Pair, *options: str, storage: bool = True) -> tuple[int, dict[str, Any]]:
    """Check a move from the first host to the second; gives exit code and report. Both hosts stay as they are."""
    before = [holdings(host) for host in pair.hosts]
    words = ["vmferry", "--output", "json", "vm", "check", NAME, "kvm2", *options]
    done = pair.one.run(*words, *(["--include-storage"] if storage else []), check=False)
    assert done.stdout, done.stderr
    report = dict(json.loads(done.stdout))
    report["findings"] = told(report)
    assert [holdings(host) for host in pair.hosts] == before
    return done.returncode, report


def found(pair: Pair, *options: str, storage: bool = True) -> list[str]:
    """Return the codes that a check finds, and see that the exit code is theirs."""
    code, report = check(pair, *options, storage=storage)
    blocks = any(finding["severity"] == "blocks" for finding in report["findings"])
    assert code == (Exit.PREFLIGHT if blocks else Exit.DONE)
    assert all("{" not in finding["detail"] + finding["remedy"] for finding in report["findings"])
    return [finding["code"] for finding in report["findings"]]


def quickest(host: LabHost, *words: str) -> float:
    """Return the seconds of the quickest of three runs of a command."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        host.run("vmferry", *words)
        took.append(time.monotonic() - began)
    return min(took)


@contextmanager
def renamed_bridge(host: LabHost) -> Iterator[None]:
    def rename(old: str, new: str) -> None:
        host.run("ip", "link", "set", old, "down")
        host.run("ip", "link", "set", old, "name", new)
        host.run("ip", "link", "set", new, "up")

    rename("br0", "br-lan")
    try:
        yield
    finally:
        rename("br-lan", "br0")


def change(host: LabHost, old: str, new: str) -> None:
    """Define the guest anew with a part of its XML replaced, and start it so."""
    xml = host.run("virsh", "dumpxml", "--inactive", "--security-info", NAME).stdout
    assert old in xml
    host.run("virsh", "destroy", NAME)
    host.run("virsh", "define", "/dev/stdin", text=xml.replace(old, new))
    host.run("virsh", "start", NAME)


@pytest.mark.quiet
def test_where_all_is_well_it_is_silent_and_quick(pair: Pair) -> None:
    pair.start(GUEST)
    code, report = check(pair)
    assert (code, report["findings"]) == (Exit.DONE, [])
    assert [disk["copied_by"] for disk in report["disks"]] == ["mirror"]
    asked = quickest(pair.one, "vm", "list")  # what starting the command and asking libvirt takes
    assert quickest(pair.one, "vm", "check", NAME, "kvm2", "--include-storage") < QUICK * asked


def test_a_dry_run_shows_the_xml_and_moves_nothing(pair: Pair) -> None:
    pair.start(GUEST)
    jobs = vmferry(pair.one, "job", "list")
    done = pair.one.run("vmferry", "vm", "move", NAME, "kvm2", "--include-storage", "--dry-run")
    assert "<name>web01</name>" in done.stdout
    assert "<source file='/var/lib/libvirt/images/web01-vda.qcow2'" in done.stdout.replace('"', "'")
    assert vmferry(pair.one, "job", "list") == jobs
    assert state(pair.two, NAME) == "absent"


def test_a_vm_that_does_not_run(pair: Pair) -> None:
    pair.start(GUEST)
    pair.one.run("virsh", "destroy", NAME)
    assert found(pair) == ["vm-not-running"]


def test_a_vm_that_is_moved_already(pair: Pair) -> None:
    job = begin_slow(pair, SLOW_GUEST)
    done = pair.one.run("vmferry", "vm", "check", NAME, "kvm2", "--include-storage", check=False)
    assert done.returncode == Exit.PREFLIGHT
    assert "vm-busy" in done.stdout
    assert job in done.stdout
    vmferry(pair.one, "job", "cancel", job)
    assert pair.wait_end(pair.one, job)["state"] == "cancelled"


def test_a_vm_with_a_snapshot(pair: Pair) -> None:
    pair.start(GUEST)
    pair.one.run("virsh", "snapshot-create-as", NAME, "before")
    try:
        assert found(pair) == ["vm-has-snapshots"]
    finally:
        pair.one.run("virsh", "snapshot-delete", NAME, "before")


def test_a_name_that_is_taken(pair: Pair) -> None:
    pair.start(GUEST)
    domain = f"<domain type='qemu'><name>{NAME}</name><memory>65536</memory><os><type>hvm</type></os></domain>"
    pair.two.run("virsh", "define", "/dev/stdin", text=domain)
    assert found(pair) == ["name-taken"]


def test_a_bridge_that_is_missing_and_its_remedy(pair: Pair) -> None:
    pair.start(GUEST)
    with renamed_bridge(pair.two):
        code, report = check(pair)
        assert code == Exit.PREFLIGHT
        (finding,) = report["findings"]
        assert finding["code"] == "network-missing"
        assert finding["source"] == "bridge br0"
        assert "br-lan" in finding["destination"]
        assert "--map-network br0=" in finding["remedy"]
        assert found(pair, "--map-network", "br0=br-lan") == []
        assert found(pair, "--map-network", "br0=none") == []
        job = begin(pair.one, NAME, "kvm2", "--include-storage", "--map-network", "br0=br-lan")
        assert pair.wait_end(pair.one, job, 120.0)["state"] == "done"
        check_only_on(pair, GUEST, pair.two)
        assert "br-lan" in pair.two.run("virsh", "domiflist", NAME).stdout


def test_a_vm_can_move_unplugged(pair: Pair) -> None:
    pair.start(GUEST)
    job = begin(pair.one, NAME, "kvm2", "--include-storage", "--map-network", "br0=none")
    ended = pair.wait_end(pair.one, job, 120.0)
    assert ended["state"] == "done", ended["error"]
    assert state(pair.two, NAME) == "running"
    assert "br0" not in pair.two.run("virsh", "dumpxml", NAME).stdout


def test_a_network_that_the_vm_has_not(pair: Pair) -> None:
    pair.start(GUEST)
    done = pair.one.run("vmferry", "vm", "check", NAME, "kvm2", "--map-network", "br7=br0", check=False)
    assert done.returncode == Exit.USAGE
    assert "(vm-network-unknown)" in done.stderr


def test_storage(pair: Pair) -> None:
    pair.start(Guest(busy=8, rate=1, disks=(GuestDisk(size=256, filled=100),)))
    assert found(pair, "--storage-path", "/var/lib/libvirt/images/nosuch") == ["storage-path-missing"]
    assert found(pair, "--storage-path", "/etc") == ["storage-path-forbidden"]
    assert found(pair, "--storage-path", "/run/small") == ["storage-full"]
    assert found(pair, storage=False) == ["disk-not-shared"]
    assert "disk-path-unusable" in found(pair, "--disk", "vda=/var/lib/libvirt/images/.vmferry-1-vda")
    (pair.two.images / "web01-vda.qcow2").write_text("somebody's")
    assert found(pair) == ["disk-exists"]


def test_a_storage_folder_that_is_read_only(pair: Pair) -> None:
    pair.start(GUEST)
    folder = "/var/lib/libvirt/images/ro"
    pair.two.run("mkdir", folder)
    try:
        pair.two.run("mount", "-t", "tmpfs", "-o", "ro", "none", folder)
        try:
            assert "storage-path-unwritable" in found(pair, "--storage-path", folder)
        finally:
            pair.two.run("umount", folder)
    finally:
        pair.two.run("rmdir", folder)


def test_more_memory_than_there_is(pair: Pair) -> None:
    pair.start(GUEST)
    xml = pair.one.run("virsh", "dumpxml", "--inactive", NAME).stdout
    memory = xml.partition("<memory unit='KiB'>")[2].partition("<")[0]
    installed = int(Path("/proc/meminfo").read_text().split()[1])
    # All of it the kernel would give no VM; this much it gives, and it is not free while anything else runs.
    change(pair.one, f"<memory unit='KiB'>{memory}<", f"<memory unit='KiB'>{installed - (256 << 10)}<")
    wait(lambda: state(pair.one, NAME) == "running", 10.0, "the VM to run")
    assert found(pair) == ["memory-short"]


def test_a_guest_that_would_lose_writes(pair: Pair) -> None:
    pair.start(GUEST)
    change(pair.one, "pti=on", "pti=off")
    old = "QEMU 7." in pair.one.run("virsh", "version").stdout
    assert found(pair) == (["emulated-guest-loses-writes"] if old else [])


def test_a_backup_at_work(pair: Pair) -> None:
    pair.start(GUEST)
    pair.one.run(
        "virsh",
        "backup-begin",
        NAME,
        "/dev/stdin",
        text="<domainbackup mode='pull'><server transport='tcp' name='127.0.0.1' port='10809'/></domainbackup>",
    )
    try:
        assert "vm-in-use" in found(pair)
    finally:
        pair.one.run("virsh", "domjobabort", NAME)


def test_a_cpu_of_which_half_is_missing(pair: Pair) -> None:
    pair.start(GUEST)
    # An emulated guest starts even so; libvirt's own comparison names what is missing.
    change(pair.one, ">qemu64<", ">EPYC-Milan<")
    code, report = check(pair)
    assert code == Exit.DONE
    (finding,) = report["findings"]
    assert (finding["code"], finding["severity"]) == ("cpu-incompatible", "warns")
    assert "nrip-save" in finding["destination"]
