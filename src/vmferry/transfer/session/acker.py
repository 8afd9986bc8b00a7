"""Tells the peer what was taken: a thread of its own, since a carrier's reader must never wait to send."""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from vmferry.transfer.transport import frames

# An ACK costs both sides a wake-up, so unless the sender wants it soon it may wait this long for company.
_CADENCE = 0.010


class Acknowledged(Protocol):
    """What is acknowledged: one stream."""

    id: int
    ack_due: bool

    def report(self) -> tuple[int, int, bool]:
        """Return bytes taken, credit limit, and whether the FIN was taken."""

    def reported(self, ended: bool) -> None:
        """Hear that this is what the peer was told."""


class Acker:
    """Gathers what is to be acknowledged and sends it.

    Arguments:
        send: sends whole frames that need not be kept; may wait.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._due: list[Acknowledged] = []
        self._gone: dict[int, int | None] = {}
        self._wake = threading.Event()
        self._idle = True
        self._stopped = False
        self.thread = threading.Thread(target=self._run, name="acker", daemon=True)

    def note(self, stream: Acknowledged, soon: bool) -> None:
        """Note that a stream took something. Never waits; called for every frame."""
        if not stream.ack_due:
            stream.ack_due = True
            self._due.append(stream)
        if soon or self._idle:
            self._wake.set()

    def gone(self, stream: int, end: int | None = None) -> None:
        """Note that the peer shall know that a stream is over here.

        Arguments:
            end: where it ended, if all of it was taken; None: it was given up.
        """
        self._gone[stream] = end
        self._wake.set()

    @staticmethod
    def all_of(streams: Sequence[Acknowledged]) -> bytes:
        """Return frames that say what has come of these streams, the control stream's last: that this was all."""
        parts = []
        for stream in sorted(streams, key=lambda one: -one.id):
            taken, limit, end = stream.report()
            flags = (frames.ENDED if end else 0) | (0 if stream.id else frames.RESUMED)
            parts.append(frames.pack(stream.id, frames.Type.ACK, taken, frames.CREDIT.pack(limit), flags))
        return b"".join(parts)

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._wake.set()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(None if self._idle else _CADENCE)
            self._wake.clear()
            self._idle = not self._flush()
            if self._idle and (self._due or self._gone):  # noted just before `_idle` was set
                self._idle = False

    def _flush(self) -> bool:
        parts = []
        due, self._due = self._due, []
        ended = []
        for stream in due:
            stream.ack_due = False
            taken, limit, end = stream.report()
            flags = frames.ENDED if end else 0
            parts.append(frames.pack(stream.id, frames.Type.ACK, taken, frames.CREDIT.pack(limit), flags))
            ended.append((stream, end))
        while self._gone:
            number, taken_all = self._gone.popitem()
            flags = frames.GONE if taken_all is None else frames.ENDED
            parts.append(frames.pack(number, frames.Type.ACK, taken_all or 0, frames.CREDIT.pack(0), flags))
        if not parts:
            return False
        self._send(b"".join(parts))
        for stream, end in ended:
            stream.reported(end)
        return True
