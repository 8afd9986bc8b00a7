"""Steps that several lab tests share: a whole move, what a host holds, a move that is in the middle of copying."""

from dataclasses import replace
from typing import Any

from tests.lab.conftest import RELEASES
from tests.lab.harness import LIMIT, Pair, begin, leftovers, vmferry, wait
from vmferry.lab import network
from vmferry.lab.host import LabHost
from vmferry.lab.vms.vm import Guest, GuestDisk, check_content, state

SMALL = GuestDisk(size=256, filled=40)
GUEST = Guest(disks=(SMALL,))
SLOW = "100mbit"  # copying SLOW_GUEST then takes some 20 s
SLOW_GUEST = Guest(disks=(replace(SMALL, size=512, filled=200),))
CLEAN_LIMIT = 15.0  # a destination's worker stays some seconds to be heard
_OF_GENERATIONS = {"qemu-newer", "qemu-older", "libvirt-older"}


def told(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a check's findings, but for those that hosts of two generations have for any VM (test_generations)."""
    expected = _OF_GENERATIONS if RELEASES else set()
    return [finding for finding in report["findings"] if finding["code"] not in expected]


def other(pair: Pair, host: LabHost) -> LabHost:
    return pair.two if host.name == pair.one.name else pair.one


def move(pair: Pair, guest: Guest, source: LabHost, *options: str, storage: bool = True) -> str:
    """Move a guest to the other host, and wait until both hosts say that it is done; return the job."""
    destination = other(pair, source)
    job = begin(source, guest.name, destination.name, *(["--include-storage"] if storage else []), *options)
    for host in (source, destination):
        ended = pair.wait_end(host, job, 120.0)
        assert ended["state"] == "done", ended["error"]
    return job


def wait_clean(host: LabHost) -> None:
    """Wait until a host has nothing of any VM or move."""
    seen: list[str] = []

    def clean() -> bool:
        seen[:] = leftovers(host)
        return not seen

    try:
        wait(clean, CLEAN_LIMIT, f"{host.name} to be clean")
    except AssertionError as error:
        raise AssertionError(f"left on {host.name}: {seen}") from error


def check_only_on(pair: Pair, guest: Guest, host: LabHost) -> None:
    """Assert that a guest runs whole on one host, and that the other has nothing of it."""
    pair.check(guest, host)
    wait_clean(other(pair, host))
    pair.assert_only_on(guest, host)
    assert pair.observer.ran_twice(guest.number) == []


def check_filled(guest: Guest, host: LabHost) -> None:
    """Assert that the disks in their first folder hold what they were filled with."""
    for disk in guest.disks:
        if not disk.empty:
            check_content(host, disk, disk.path(guest.name))


def holdings(host: LabHost) -> dict[str, Any]:
    """Return what a host has: its VMs, their definitions and states, and its files."""
    names = host.run("virsh", "-q", "list", "--all", "--name").stdout.strip().splitlines()
    small = host.run("ls", "-A", "/run/small").stdout.split()
    return {
        "vms": {name: (state(host, name), xml(host, name)) for name in names},
        "files": sorted((file.name, file.stat().st_ino) for file in host.images.iterdir()),
        "small": small,
        "workers": [line for line in leftovers(host) if "vmferry-transfer" in line or "socket folder" in line],
    }


def xml(host: LabHost, name: str) -> str:
    """Return a VM's persistent definition, without the watchdog of every Q35 machine: only newer libvirts show it."""
    shown = host.run("virsh", "dumpxml", "--inactive", "--security-info", name).stdout
    return "".join(line for line in shown.splitlines(keepends=True) if "<watchdog model='itco'" not in line)


def slow(pair: Pair, bandwidth: str | None = SLOW) -> None:
    """Limit the migration link so that copying lasts; None: no longer."""
    for host in pair.hosts:
        network.limit(pair.lab.layout, host.name, "migration", bandwidth)


def begin_slow(pair: Pair, guest: Guest, *options: str) -> str:
    """Start a guest on the first host and a move of it that lasts; returns the job once data flows."""
    pair.start(guest)
    slow(pair)
    job = begin(pair.one, guest.name, pair.two.name, "--include-storage", *options)

    def flowing() -> bool:
        shown = vmferry(pair.one, "job", "show", job)
        assert shown["state"] == "running", shown["error"]
        return bool((shown["progress"] or {}).get("disk_done"))

    wait(flowing, LIMIT, f"data of job {job} to flow")
    return job
