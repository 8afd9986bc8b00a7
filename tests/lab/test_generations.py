"""Hosts of two generations: the first is the machine's Debian 12, the second Debian 13 with its libvirt and QEMU."""

from collections.abc import Iterator

import pytest

from tests.lab.conftest import NAME
from tests.lab.harness import Pair
from tests.lab.steps import SMALL, check_filled, check_only_on, move, other, xml
from tests.lab.test_refusals import expect, unchanged
from vmferry.core.errors import Exit
from vmferry.lab.lab import Lab
from vmferry.lab.vm import Disk, Guest

pytestmark = pytest.mark.lab

NEWER = "trixie"
COMMON = "pc-q35-7.2"  # the newest machine type that both know


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
    Disk(target="vdb", format="raw", size=128, filled=8),
    Disk(target="vdc", size=128, filled=4, readonly=True),
)


@pytest.mark.parametrize("born", ["kvm1", "kvm2"])
def test_moves_both_ways_whole_each_time(pair: Pair, born: str) -> None:
    guest = Guest(disks=DISKS, machine=COMMON)
    at = next(host for host in pair.hosts if host.name == born)
    pair.start(guest, at)
    definition = xml(at, guest.name)
    for _ in range(3):
        move(pair, guest, at)
        at = other(pair, at)
        check_only_on(pair, guest, at)
        check_filled(guest, at)
    assert xml(at, guest.name) == definition
