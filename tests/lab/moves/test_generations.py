"""Hosts of two generations: the first is the machine's Debian 12, the second Debian 13 with its libvirt and QEMU.

Any other lab test runs on two generations, too, with VMFERRY_TEST_RELEASES="kvm2=trixie" in the environment.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.lab.conftest import NAME
from tests.lab.harness import LIMIT, Failed, Pair, vmferry, wait
from tests.lab.moves.test_moves import configured
from tests.lab.steps import SMALL, check_filled, check_only_on, holdings, move, other, wait_clean, xml

from vmferry.core.errors import UsageError
from vmferry.lab.host import LabHost
from vmferry.lab.lab import Lab
from vmferry.lab.vms.vm import Guest, GuestDisk

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]  # the first waits for a whole Debian to be fetched

NEWER = "trixie"
NEW = "pc-q35-10.0"  # a machine type that the newer host alone knows


@pytest.fixture(scope="module")
def paired() -> Iterator[Pair]:
    """The two hosts, paired, in place of the other tests' equal ones."""
    lab = Lab.named(f"{NAME}3")
    lab.down()
    try:
        lab.up(releases={"kvm2": NEWER}, say=print)
        pair = Pair(lab)
        pair.pair()
        yield pair
    finally:
        lab.down()


DISKS = (
    SMALL,
    GuestDisk(target="vdb", format="raw", size=128, filled=8),
    GuestDisk(target="vdc", size=128, filled=4, readonly=True),
    GuestDisk(target="vdd", size=1024, filled=4, options="preallocation=metadata"),
    GuestDisk(target="vde", format="raw", size=1024, filled=4, options="preallocation=falloc"),
)


# What is said of a move from a host.
WARNED = {"kvm1": ["qemu-newer"], "kvm2": ["qemu-older", "libvirt-older"]}


def there_and_back(pair: Pair, guest: Guest, born: LabHost, *, storage: bool = True) -> None:
    """Move a guest to the other host and back, and see each time that all of it came along."""
    pair.start(guest, born)
    definition = xml(born, guest.name)
    at = born
    for _ in range(2):
        job = move(pair, guest, at, "--remove-source-media", storage=storage)
        carried = vmferry(at, "job", "show", job)["summary"]["disk_bytes"]
        assert carried < (sum(disk.filled for disk in guest.disks) + 8) << 20  # nothing of what is empty
        at = other(pair, at)
        check_only_on(pair, guest, at)
        check_filled(guest, at)
    # What is added to a shared disk's definition is said before it is (test_moves_both_ways_without_storage).
    assert xml(born, guest.name) == (definition if storage else closed(definition))


def closed(definition: str) -> str:
    """Return a definition whose one disk's chain ends where it says: its header does not decide."""
    source = next(line for line in definition.splitlines(keepends=True) if "<source file=" in line)
    assert definition.count(source) == 1
    return definition.replace(source, source + "      <backingStore/>\n")


@pytest.mark.parametrize("born", ["kvm1", "kvm2"])
def test_moves_both_ways_whole(pair: Pair, born: str) -> None:
    host, guest = pair.lab.host(born), Guest(disks=DISKS)
    there_and_back(pair, guest, host)
    checked = vmferry(host, "vm", "check", guest.name, other(pair, host).name, "--include-storage")
    found = {finding["code"]: finding["severity"] for finding in checked["findings"]}
    assert found == dict.fromkeys(WARNED[born], "warns")


def test_moves_both_ways_in_several_memory_streams(pair: Pair) -> None:
    with ExitStack() as stack:
        for host in pair.hosts:
            stack.enter_context(configured(host, "memory_channels = 2"))
        there_and_back(pair, Guest(disks=(SMALL,)), pair.one)


def test_moves_both_ways_without_storage(pair: Pair) -> None:
    shared = GuestDisk(size=256, filled=8, folder=str(pair.lab.layout.shared))
    guest = Guest(disks=(shared,))
    there_and_back(pair, guest, pair.one, storage=False)
    # It is said where it is to come, and not where it is there already.
    assert "definition-chain-closed" not in warned(pair.one, guest, pair.two)
    definition = xml(pair.one, guest.name).replace("      <backingStore/>\n", "")
    pair.one.run("virsh", "define", "/dev/stdin", text=definition)
    assert "definition-chain-closed" in warned(pair.one, guest, pair.two)


def warned(host: LabHost, guest: Guest, destination: LabHost) -> set[str]:
    return {finding["code"] for finding in vmferry(host, "vm", "check", guest.name, destination.name)["findings"]}


def test_a_machine_type_that_only_the_newer_host_knows(pair: Pair) -> None:
    guest = Guest(disks=(SMALL,), machine=NEW)
    pair.start(guest, pair.two)
    before = [holdings(host) for host in pair.hosts]
    with pytest.raises(Failed) as refused:
        vmferry(pair.two, "vm", "move", guest.name, pair.one.name, "--include-storage")
    # libvirt at the destination refuses it before anything is copied; a check of ours may before anything is made.
    assert refused.value.problem["code"] in ("move-failed", "machine-unknown")
    assert NEW in refused.value.problem["detail"]
    wait_clean(pair.one)
    wait(lambda: [holdings(host) for host in pair.hosts] == before, LIMIT, "the hosts to be as before")
    check_only_on(pair, guest, pair.two)


def test_each_host_has_its_release_and_keeps_it(pair: Pair) -> None:
    lab = pair.lab
    machine = lab.status()[0].release
    assert [row.release for row in lab.status()] == [machine, NEWER]
    said = [host.run("sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME").stdout.strip() for host in pair.hosts]
    assert said == [machine, NEWER]
    versions = [host.run("virsh", "version").stdout for host in pair.hosts]
    assert versions[0] != versions[1]
    assert "Running hypervisor: QEMU 10" in versions[1]
    assert pair.two.run("vmferry", "--version").stdout == pair.one.run("vmferry", "--version").stdout
    assert pair.two.run("touch", "/usr/mine", check=False).returncode, "a tree is for all labs: nobody writes to it"
    pid = pair.two.pid
    lab.up()
    lab.up(releases={"kvm2": NEWER})
    assert pair.two.pid == pid
    for wrong in ({"kvm1": NEWER}, {"kvm9": NEWER}):
        with pytest.raises(UsageError, match=r"kvm[19]"):
            lab.up(releases=wrong)
