"""A lab of two real hosts for the whole run, clean for each test."""

import os
from collections.abc import Iterator

import pytest

from tests.lab.harness import Pair
from vmferry.lab.lab import Lab

# Each process of a parallel run has a lab of its own: test0, test1.
NAME = os.environ.get("VMFERRY_TEST_LAB", "test") + os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
# To run any lab test on hosts of other releases: "kvm2=trixie", several apart by spaces.
RELEASES = dict(one.split("=") for one in os.environ.get("VMFERRY_TEST_RELEASES", "").split())


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab itself; taken down at the end, whatever happened."""
    lab = Lab.named(NAME)
    lab.down()  # what a run that was killed left
    try:
        lab.up(releases=RELEASES, say=print)
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="session")
def paired(lab: Lab) -> Pair:
    """The two hosts, paired."""
    pair = Pair(lab)
    pair.pair()
    return pair


@pytest.fixture
def pair(paired: Pair) -> Iterator[Pair]:
    """The two hosts, paired, without VMs, with both links up; and an observer that saw nothing run twice."""
    paired.clean()
    with paired.observing():
        yield paired
        assert paired.observer.ran_twice() == []
