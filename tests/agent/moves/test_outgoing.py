"""What a host checks of its VM and its own settings before it asks the destination, and what it makes of the answer."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from tests.agent.world import ANN, ENDLESS, FULL, HERE, LATE, LATER, NOWHERE, ON, ONLY, World, another, found

from vmferry.agent.moves import outgoing
from vmferry.agent.moves.outgoing import OutgoingMoves
from vmferry.core import codes
from vmferry.core.errors import InternalError, PreflightError, UnreachableError, UsageError, VmferryError
from vmferry.core.job import Phase, Role, State
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import Address, Admission, MoveOptions, Offer
from vmferry.core.options import Encryption, Performance
from vmferry.core.policy.settings import HostSettings, Protection
from vmferry.jobs import spec
from vmferry.store.jobs import Jobs


def refused(moves: OutgoingMoves, options: MoveOptions | None = None) -> VmferryError:
    with pytest.raises(VmferryError) as caught:
        moves.move("web01", "kvm2", options or MoveOptions(), ANN)
    return caught.value


def test_a_vm_that_is_moved_already(moves: OutgoingMoves) -> None:
    moves.jobs.create("0123456789ab", Role.SOURCE, "web01", "kvm2", ANN, {})
    assert found(moves) == ["vm-busy"]
    assert refused(moves).code is codes.VM_BUSY


def test_a_move_is_refused_for_the_vm_before_the_destination_is_asked(moves: OutgoingMoves, world: World) -> None:
    world.vm = world.vm.model_copy(update={"state": "paused", "disks": []})
    error = refused(moves)
    assert isinstance(error, PreflightError)
    assert error.code is codes.VM_NOT_RUNNING
    assert moves.jobs.list() == []
    assert world.asked == []


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (MoveOptions(include_storage=True, disk_paths={"vdz": "/srv/a"}), codes.DISK_UNKNOWN),
        (MoveOptions(map_networks={"br7": "br0"}), codes.VM_NETWORK_UNKNOWN),
        (MoveOptions(storage_path="/srv"), codes.STORAGE_PATH_NEEDS_STORAGE),
        (MoveOptions(performance=Performance.SMB), codes.NOT_BUILT),
    ],
)
def test_a_request_that_cannot_be_meant(moves: OutgoingMoves, world: World, options: MoveOptions, code: Any) -> None:
    with pytest.raises(UsageError) as caught:
        moves.prospects.check("web01", "kvm2", options, ANN)
    assert caught.value.code is code
    assert refused(moves, options).code is code
    assert world.asked == []


@pytest.mark.parametrize(
    ("settings", "options", "code"),
    [
        (HostSettings(), MoveOptions(), codes.MIGRATION_DISABLED),
        (ON, MoveOptions(encryption=Encryption.OFF), codes.ENCRYPTION_DIFFERS),
        (NOWHERE, MoveOptions(), codes.MIGRATION_NETWORK_MISSING),
    ],
)
def test_what_the_settings_forbid(
    moves: OutgoingMoves, world: World, settings: HostSettings, options: MoveOptions, code: object
) -> None:
    moves.settings.save(settings)
    error = refused(moves, options)
    assert error.code is code
    assert "kvm1" in error.reason
    assert world.asked == []
    assert moves.jobs.list() == []
    assert found(moves, options) == [error.code.name]
    assert world.asked == ["check"]


def test_a_switch_that_falls_while_the_vm_is_looked_at_is_seen(moves: OutgoingMoves, world: World) -> None:
    world.on_describe = lambda: moves.settings.save(HostSettings())
    assert refused(moves).code is codes.MIGRATION_DISABLED
    assert moves.jobs.list() == []


def test_what_the_destination_warns_of_is_told_with_the_job(moves: OutgoingMoves, world: World) -> None:
    world.findings = [LATE]
    world.admission = Admission(addresses=[Address(host="10.92.0.2", port=6610)])
    job, warnings = moves.move("web01", "kvm2", MoveOptions(), ANN)
    assert [row.id for row in moves.jobs.list()] == [job]
    assert warnings == [LATE]


def test_the_destination_is_told_where_the_move_keeps_to(moves: OutgoingMoves, world: World) -> None:
    moves.settings.save(ONLY)
    assert refused(moves).code is codes.HOST_UNREACHABLE
    assert world.proposed[-1].networks == ["10.92.0.0/24"]
    assert "admit" in world.asked
    moves.settings.save(ON.model_copy(update={"encryption": Protection.OPTIONAL}))
    refused(moves, MoveOptions(encryption=Encryption.OFF))
    assert world.proposed[-1].networks == []


def test_without_a_common_network_nothing_is_made_there(moves: OutgoingMoves, world: World) -> None:
    moves.settings.save(ONLY)
    assert found(moves) == []
    world.addresses = ["10.91.0.2", "kvm2.example"]
    assert found(moves) == ["migration-network-not-common"]
    world.asked.clear()
    error = refused(moves)
    assert error.code is codes.MIGRATION_NETWORK_NOT_COMMON
    assert "10.92.0.0/24" in error.reason
    assert "10.91.0.2, kvm2.example" in error.reason
    assert world.asked == ["start", "offer", "abort"]  # the destination has a record of the job by then


# --- what cannot be promised without a prediction -------------------------------------------------------------------


def test_a_move_that_cannot_be_in_time_is_refused_before_anything_is_made(moves: OutgoingMoves, world: World) -> None:
    world.foretold = [LATER]
    assert refused(moves, MoveOptions(deadline=9.0)).code is codes.DEADLINE_MISSED
    assert world.asked == ["check", "foretell"]
    assert moves.jobs.list() == []
    assert nonce_files(world) == []


def test_what_is_foretold_is_warned_of_with_the_job(moves: OutgoingMoves, world: World) -> None:
    world.foretold, world.admission = [ENDLESS], HERE
    _, warnings = moves.move("web01", "kvm2", MoveOptions(max_downtime=0.1), ANN)
    assert warnings == [ENDLESS]


def test_a_move_that_waits_is_given_up_at_its_deadline(moves: OutgoingMoves, world: World) -> None:
    world.refusal = FULL
    job, _ = moves.move("web01", "kvm2", MoveOptions(deadline=0.2), ANN)
    late = spec.load(moves.config.state_folder, job)
    spec.save(moves.config.state_folder, late.model_copy(update={"requested_at": late.requested_at - 1}))
    assert moves.begin(job)
    row = moves.jobs.get(job)
    assert (row.state, (row.error or {})["code"]) == (State.FAILED, "deadline-passed")
    assert world.asked[-1] == "abort"


# --- waiting for a place --------------------------------------------------------------------------------------------


def nonce_files(world: World) -> list[Path]:
    return list(Path(world.vm.disks[0].path).parent.glob(".vmferry-*"))


def state(moves: OutgoingMoves, job: str) -> tuple[State, str | None]:
    row = moves.jobs.get(job)
    return row.state, row.reason


def test_a_move_waits_while_the_destination_is_full_and_then_begins(moves: OutgoingMoves, world: World) -> None:
    world.refusal, world.admission = FULL, HERE
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    assert state(moves, job) == (State.WAITING, FULL)
    assert not moves.begin(job)
    world.refusal = None
    world.vm = world.vm.model_copy(update={"memory": 7 << 30})
    assert moves.begin(job)
    assert state(moves, job) == (State.RUNNING, None)
    assert moves.jobs.get(job).phase is Phase.ADMITTED
    assert world.asked == ["start", "offer", "hold", "hold", "renew", "start", "admit"]
    offer = world.proposed[-1]
    assert isinstance(offer, Offer)
    assert (offer.job, offer.caller, offer.memory) == (job, ANN, 7 << 30)
    assert spec.load(moves.config.state_folder, job).offer == offer
    assert spec.load(moves.config.state_folder, job).addresses == HERE.addresses
    assert len(nonce_files(world)) == 1


def test_a_full_source_does_not_ask_for_a_place_at_the_destination(moves: OutgoingMoves, world: World) -> None:
    world.admission = HERE
    first, second = another(moves, "a" * 12), another(moves, "b" * 12)
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    assert world.asked == ["offer"]
    assert isinstance(world.proposed[-1], Offer)
    assert not world.proposed[-1].place
    assert state(moves, job) == (State.WAITING, "kvm1 takes part in 2 moves, and its limit is 2")
    assert not moves.begin(job)
    assert world.asked == ["offer"]
    moves.settings.save(ON.model_copy(update={"max_migrations": 3, "max_storage_migrations": 3}))
    assert moves.begin(job)
    for ended in (first, second):
        moves.jobs.end(ended, State.DONE)
    assert [entry.job for entry in moves.admissions.entries()] == [job]
    assert moves.admissions.entries()[0].expires_at is None


def test_a_place_at_the_destination_is_given_back_when_there_is_none_here(moves: OutgoingMoves, world: World) -> None:
    world.refusal = FULL
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    world.refusal = None

    def fill() -> None:
        for number in (1, 2):
            another(moves, str(number) * 12)

    world.on_describe = fill
    assert not moves.begin(job)
    assert world.asked[-2:] == ["renew", "release"]
    assert state(moves, job) == (State.WAITING, "kvm1 takes part in 2 moves, and its limit is 2")


def test_a_place_at_the_destination_that_went_to_another_is_waited_for(moves: OutgoingMoves, world: World) -> None:
    world.refusal = FULL
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    world.refusal = None

    def gone() -> None:
        raise PreflightError(codes.LIMIT_REACHED, reason=FULL, host="kvm2")

    world.on_admit = gone
    assert not moves.begin(job)
    assert state(moves, job) == (State.WAITING, FULL)
    assert not any(entry.granted for entry in moves.admissions.entries())


def test_a_move_that_was_admitted_begins_by_that_plan_if_the_answer_was_lost(
    moves: OutgoingMoves, world: World
) -> None:
    world.refusal, world.admission = FULL, HERE
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    world.refusal = None

    def lost() -> None:
        world.admitted = True
        raise UnreachableError(codes.HOST_UNREACHABLE, host="kvm2", address="x", why="no answer")

    world.on_admit = lost
    assert not moves.begin(job)
    assert moves.jobs.get(job).state is State.WAITING
    renewed = world.proposed[-1]
    world.vm = world.vm.model_copy(update={"memory": 7 << 30})  # too late: the destination has begun
    world.on_admit = lambda: None
    assert moves.begin(job)
    assert state(moves, job) == (State.RUNNING, None)
    assert world.asked[-3:] == ["hold", "start", "admit"]
    assert spec.load(moves.config.state_folder, job).offer == renewed
    assert len(nonce_files(world)) == 1


def test_moves_to_one_destination_keep_their_order(moves: OutgoingMoves, world: World) -> None:
    world.refusal, world.admission = FULL, HERE
    first, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    world.vm = world.vm.model_copy(update={"name": "web02"})
    second, _ = moves.move("web02", "kvm2", MoveOptions(), ANN)
    assert [moves.jobs.get(job).position for job in (first, second)] == [1, 2]
    world.refusal = None
    assert not moves.begin(second)
    assert state(moves, second) == (State.WAITING, "earlier moves to kvm2 wait too")
    assert moves.begin(first)
    assert moves.begin(second)


def test_a_move_that_may_not_wait_fails_and_leaves_nothing(moves: OutgoingMoves, world: World) -> None:
    world.refusal = FULL
    with pytest.raises(PreflightError) as caught:
        moves.move("web01", "kvm2", MoveOptions(), ANN, wait=False)
    assert caught.value.code is codes.LIMIT_REACHED
    assert FULL in caught.value.reason
    assert world.asked[-1] == "abort"
    assert [row.state for row in moves.jobs.list()] == [State.FAILED]
    assert nonce_files(world) == []


def test_a_move_that_waits_can_be_cancelled(moves: OutgoingMoves, world: World) -> None:
    world.refusal = FULL
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    moves.cancel(job, ANN)
    assert moves.jobs.get(job).state is State.CANCELLED
    assert world.asked[-1] == "abort"
    assert nonce_files(world) == []
    assert world.cancelled_by == "ann"
    assert moves.begin(job)  # nothing is left to wait
    assert world.asked[-1] == "abort"
    with pytest.raises(UsageError, match=f"Job {job} has already ended .cancelled.") as caught:
        moves.cancel(job, ANN)
    assert caught.value.code is codes.JOB_ENDED


def test_a_move_that_waits_fails_when_it_cannot_be_any_more(moves: OutgoingMoves, world: World) -> None:
    world.refusal = FULL
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    world.refusal = None
    world.vm = world.vm.model_copy(update={"state": "shut off"})
    assert moves.begin(job)
    row = moves.jobs.get(job)
    assert row.state is State.FAILED
    assert row.error is not None
    assert row.error["code"] == "vm-not-running"
    assert world.asked[-1] == "abort"


def test_a_move_waits_on_while_the_destination_is_away(moves: OutgoingMoves, world: World) -> None:
    world.refusal, world.admission = FULL, HERE
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    world.away = True
    assert not moves.begin(job)
    assert "no route" in str(moves.jobs.get(job).reason)
    world.away, world.refusal = False, None
    assert moves.begin(job)


def test_a_check_tries_the_way_and_a_move_leaves_that_to_its_workers(moves: OutgoingMoves, world: World) -> None:
    world.unreached = [Finding.blocks(codes.DATA_UNREACHABLE, ("", "x"), host="kvm2", addresses="x", why="y")]
    assert found(moves) == ["data-port-unreachable"]
    assert world.tried == ["kvm2"]
    moves.settings.save(NOWHERE)
    assert "data-port-unreachable" not in found(moves)
    moves.settings.save(ON)
    world.tried.clear()
    with pytest.raises(VmferryError):
        moves.move("web01", "kvm2", MoveOptions(), ANN)
    assert world.tried == []


@pytest.mark.parametrize("granted", [False, True])
def test_whatever_fails_before_a_move_begins_ends_it_on_both_hosts(
    moves: OutgoingMoves, world: World, monkeypatch: pytest.MonkeyPatch, granted: bool
) -> None:
    """The job stayed as it was, and its VM was busy until vmferryd was started anew."""

    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if granted:
        monkeypatch.setattr(spec, "save", fail)
    else:
        monkeypatch.setattr(world, "start", fail)
    with pytest.raises(OSError, match="No space left"):
        moves.move("web01", "kvm2", MoveOptions(), ANN)
    (row,) = moves.jobs.list()
    assert (row.state, row.error and row.error["code"]) == (State.FAILED, "internal")
    assert "No space left" in (row.reason or "")
    assert world.asked[-1:] == (["abort"] if granted else [])
    assert nonce_files(world) == []
    monkeypatch.undo()
    world.admission = HERE
    assert moves.move("web01", "kvm2", MoveOptions(), ANN)


@pytest.mark.parametrize("granted", [False, True])
def test_a_move_that_fails_while_the_database_is_locked_does_not_wait_on(
    moves: OutgoingMoves, world: World, monkeypatch: pytest.MonkeyPatch, granted: bool
) -> None:
    """It was said to have failed, and would have been moved later."""
    locked = InternalError(codes.DATABASE_FAILED, path="vmferry.db", host="kvm1", why="database is locked")
    tries: list[str] = []
    end = Jobs.end

    def fail(*_arguments: object) -> None:
        raise locked

    def later(jobs: Jobs, job: str, *rest: Any) -> bool:
        tries.append(job)
        if len(tries) < 3:
            raise locked
        return end(jobs, job, *rest)

    monkeypatch.setattr(Jobs, "end", later)
    if granted:
        monkeypatch.setattr(Jobs, "mark", fail)
    else:
        monkeypatch.setattr(world, "start", fail)
    with pytest.raises(InternalError) as caught:
        moves.move("web01", "kvm2", MoveOptions(), ANN)
    assert caught.value is locked
    assert [row.state for row in moves.jobs.list()] == [State.FAILED]
    assert len(tries) == 3
    assert world.asked[-1:] == (["abort"] if granted else [])


@pytest.mark.parametrize("how", ["begin", "cancel"])
def test_a_move_whose_end_was_never_written_down_is_not_begun(
    moves: OutgoingMoves, world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The database was locked for longer than anybody waits: the user was told that the move has failed."""
    world.refusal = FULL
    locked = InternalError(codes.DATABASE_FAILED, path="vmferry.db", host="kvm1", why="database is locked")
    mark = Jobs.mark
    marked: list[str] = []

    def once(jobs: Jobs, job: str, *rest: Any) -> bool:
        marked.append(job)
        if len(marked) > 1:
            raise locked
        return mark(jobs, job, *rest)

    def fail(*_arguments: object) -> None:
        raise locked

    monkeypatch.setattr(outgoing, "_ENDINGS", 1)
    monkeypatch.setattr(Jobs, "mark", once)
    monkeypatch.setattr(Jobs, "end", fail)
    with pytest.raises(InternalError) as caught:
        moves.move("web01", "kvm2", MoveOptions(), ANN)
    assert caught.value is locked
    assert world.asked[-1] == "abort"
    assert nonce_files(world) == []
    monkeypatch.undo()
    (job,) = (row.id for row in moves.jobs.list())
    assert moves.jobs.get(job).state is State.WAITING
    world.refusal, world.admission = None, HERE
    asked = len(world.asked)
    if how == "begin":
        assert moves.begin(job)
    else:
        moves.cancel(job, ANN)
    assert moves.jobs.get(job).state is (State.FAILED if how == "begin" else State.CANCELLED)
    assert world.asked[asked:] == []
