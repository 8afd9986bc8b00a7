"""Whose stop of a migrating VM it is: events as QEMU 7.2 (libvirt 9.0) and QEMU 10.0 (libvirt 11.3) gave them."""

import json
import time
from collections.abc import Sequence

import pytest

from vmferry.hypervisor.suspension import Suspension

PASS, STOP = "MIGRATION_PASS", "STOP"
BEGUN = ["setup", PASS, "active"]  # as each of them begins
SWITCH = ["pre-switchover", "device", PASS, "completed"]


def heard(*events: str, before: bool = False) -> Suspension:
    """Return what is known after events; a word in lower case is a status of the migration."""
    found = Suspension(before=before)
    hear(found, events)
    return found


def hear(found: Suspension, events: Sequence[str]) -> None:
    for event in events:
        if event.islower():
            found.hear("MIGRATION", json.dumps({"status": event}))
        elif event == "BLOCK_IO_ERROR":
            found.hear(event, json.dumps({"device": "vda", "operation": "write", "action": "stop"}))
        else:
            found.hear(event, None)


@pytest.mark.parametrize(
    ("events", "by_person"),
    [
        ([], False),
        ([*BEGUN, PASS], False),
        ([*BEGUN, PASS, STOP, *SWITCH], False),  # the switch's own
        ([*BEGUN, PASS, PASS, STOP, "pre-switchover", "device", PASS, PASS, "completed"], False),
        ([*BEGUN, STOP, PASS, *SWITCH], True),  # by hand, while memory is copied
        ([STOP, *BEGUN, PASS, *SWITCH], True),  # while disks are copied
        ([STOP], True),
        ([*BEGUN, STOP, PASS, "cancelling", "cancelled"], True),
        ([*BEGUN, STOP, "cancelling", "cancelled"], False),  # nothing shows whose it is: it may be the switch's
        ([*BEGUN, "failed", STOP], False),  # when the migration is over libvirt tells by itself
        ([*BEGUN, "BLOCK_IO_ERROR", STOP, PASS, *SWITCH], False),  # its disk is another one there
    ],
)
def test_a_stop_is_a_persons_only_when_qemu_went_on_after_it(events: list[str], by_person: bool) -> None:
    assert heard(*events).by_person is by_person


def test_who_was_suspended_before_stays_so_unless_somebody_resumes_it() -> None:
    """QEMU tells of no stop at the switch of a VM that stands still."""
    found = heard(*BEGUN, PASS, *SWITCH, before=True)
    assert found.by_person
    found = heard(before=True)
    found.resumed()
    hear(found, [*BEGUN, PASS, STOP, *SWITCH])
    assert not found.by_person


def test_two_answers_with_time_between_them_show_that_qemu_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    found = heard(*BEGUN)
    before = found.asked()
    hear(found, [STOP])
    found.answered(before)  # asked before the stop, so that it proves nothing
    for later, by_person in ((0.0, False), (0.01, False), (0.1, True)):
        now[0] = 100.0 + later
        assert found.unclear
        found.answered(found.asked())
        assert found.by_person is by_person


def test_an_answer_at_the_switch_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    found = heard(*BEGUN, STOP)
    found.answered(found.asked())
    hear(found, ["pre-switchover"])
    now[0] = 101.0
    found.answered(found.asked())
    assert not found.by_person
    assert not found.settle()
