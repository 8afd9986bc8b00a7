"""Limits, the line before them, and bookings; hosts that send to each other all come to their end."""

import random
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core.policy.admission import (
    AGAIN,
    AWAY,
    HOLD,
    MoveLimits,
    QueueEntry,
    booked_memory,
    booked_space,
    refusal,
)

NOW = 1000.0
TWO = MoveLimits(moves=2, storage=2)


def running(job: str, *, storage: bool = False) -> QueueEntry:
    return QueueEntry(job, storage, NOW - 60, NOW - 60, granted=True)


def waiting(job: str, since: float, *, storage: bool = False) -> QueueEntry:
    return QueueEntry(job, storage, NOW - since, NOW)


def refused(entries: list[QueueEntry], wanted: QueueEntry, limits: MoveLimits = TWO) -> str | None:
    return refusal(entries, wanted, limits, NOW, "kvm2")


def test_a_move_begins_while_there_is_room() -> None:
    wanted = waiting("c", 0)
    assert refused([running("a")], wanted) is None
    full = refused([running("a"), running("b"), wanted], wanted)
    assert full == "kvm2 takes part in 2 moves, and its limit is 2"
    assert refused([running("a"), running("b")], wanted, MoveLimits(moves=3, storage=1)) is None


def test_moves_of_storage_are_counted_apart() -> None:
    limits = MoveLimits(moves=3, storage=1)
    entries = [running("a", storage=True)]
    full = refused(entries, waiting("b", 0, storage=True), limits)
    assert full == "kvm2 takes part in 1 move of storage, and its limit is 1"
    assert refused(entries, waiting("b", 0), limits) is None


def test_a_place_that_was_granted_and_not_taken_comes_free() -> None:
    limits = MoveLimits(moves=1, storage=1)
    held = replace(running("a"), expires_at=NOW + HOLD)
    assert refused([held], waiting("b", 0), limits) is not None
    assert refused([replace(held, expires_at=NOW)], waiting("b", 0), limits) is None


def test_who_has_waited_longest_is_next() -> None:
    entries = [running("a"), waiting("b", 20), waiting("c", 10)]
    assert refused(entries, entries[1]) is None
    assert refused(entries, entries[2]) == "kvm2 has a free slot, which goes to job b: it has waited for longer"
    gone = replace(entries[1], seen_at=NOW - AWAY - 1)
    assert refused([entries[0], gone, entries[2]], entries[2]) is None


def test_who_waits_for_the_other_kind_of_place_stops_nobody() -> None:
    limits = MoveLimits(moves=2, storage=1)
    entries = [running("a", storage=True), waiting("b", 20, storage=True), waiting("c", 10)]
    assert refused(entries, entries[2], limits) is None


def test_bookings_shrink_as_they_are_used() -> None:
    entries = [
        replace(running("a"), memory=100, space={"1": 50}),
        replace(running("b"), memory=10, space={"1": 5, "2": 7}),
        replace(waiting("c", 0), memory=1000, space={"1": 1000}),
    ]
    assert booked_memory(entries, {}, NOW) == 110
    assert booked_memory(entries, {"a": 30, "b": 99}, NOW) == 70
    assert booked_space(entries, {}, NOW) == {"1": 55, "2": 7}
    assert booked_space(entries, {"a": {"1": 20}}, NOW) == {"1": 35, "2": 7}


# --- several hosts at once ------------------------------------------------------------------------------------------


class Fleet:
    """Hosts with limits, and the two questions a move asks: the destination's place first, then the source's.

    The order in which messages arrive is drawn at random; so is when each asks again.
    """

    def __init__(self, limits: list[MoveLimits], moves: list[tuple[int, int, bool]], seed: int) -> None:
        self.random = random.Random(seed)
        self.limits = limits
        self.moves = moves
        self.now = NOW
        self.made_at = [NOW + self.random.random() for _ in moves]
        self.rows: list[dict[str, QueueEntry]] = [{} for _ in limits]
        self.most: dict[int, int] = defaultdict(int)
        self.done: list[int] = []

    def ask(self, host: int, number: int, since: float | None = None) -> bool:
        rows = self.rows[host]
        known = rows.get(str(number), QueueEntry(str(number), self.moves[number][2], since or self.now, self.now))
        reason = refusal(rows.values(), known, self.limits[host], self.now, f"kvm{host}")
        if reason is None:
            rows[str(number)] = replace(known, seen_at=self.now, granted=True, expires_at=self.now + HOLD)
        elif since is None:
            rows[str(number)] = replace(known, seen_at=self.now)
        self.most[host] = max(self.most[host], sum(entry.has_slot(self.now) for entry in rows.values()))
        return reason is None

    def release(self, host: int, number: int) -> None:
        self.rows[host][str(number)] = replace(self.rows[host][str(number)], granted=False, expires_at=None)

    def run(self) -> float:
        """Give the seconds until the last move has ended."""
        # what is to happen: when, which move, and which step of it comes then
        todo = [(made_at, number, "ask") for number, made_at in enumerate(self.made_at)]
        while todo:
            todo.sort()
            self.now, number, step = todo.pop(0)
            source, destination, _ = self.moves[number]
            later = self.now + self.random.random() * 0.1
            again = self.now + AGAIN * (0.5 + self.random.random())
            if step == "ask":
                todo.append((later, number, "confirm") if self.ask(destination, number) else (again, number, "ask"))
            elif step == "confirm":
                if self.ask(source, number, self.made_at[number]):
                    for host in (source, destination):
                        self.rows[host][str(number)] = replace(self.rows[host][str(number)], expires_at=None)
                    todo.append((self.now + 3.0, number, "end"))
                else:
                    self.release(destination, number)
                    todo.append((again, number, "ask"))
            else:
                for host in (source, destination):
                    del self.rows[host][str(number)]
                self.done.append(number)
            assert self.now < NOW + 60 * len(self.moves), "they wait for each other"
        return self.now - NOW


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    count = draw(st.integers(2, 4))
    limit = st.builds(MoveLimits, moves=st.integers(1, 2), storage=st.integers(1, 2))
    limits = draw(st.lists(limit, min_size=count, max_size=count))
    pair = st.lists(st.integers(0, count - 1), min_size=2, max_size=2, unique=True)
    moves = draw(st.lists(st.tuples(pair, st.booleans()), min_size=1, max_size=10))
    return Fleet(limits, [(one, two, storage) for (one, two), storage in moves], draw(st.integers(0, 1 << 30)))


@given(fleets())
def test_no_host_goes_beyond_its_limit_and_every_move_comes_to_its_end(fleet: Fleet) -> None:
    fleet.run()
    assert sorted(fleet.done) == list(range(len(fleet.moves)))
    assert all(fleet.most[host] <= limits.moves for host, limits in enumerate(fleet.limits))


@pytest.mark.parametrize("seed", range(50))
def test_two_hosts_at_their_limits_that_send_to_each_other(seed: int) -> None:
    one = MoveLimits(moves=1, storage=1)
    fleet = Fleet([one, one], [(0, 1, True), (1, 0, True)] * 3, seed)
    assert fleet.run() < 60
