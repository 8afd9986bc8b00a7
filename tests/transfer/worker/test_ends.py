"""After the verdict nothing fails: whatever fails on the way, and wherever a worker dies, one host has the VM."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.transfer.worker.ends import (
    AWAY,
    AWAY_DONE,
    DIED,
    DIED_DONE,
    ENDS,
    FAULTS,
    REFUSED,
    Died,
    Failing,
    Host,
    Record,
    away,
    events,
    offer,
    outcome,
)

from vmferry.core import codes
from vmferry.core.errors import CancelledError, PreflightError, UsageError, VmferryError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.job import Phase
from vmferry.core.kinds import CopiedBy
from vmferry.core.messages.api import Outcome
from vmferry.core.messages.offer import ArtifactPlan, Offer
from vmferry.core.messages.vm import Presence
from vmferry.core.move.events import WorkerEvent
from vmferry.core.move.messages import Defined, Go, Went
from vmferry.jobs.decision import suspended
from vmferry.store.jobs import JournalStep
from vmferry.transfer.worker.arrival import Arrival, lost
from vmferry.transfer.worker.departure import Departure
from vmferry.transfer.worker.retreat import keep_running, standing

OWN = VmIdentity(offer().uuid, offer().vm, 7)
UNTOLD: dict[str, Any] = {"tell": lambda _started: [], "tell_last": lambda _taken, _started: []}


def no_sleep(_seconds: float) -> None:
    pass


def arrive(record: Record, host: Host, vm: Offer, disks: list[ArtifactPlan] | None = None) -> VmferryError | None:
    """Take a VM as the destination does, in as many lives of the worker as it needs."""
    while True:
        settling = record.detail(Phase.SETTLING)
        ran = None if settling is None else settling["ran"]
        arrival = Arrival(record, host, OWN, vm, "kvm2", "<domain/>", disks or [], no_sleep)
        try:
            return arrival.take(noted=record.has(Phase.GOING), ran=ran)
        except Died:
            continue


faults = st.lists(st.sampled_from([None, None, *FAULTS]), max_size=25)


@given(faults, st.booleans())
def test_the_destination_has_the_vm_running_whatever_fails(faults: list[str | None], persistent: bool) -> None:
    failing = Failing(faults)
    record, host = Record(failing), Host(failing, Presence.PAUSED, defined=False)
    assert arrive(record, host, offer(persistent=persistent)) is None
    assert (host.now(), host.defined) == (Presence.RUNNING, persistent)
    assert host.starts is persistent
    assert [phase for phase, _ in record.steps][-1] is Phase.SETTLING
    assert record.has(Phase.GOING)


@given(faults, st.integers(0, 25), st.booleans())
def test_a_vm_that_ends_at_the_destination_is_lost_or_had_run(
    faults: list[str | None], at: int, persistent: bool
) -> None:
    faults.insert(min(at, len(faults)), ENDS)
    failing = Failing(faults)
    record, host = Record(failing), Host(failing, Presence.PAUSED, defined=False)
    came = arrive(record, host, offer(persistent=persistent))
    assert host.defined is persistent
    if came is None:
        assert host.ran
    else:
        assert came.code is codes.VM_LOST_AT_SWITCH
        assert host.now() in (Presence.OFF, Presence.ABSENT)
        assert record.detail(Phase.SETTLING) == {"ran": False}


@pytest.mark.parametrize("fault", [AWAY, AWAY_DONE, REFUSED])
@pytest.mark.parametrize("at", ["resume", "define"])
def test_a_failing_step_is_taken_again_with_its_reason(fault: str, at: str) -> None:
    before = {"resume": 2, "define": 4}[at]  # journal, presence, resume, journal, define
    failing = Failing([None] * before + [fault] * 3)
    record, host = Record(failing), Host(failing, Presence.PAUSED, defined=False)
    assert arrive(record, host, offer()) is None
    assert (host.now(), host.defined) == (Presence.RUNNING, True)
    assert host.calls.count(at) >= (1 if fault == AWAY_DONE and at == "resume" else 2)
    assert "web01 is kvm2's" in record.doubts[0]
    assert "libvirt on kvm2" in record.doubts[0]


def test_what_had_run_is_never_resumed_again() -> None:
    failing = Failing([])
    record, host = Record(failing), Host(failing, Presence.ABSENT, defined=False)
    record.steps = [(Phase.GOING, {}), (Phase.SETTLING, {"ran": True})]
    assert arrive(record, host, offer()) is None
    assert host.calls == ["define"]


def test_a_guest_that_stands_still_does_not_wait_for_the_journal() -> None:
    failing = Failing([AWAY])
    record, host = Record(failing), Host(failing, Presence.PAUSED, defined=False)
    assert arrive(record, host, offer()) is None
    assert host.calls.index("resume") == 1
    assert [phase for phase, _ in record.steps] == [Phase.GOING, Phase.SETTLING]
    assert record.said == [Went()]


def test_the_disks_of_a_lost_vm_are_called_whole_only_when_they_are_there(tmp_path: Path) -> None:
    disk = tmp_path / "web01.qcow2"
    plan = ArtifactPlan(target="vda", path=str(disk), shared=False, copied_by=CopiedBy.MIRROR)
    failing = Failing([])
    record, host = Record(failing), Host(failing, Presence.ABSENT, defined=False)

    class Seen(Exception):
        pass

    def doubt(reason: str) -> None:
        if str(disk) in reason:
            disk.touch()
            record.doubts.append(reason)

    record.doubt = doubt  # type: ignore[method-assign]
    came = arrive(record, host, offer(), [plan])
    assert came is not None
    assert "`virsh start web01` on kvm2" in came.remedy
    assert record.doubts == [f"web01 ended here at its switch: {disk}: No such file or directory"]


def test_a_job_that_somebody_ended_is_left_alone() -> None:
    failing = Failing([])
    record, host = Record(failing), Host(failing, Presence.PAUSED, defined=False)
    record.closed = True
    with pytest.raises(UsageError):
        arrive(record, host, offer())
    assert host.calls == []


def test_what_no_prepare_of_this_job_made_is_not_let_run() -> None:
    host = Host(Failing([]), Presence.PAUSED, defined=False)
    record = Record(Failing([]))
    record.steps = [(Phase.GOING, {})]
    came = Arrival(record, host, None, offer(persistent=False), "kvm2", "<domain/>", [], no_sleep).take(
        noted=True, ran=None
    )
    assert came is not None
    assert (came.code, host.calls) == (codes.VM_LOST_AT_SWITCH, [])


def test_a_copy_that_somebody_started_anew_is_waited_out_untouched() -> None:
    host = Host(Failing([]), Presence.PAUSED, defined=False)
    record = Record(Failing([]))
    tries = 0

    def resume(vm: VmIdentity) -> None:
        nonlocal tries
        assert vm == OWN
        tries += 1
        if tries == 3:
            host.end()  # whoever it was has ended theirs
        raise PreflightError(codes.NOT_THIS_VM, uuid=vm.uuid, host="kvm2", why="it was started anew")

    host.resume = resume  # type: ignore[method-assign]
    came = arrive(record, host, offer())
    assert came is not None
    assert came.code is codes.VM_LOST_AT_SWITCH
    assert "it was started anew" in record.doubts[0]


def depart(
    record: Record, host: Host, vm: Offer, *, ask: Callable[[], Outcome], heard: Callable[[float], WorkerEvent]
) -> tuple[VmferryError | None, list[str], list[str]]:
    """Give a VM away as the source does; returns the problem, what stays, and what was removed."""
    removed: list[str] = []

    def remove() -> list[str]:
        removed.append("disks")
        return []

    while True:
        departure = Departure(record, host, host, vm, "kvm2", heard, ask, no_sleep)
        try:
            came = departure.take(noted=record.has(Phase.GOING), said=False, go=Go(), **UNTOLD, remove=remove)
        except Died:
            continue
        return came, departure.left, removed


TWICE = st.lists(st.sampled_from([None, None, None, AWAY, AWAY_DONE, DIED, DIED_DONE]), max_size=25)


@given(TWICE, st.sampled_from([Presence.OFF, Presence.PAUSED]), st.booleans(), st.integers(0, 3))
def test_the_source_gives_the_vm_away_whatever_fails(
    faults: list[str | None], presence: Presence, lost_there: bool, silent: int
) -> None:
    failing = Failing(faults)
    record, host = Record(failing), Host(failing, presence, defined=True, autostart=True)
    problem = lost(offer(), "kvm2").problem() if lost_there else None
    answers: list[Outcome | None] = [None] * silent

    def ask() -> Outcome:
        if answers:
            answers.pop()
            raise away()
        return outcome(problem=problem)

    came, left, removed = depart(record, host, offer(), ask=ask, heard=events())
    assert (came.code if came else None) is (codes.VM_LOST_AT_SWITCH if lost_there else None)
    assert (host.now(), host.defined, host.starts, host.barred) == (Presence.ABSENT, False, False, False)
    assert (left, removed) == ([], ["disks"])


def test_go_is_said_on_the_session_at_once() -> None:
    failing = Failing([])
    record, host = Record(failing), Host(failing, Presence.OFF, defined=True)

    def ask() -> Outcome:
        raise AssertionError("the session lives")

    heard = events(Went(), Defined())
    came, _, _ = depart(record, host, offer(), ask=ask, heard=heard)
    assert came is None
    assert record.said == [Go()]


def test_the_daemon_is_told_at_once_when_the_session_is_gone() -> None:
    failing = Failing([])
    record, host = Record(failing), Host(failing, Presence.OFF, defined=True)
    record.hears = False

    def heard(_timeout: float) -> WorkerEvent:
        raise AssertionError("nothing can come")

    assert depart(record, host, offer(), ask=outcome, heard=heard)[0] is None


def test_autostart_goes_while_the_destination_is_silent() -> None:
    failing = Failing([])
    record, host = Record(failing), Host(failing, Presence.OFF, defined=True, autostart=True)
    tries = 0

    def ask() -> Outcome:
        nonlocal tries
        tries += 1
        if tries < 3:
            assert host.starts is (tries == 1)
            raise away()
        return outcome()

    assert depart(record, host, offer(), ask=ask, heard=events())[0] is None


@given(TWICE, st.booleans())
def test_whether_the_vm_started_with_its_host_is_known_after_that_was_taken_away(
    faults: list[str | None], started: bool
) -> None:
    """It may have been changed while the VM was copied; a worker that dies on the way leaves it in the journal."""
    failing = Failing(faults)
    record, host = Record(failing), Host(failing, Presence.OFF, defined=True, autostart=started)
    told: list[bool] = []

    def tell(started: bool) -> list[str]:
        assert not host.starts
        told.append(started)
        return []

    while True:
        departure = Departure(record, host, host, offer(), "kvm2", events(), outcome, no_sleep)
        departure.started = any(detail.get("started") for _, detail in record.steps)

        try:
            steps = {**UNTOLD, "tell": tell, "remove": list}
            departure.take(noted=record.has(Phase.GOING), said=False, go=Go(), **steps)
        except Died:
            continue
        break
    assert set(told) == {started}


def test_a_definition_that_libvirt_keeps_keeps_its_disks_and_is_named() -> None:
    failing = Failing([])
    record, host = Record(failing), Host(failing, Presence.OFF, defined=True, autostart=True)

    def refuse(vm: VmIdentity) -> None:
        raise PreflightError(codes.LIBVIRT_REFUSED, host="kvm1", vm="web01", detail="it has 1 snapshots")

    host.forget = refuse  # type: ignore[method-assign]
    came, left, removed = depart(record, host, offer(), ask=outcome, heard=events())
    assert (came, removed, host.starts, host.barred) == (None, [], False, True)
    assert "it has 1 snapshots" in left[0]
    assert "virsh undefine web01" in left[0]


def test_a_job_that_ended_otherwise_there_leaves_all_but_the_autostart() -> None:
    failing = Failing([])
    record, host = Record(failing), Host(failing, Presence.OFF, defined=True, autostart=True)
    problem = VmferryError(codes.MOVE_FAILED, vm="web01", phase="going", why="x", host="kvm1", advice="look").problem()
    came, left, removed = depart(record, host, offer(), ask=lambda: outcome(problem=problem), heard=events())
    assert came is not None
    assert (host.defined, host.starts, host.barred, removed) == (True, False, True, [])
    assert "see there where the VM is" in left[0]


@given(st.lists(st.sampled_from([None, AWAY, AWAY_DONE, REFUSED]), max_size=25), st.booleans())
def test_a_vm_whose_move_is_given_up_runs_on_whatever_fails(faults: list[str | None], paused: bool) -> None:
    failing = Failing(faults)
    record = Record(failing)
    host = Host(failing, Presence.PAUSED if paused else Presence.RUNNING, defined=True)
    assert keep_running(host, OWN, record.doubt, no_sleep) is Presence.RUNNING
    assert host.now() is Presence.RUNNING


@given(st.lists(st.sampled_from([None, AWAY, AWAY_DONE, REFUSED]), max_size=25), st.booleans())
def test_a_suspended_vm_whose_move_is_given_up_stays_suspended(faults: list[str | None], paused: bool) -> None:
    """libvirt resumes it as it ends the migration, or has not come to that."""
    failing = Failing(faults)
    record = Record(failing)
    host = Host(failing, Presence.PAUSED if paused else Presence.RUNNING, defined=True)
    assert keep_running(host, OWN, record.doubt, no_sleep, suspended=True) is Presence.PAUSED
    assert host.now() is Presence.PAUSED
    assert "resume" not in host.calls


@pytest.mark.parametrize("presence", [Presence.PAUSED, Presence.RUNNING])
def test_what_a_person_did_to_a_vm_after_its_move_was_given_up_stays(presence: Presence) -> None:
    """Whatever they had done before: they suspended it only now, or let it run again."""
    host = Host(Failing([]), presence, defined=True)
    host.by_person = True
    before = presence is Presence.RUNNING
    assert keep_running(host, OWN, lambda _reason: None, no_sleep, suspended=before) is presence
    assert host.now() is presence


@given(faults, st.booleans())
def test_a_vm_that_a_person_suspended_stays_so_at_the_destination(faults: list[str | None], persistent: bool) -> None:
    failing = Failing(faults)
    record, host = Record(failing), Host(failing, Presence.PAUSED, defined=False)
    vm, said = offer(persistent=persistent), True
    while True:
        settling = record.detail(Phase.SETTLING)
        ran = None if settling is None else settling["ran"]
        if record.has(Phase.GOING):  # a later life has it from the journal
            said = suspended([JournalStep("0123456789ab", 1, 0.0, phase, detail) for phase, detail in record.steps])
        arrival = Arrival(record, host, OWN, vm, "kvm2", "<domain/>", [], no_sleep)
        try:
            assert arrival.take(noted=record.has(Phase.GOING), ran=ran, suspended=said) is None
        except Died:
            continue
        break
    assert (host.now(), host.defined) == (Presence.PAUSED, persistent)
    assert "resume" not in host.calls


def test_a_vm_that_was_started_anew_meanwhile_is_left_as_it_is() -> None:
    host = Host(Failing([]), Presence.PAUSED, defined=True)

    def resume(vm: VmIdentity) -> None:
        raise PreflightError(codes.NOT_THIS_VM, uuid=vm.uuid, host="kvm1", why="it was started anew")

    host.resume = resume  # type: ignore[method-assign]
    doubts: list[str] = []
    assert keep_running(host, OWN, doubts.append, no_sleep) is Presence.PAUSED
    assert doubts == []


def test_the_source_ends_only_what_ran_as_the_copying_began() -> None:
    host = Host(Failing([]), Presence.PAUSED, defined=True)
    record = Record(Failing([]))
    record.steps = [(Phase.GOING, {})]
    ended: list[VmIdentity] = []

    def destroy(vm: VmIdentity) -> None:
        ended.append(vm)
        host.end()

    host.destroy = destroy  # type: ignore[method-assign]
    departure = Departure(record, host, host, offer(), "kvm2", events(Defined()), outcome, no_sleep)
    departure.vm = OWN
    steps = {**UNTOLD, "remove": list}
    assert departure.take(noted=True, said=False, go=Go(), **steps) is None
    assert ended == [OWN]


def test_what_the_destination_did_not_take_is_said_though_the_disks_cannot_be_removed_at_once() -> None:
    failing = Failing([])
    host, record = Host(failing, Presence.OFF, defined=True), Record(failing)
    tries: list[str] = []

    def tell_last(_taken: object, _started: bool) -> list[str]:
        return [] if tries else ["an older definition"]  # told once: what was told is known after that

    def remove() -> list[str]:
        tries.append("disks")
        if len(tries) == 1:
            raise away()
        return ["a disk"]

    departure = Departure(record, host, host, offer(), "kvm2", events(Defined()), outcome, no_sleep)
    steps = {**UNTOLD, "tell_last": tell_last, "remove": remove}
    assert departure.take(noted=False, said=False, go=Go(), **steps) is None
    assert departure.left == ["an older definition", "a disk"]
    assert len(tries) == 2


def test_a_vm_that_stops_again_by_itself_is_not_resumed_for_ever() -> None:
    host = Host(Failing([]), Presence.PAUSED, defined=True)
    host.resume = lambda vm: host.calls.append("resume")  # type: ignore[method-assign]
    assert keep_running(host, OWN, lambda _reason: None, no_sleep) is Presence.PAUSED
    assert host.calls.count("resume") == 3


@pytest.mark.parametrize(
    ("presence", "words"),
    [(Presence.RUNNING, "web01 runs on kvm1."), (Presence.OFF, "web01 is shut off on kvm1.")],
)
def test_what_is_said_of_the_vm_is_what_was_seen(presence: Presence, words: str) -> None:
    error = CancelledError(codes.CANCELLED, job="j1", caller="ann", vm="web01", host="kvm1")
    assert error.remedy.startswith("web01 stays on kvm1.")
    said = standing(error, presence)
    assert isinstance(said, CancelledError)
    assert said.remedy.startswith(words)
    assert VmferryError.from_problem(said.problem()).remedy == said.remedy
