"""Simultaneous moves: which may start now, which is next in the queue, and what running moves have booked on a host.

A move needs a slot on both hosts, and never holds one while it waits for the other. The source first asks the
destination, which grants a slot for HOLD seconds or refuses at once. With that slot the source takes its own, or gives
the other back and asks again a little later, after a random delay.

The queue at the destination is for incoming moves. An outgoing move has its turn on its host by its creation time,
which is before any other host heard of it. So two moves cannot each be before the other on one of two hosts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

HOLD = 10.0  # seconds for which a place is kept for whoever was granted it, until the move begins
AWAY = 5.0  # seconds without asking again after which a place in the line is lost
AGAIN = 1.0  # seconds after which whoever was refused may ask again


@dataclass(frozen=True, slots=True)
class MoveLimits:
    """How many moves a host takes part in at once, in and out together; storage moves count towards both limits."""

    moves: int
    storage: int


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One move as a host's limits see it. Times are Unix times of that host's clock, sizes bytes.

    Arguments:
        storage: whether it copies storage.
        asked_at: when it first asked for a slot; the queue is ordered by it.
        seen_at: when it last asked.
        granted: whether it has a slot.
        expires_at: until when it has the slot; None: until the move's end.
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

    def has_slot(self, now: float) -> bool:
        """Return whether it counts towards the limits."""
        return self.granted and (self.expires_at is None or now < self.expires_at)

    def is_queued(self, now: float) -> bool:
        """Return whether it waits for a slot."""
        return not self.has_slot(now) and now - self.seen_at <= AWAY


def refusal(entries: Iterable[QueueEntry], wanted: QueueEntry, limits: MoveLimits, now: float, host: str) -> str | None:
    """Return why a move may not start on a host now; None if it may.

    Free slots go to the queue in order, but a move that copies no storage passes those that wait for a storage slot.

    Arguments:
        entries: the host's moves that have not ended, with or without the wanted one.
        wanted: the move that asks.
        host: its name, for the sentence.
    """
    others = [entry for entry in entries if entry.job != wanted.job]
    taken = [entry for entry in others if entry.has_slot(now)]
    full = _full(taken, wanted, limits, host)
    if full is not None:
        return full
    before = [entry for entry in others if entry.is_queued(now) and _order(entry) < _order(wanted)]
    for entry in sorted(before, key=_order):
        if _full(taken, entry, limits, host) is None:
            taken.append(entry)
    if _full(taken, wanted, limits, host) is not None:
        return f"{host} has a free slot, which goes to job {taken[-1].job}: it has waited for longer"
    return None


def booked_memory(entries: Iterable[QueueEntry], present: Mapping[str, int], now: float) -> int:
    """Return the bytes of free memory that are booked by running moves.

    Arguments:
        present: bytes of each job's VM that are in memory already, and so no longer free.
    """
    return sum(max(0, entry.memory - present.get(entry.job, 0)) for entry in entries if entry.has_slot(now))


def booked_space(entries: Iterable[QueueEntry], present: Mapping[str, Mapping[str, int]], now: float) -> dict[str, int]:
    """Return the bytes of free space that are booked by running moves, by file system.

    Arguments:
        present: bytes that each job's disks occupy already, by job and file system.
    """
    booked: dict[str, int] = {}
    for entry in entries:
        if entry.has_slot(now):
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
