"""A VM that a person suspends stays suspended: at the destination, and at the source when the move comes to nothing."""

from typing import Any

import pytest
from tests.lab.harness import LIMIT, Pair, begin, vmferry, wait
from tests.lab.steps import slow, wait_clean

from vmferry.lab.host import LabHost
from vmferry.lab.vms.vm import Guest, state

pytestmark = pytest.mark.lab

_GUEST = Guest(memory=128, busy=24, rate=1, disks=())


def _copying(host: LabHost, destination: LabHost) -> str:
    """Start a move; returns the job once memory flows."""
    job = begin(host, _GUEST.name, destination.name)

    def flowing() -> bool:
        shown = vmferry(host, "job", "show", job)
        assert shown["state"] == "running", shown["error"]
        return bool((shown["progress"] or {}).get("memory_done"))

    wait(flowing, LIMIT, f"memory of job {job} to flow")
    return job


def _ended(pair: Pair, job: str) -> list[dict[str, Any]]:
    return [pair.wait_end(host, job) for host in pair.hosts]


def test_a_vm_that_a_person_suspends_stays_suspended(pair: Pair) -> None:
    one, two = pair.hosts
    pair.start(_GUEST)
    slow(pair, "30mbit")
    job = _copying(one, two)
    one.run("virsh", "suspend", _GUEST.name)
    one.run("vmferry", "job", "cancel", job)  # libvirt resumes the VM as it ends the migration
    ended = pair.wait_end(one, job)
    assert ended["state"] == "cancelled"
    assert f"{_GUEST.name} is paused on kvm1" in ended["error"]["remedy"]
    assert state(one, _GUEST.name) == "paused"
    wait_clean(two)
    one.run("virsh", "resume", _GUEST.name)

    job = _copying(one, two)
    one.run("virsh", "suspend", _GUEST.name)
    slow(pair, None)
    ends = _ended(pair, job)
    assert [shown["state"] for shown in ends] == ["done", "done"]
    assert ends[0]["summary"]["downtime"] is None  # it did not stand still for the move
    assert state(two, _GUEST.name) == "paused"
    two.run("virsh", "resume", _GUEST.name)
    pair.check(_GUEST, two)
