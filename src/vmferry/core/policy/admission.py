"""Simultaneous moves: who may begin now, who is next in line, and what those under way have booked on a host.

A move needs a place on both hosts, and never has one while it waits for the other: the source asks the destination
first, which grants a place for HOLD seconds or refuses at once; with that in hand it takes its own, or gives the
other back and asks again a little later, at a moment drawn at random.

The line at the destination is for moves that come; a move that leaves a host has its turn there by when it was made,
which is before any other host heard of it. So two moves cannot each be before the other on one of two hosts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

HOLD = 10.0  # seconds for which a place is kept for whoever was granted it, until the move begins
AWAY = 5.0  # seconds without asking again after which a place in the line is lost
AGAIN = 1.0  # seconds after which whoever was refused may ask again


@dataclass(frozen=True, slots=True)
class MoveLimits:
    """How many moves a host takes part in at once, in and out together; those that copy storage count twice."""

    moves: int
    storage: int


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One move as a host's limits see it. Times are Unix times of that host's clock, sizes bytes.

    Arguments:
        storage: whether it copies storage.
        asked_at: when it first asked for a place; the line goes by it.
        seen_at: when it last asked.
        granted: whether it has a place.
        expires_at: until when it has it; None: until the move's end.
        memory: booked for it here.
        space: booked for it here, by file system.
    """

    job: str
    storage: bool
    asked_at: float
    seen_at: float
    granted: bool = False
    expires_at: float | None = None
    memory: int = 0
    space: Mapping[str, int] = field(default_factory=dict)

    def has_place(self, now: float) -> bool:
        """Return whether it counts towards the limits."""
        return self.granted and (self.expires_at is None or now < self.expires_at)

    def in_line(self, now: float) -> bool:
        """Return whether it waits for a place, and would take it if it had one."""
        return not self.has_place(now) and now - self.seen_at <= AWAY


def refusal(entries: Iterable[QueueEntry], wanted: QueueEntry, limits: MoveLimits, now: float, host: str) -> str | None:
    """Return why a move may not begin on a host now; None: it may.

    Free places are dealt out along the line, past those that wait for the other kind of place: a move that copies no
    storage does not wait for one that must.

    Arguments:
        entries: the host's moves that have not ended, the wanted one among them or not.
        wanted: the move that asks.
        host: its name, for the sentence.
    """
    others = [entry for entry in entries if entry.job != wanted.job]
    taken = [entry for entry in others if entry.has_place(now)]
    full = _full(taken, wanted, limits, host)
    if full is not None:
        return full
    before = [entry for entry in others if entry.in_line(now) and _order(entry) < _order(wanted)]
    for entry in sorted(before, key=_order):
        if _full(taken, entry, limits, host) is None:
            taken.append(entry)
    if _full(taken, wanted, limits, host) is not None:
        return f"{host} has a free place, which goes to job {taken[-1].job}: it has waited for longer"
    return None


def booked_memory(entries: Iterable[QueueEntry], present: Mapping[str, int], now: float) -> int:
    """Return the bytes of free memory that belong to moves under way.

    Arguments:
        present: bytes of each job's VM that are in memory already, and so no longer free.
    """
    return sum(max(0, entry.memory - present.get(entry.job, 0)) for entry in entries if entry.has_place(now))


def booked_space(entries: Iterable[QueueEntry], present: Mapping[str, Mapping[str, int]], now: float) -> dict[str, int]:
    """Return the bytes of free space that belong to moves under way, by file system.

    Arguments:
        present: bytes that each job's disks occupy already, by job and file system.
    """
    booked: dict[str, int] = {}
    for entry in entries:
        if entry.has_place(now):
            for system, size in entry.space.items():
                left = max(0, size - present.get(entry.job, {}).get(system, 0))
                booked[system] = booked.get(system, 0) + left
    return booked


def _order(entry: QueueEntry) -> tuple[float, str]:
    return entry.asked_at, entry.job


def _full(taken: Sequence[QueueEntry], wanted: QueueEntry, limits: MoveLimits, host: str) -> str | None:
    if len(taken) >= limits.moves:
        return f"{host} takes part in {_count(len(taken), 'move')}, and its limit is {limits.moves}"
    storage = sum(entry.storage for entry in taken)
    if wanted.storage and storage >= limits.storage:
        return f"{host} takes part in {_count(storage, 'move')} of storage, and its limit is {limits.storage}"
    return None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
