"""Turns libvirt's statistics and the bytes on the wire into progress: rates, percent, time left.

What counts is what has to be sent: what the disks hold, and the memory that was ever written. libvirt counts the whole
size of both, and goes through what is empty in no time.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from vmferry.hypervisor.migration import Statistics

_SMOOTHING = 0.4  # weight of the newest rate; a person watches, so calm beats quick
_WINDOW = 10.0  # seconds whose mean rate tells the time left
_FIRST = 1.5  # seconds after the first byte before which no time is told: the connections are still getting up to speed
_WRITES = 0.9  # of what is sent, at most, is taken for pages that the guest writes again: the time stays finite
_MOST = 99.9  # percent, before the end
_END = 0.5  # seconds for the switch and what follows it


class Meter:
    """Remembers what it saw last, to tell rates.

    Arguments:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._seen: deque[tuple[float, int]] = deque()
        self._rate = 0.0
        self._percent = 0.0
        self._disk = self._memory = 0

    def expect(self, disk: int, memory: int) -> None:
        """Set what has to be sent, in bytes.

        Arguments:
            disk: what the disks that are copied hold.
            memory: what the guest has ever written of its memory.
        """
        self._disk, self._memory = disk, memory

    def read(self, stats: Statistics, wire: int, disk: int = 0, memory: int = 0) -> dict[str, Any]:
        """Return the numbers of a Progress.

        Arguments:
            stats: libvirt's latest.
            wire: bytes that this worker has sent so far.
            disk: how many of them were of disks.
            memory: how many of them were of memory.
        """
        now = self._clock()
        self._measure(now, wire, disk + memory)
        disk_total, disk_left = self._disk_left(stats, disk)
        memory_total, memory_left = self._memory_left(stats, memory)
        left, total = disk_left + memory_left, disk_total + memory_total
        if total:
            self._percent = max(self._percent, min(_MOST, 100 * (1 - left / total)))
        estimated = self._estimate(now, disk_left, memory_left, stats.dirty_rate or 0.0)
        return {
            "percent": round(self._percent, 1) if total else None,
            "disk_total": disk_total,
            "disk_done": disk_total - disk_left,
            "memory_total": memory_total,
            "memory_done": memory_total - memory_left,
            "remaining": left,
            "rate": round(self._rate),
            "dirty_rate": stats.dirty_rate,
            "wire_bytes": wire,
            "estimated": round(estimated, 1) if estimated is not None else None,
            "iteration": stats.iteration,
        }

    def _disk_left(self, stats: Statistics, sent: int) -> tuple[int, int]:
        """Return what the disks hold, and how much of it is still to be sent."""
        total = max(self._disk, sent)
        if stats.memory_total:  # memory is sent when all disks are there
            return total, 0
        left = total - sent
        return total, min(left, stats.disk_remaining) if stats.disk_total else left

    def _memory_left(self, stats: Statistics, sent: int) -> tuple[int, int]:
        """Return how much memory there is to send, and how much of it is left."""
        total = self._memory or stats.memory_total
        if not stats.memory_total:
            return total, total
        left = stats.memory_remaining
        if stats.iteration <= 1 and sent < total:  # the first round also goes through what was never written
            left = min(left, total - sent)
        return total, min(left, total)

    def _measure(self, now: float, wire: int, carried: int) -> None:
        if not self._seen:
            if carried:
                self._seen.append((now, wire))
            return
        at, before = self._seen[-1]
        if now - at < 0.1:
            return
        newest = (wire - before) / (now - at)
        self._rate = newest if not self._rate else _SMOOTHING * newest + (1 - _SMOOTHING) * self._rate
        self._seen.append((now, wire))
        while now - self._seen[1][0] > _WINDOW:
            self._seen.popleft()

    def _estimate(self, now: float, disk: int, memory: int, dirty: float) -> float | None:
        """Return the seconds that all of it will have taken, from when the meter was made; None: too early to tell."""
        if not self._seen or not (disk or memory):
            return None
        at, before = self._seen[0]
        newest, wire = self._seen[-1]
        if newest - at < _FIRST or wire == before:
            return None
        rate = (wire - before) / (newest - at)
        # The guest goes on writing: of each byte of memory that is sent, some part comes back.
        return now - self._started + disk / rate + memory / (rate - min(dirty, _WRITES * rate)) + _END
