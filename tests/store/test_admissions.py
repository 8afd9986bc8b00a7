"""Places are granted for a while, kept, given back, and gone with their job."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from vmferry.core.job import Role, State
from vmferry.core.messages.offer import Caller
from vmferry.core.policy.admission import AWAY, HOLD, MoveLimits
from vmferry.store.admissions import Admissions
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs

ONE = MoveLimits(moves=1, storage=1)
ALICE = Caller(name="alice", host="kvm1", method="unix")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "vmferry.db") as opened:
        jobs = Jobs(opened)
        for job in ("a", "b", "c"):
            jobs.create(job, Role.DESTINATION, f"vm-{job}", "kvm1", ALICE, {})
        yield opened


@pytest.fixture
def places(database: Database, clock: Clock) -> Admissions:
    return Admissions(database, "kvm2", clock)


def ask(places: Admissions, job: str, since: float | None = None) -> str | None:
    return places.ask(job, storage=True, limits=ONE, since=since)


def test_a_granted_place_expires_unless_it_is_kept(places: Admissions, clock: Clock) -> None:
    assert ask(places, "a") is None
    assert ask(places, "a") is None  # the answer to the first question was lost
    assert ask(places, "b") == "kvm2 takes part in 1 move, and its limit is 1"
    clock.now += HOLD
    assert ask(places, "b") is None
    places.keep("b")
    clock.now += HOLD
    assert ask(places, "a") is not None


def test_the_end_of_a_job_frees_its_place(places: Admissions, database: Database) -> None:
    assert ask(places, "a") is None
    places.keep("a")
    assert ask(places, "b") is not None
    Jobs(database).end("a", State.DONE)
    assert ask(places, "b") is None


def test_a_place_that_is_given_back_goes_along_the_line(places: Admissions, clock: Clock) -> None:
    assert ask(places, "a") is None
    places.book("a", 100, {"1": 10})
    for job in ("b", "c"):
        clock.now += 1
        assert ask(places, job) is not None
    places.release("a")
    assert {entry.job: entry.memory for entry in places.entries()} == {"a": 0, "b": 0, "c": 0}
    assert "job a" in str(ask(places, "c"))
    clock.now += AWAY
    assert ask(places, "c") is None  # the others have not asked again


def test_a_move_that_leaves_goes_by_its_own_time_and_holds_nobody_up(places: Admissions, clock: Clock) -> None:
    assert ask(places, "a") is None
    assert ask(places, "b") is not None
    assert ask(places, "c", since=clock.now - 60) is not None
    assert [entry.job for entry in places.entries()] == ["a", "b"]
    clock.now += HOLD
    assert ask(places, "b") is None
    places.release("b")
    assert ask(places, "c", since=clock.now - 60) is None


def test_bookings_are_read_back(places: Admissions) -> None:
    ask(places, "a")
    places.book("a", 1 << 40, {"8:1": 5})
    (entry,) = places.entries()
    assert (entry.memory, entry.space) == (1 << 40, {"8:1": 5})
