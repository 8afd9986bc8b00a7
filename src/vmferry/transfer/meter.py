"""Turns libvirt's statistics and the bytes on the wire into progress: rates, percent, time left."""

import time
from typing import Any

from vmferry.hypervisor.migration import Statistics

_SMOOTHING = 0.4  # weight of the newest rate; a person watches, so calm beats quick


class Meter:
    """Remembers what it saw last, to tell rates."""

    def __init__(self) -> None:
        self._at = self._started = time.monotonic()
        self._wire = 0
        self._rate = 0.0

    def read(self, stats: Statistics, wire: int) -> dict[str, Any]:
        """Give the numbers of a Progress.

        Arguments:
            stats: libvirt's latest.
            wire: bytes that this worker has sent so far.
        """
        now = time.monotonic()
        if now - self._at >= 0.1:
            newest = (wire - self._wire) / (now - self._at)
            self._rate = newest if not self._rate else _SMOOTHING * newest + (1 - _SMOOTHING) * self._rate
            self._at, self._wire = now, wire
        remaining = stats.disk_remaining + stats.memory_remaining
        if not stats.memory_total and stats.disk_total:
            remaining = stats.disk_total - stats.disk_done
        total = stats.disk_total + stats.memory_total
        estimated = now - self._started + remaining / self._rate if remaining and self._rate else None
        return {
            "percent": round(100 * (1 - remaining / total), 1) if total else None,
            "disk_total": stats.disk_total,
            "disk_done": stats.disk_done,
            "memory_total": stats.memory_total,
            "memory_done": stats.memory_done,
            "remaining": remaining,
            "rate": round(self._rate),
            "dirty_rate": stats.dirty_rate,
            "wire_bytes": wire,
            "estimated": round(estimated, 1) if estimated is not None else None,
            "iteration": stats.iteration,
        }
