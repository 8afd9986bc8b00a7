"""One carrier connection after its hello: frames in one direction only, over whatever connects the two workers."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from vmferry.transfer.transport import frames
from vmferry.transfer.transport.base import TransportConnection
from vmferry.transfer.transport.buffers import ROOM, Buffer, Pool
from vmferry.transfer.transport.frames import Rules
from vmferry.transfer.transport.path import Path

_HEAD = frames.HEADER.size

# One key of AES-GCM is good for 2^24 full records (RFC 8446, 5.5); a connection is replaced long before: 64 GiB.
_REKEY_AFTER = 1 << 22
_RECORD = 16 * 1024

# Takes a frame: what frames.parse returns, and the buffer that holds it. True: the buffer was kept.
Handler = Callable[[int, int, int, int, int, int, Buffer], bool]


@dataclass(frozen=True, slots=True)
class Label:
    """What a connection is called: `10.77.1.1 -> 10.77.1.2:6610 (TLS)`."""

    source: str
    destination: str
    port: int
    forward: bool
    encrypted: bool

    @property
    def path(self) -> str:
        """The name of the path that it goes over."""
        return f"{self.source} -> {self.destination}"

    def __str__(self) -> str:
        arrow = "->" if self.forward else "<-"
        name = f"[{self.destination}]" if ":" in self.destination else self.destination
        return f"{self.source} {arrow} {name}:{self.port} ({'TLS' if self.encrypted else 'plain'})"


class Carrier:
    """A connection whose hello is done. Not thread-safe: callers let one thread send at a time, or one read.

    Arguments:
        connection: its hello is done.
        label: what it is called.
        rules: of the session, for frames that come.
    """

    def __init__(self, connection: TransportConnection, label: Label, rules: Rules = frames.PLAIN) -> None:
        self.label = label
        self.lock = threading.Lock()  # held by the thread that sends
        self.path: Path | None = None  # that it goes over, once the sender has it
        self.queued = 0  # threads that send or wait to; the sender's lock guards it
        self.unacknowledged = 0  # bytes; the sender's lock guards it
        self.lost = False
        self.epoch = 0  # of the session (session/states.py)
        self.fault = ""  # what we found wrong with it
        self.bytes = 0  # frames with their headers, so far
        self._calls = 0
        self.heard = self.used = time.monotonic()
        self._connection = connection
        self._rules = rules
        connection.start()

    def send(self, data: bytes | memoryview) -> None:
        """Send whole frames; `lock` must be held.

        Raises:
            OSError: the connection is lost.
        """
        self._connection.send(data)
        self.bytes += len(data)
        self._calls += 1
        self.used = time.monotonic()

    def read(self, pool: Pool, handle: Handler) -> None:
        """Read frames until the connection ends; only one thread does.

        Raises:
            OSError: the connection is lost.
            VmferryError: the peer broke the protocol, or `handle` says so.
        """
        fill, rules = self._connection.fill, self._rules
        buffer = pool.take()
        while fill(buffer.view[:_HEAD]):
            stream, kind, flags, offset, length, raw = frames.parse(buffer.view, rules)
            if length > ROOM:
                buffer = Buffer(_HEAD + length)
            if length and not fill(buffer.payload[:length]):
                return
            self.bytes += _HEAD + length
            self._calls += 1
            self.heard = time.monotonic()
            if handle(stream, kind, flags, offset, length, raw, buffer):
                buffer = pool.take()

    @property
    def rekey_due(self) -> bool:
        """Whether another connection, with another key, should take its place."""
        return self._connection.encrypted and self._calls + self.bytes // _RECORD > _REKEY_AFTER

    @property
    def interface(self) -> str | None:
        """The interface of this host that it goes over; None if no interface has its address."""
        return self._connection.interface

    def writable(self) -> bool:
        """Return whether a short frame could be sent without waiting."""
        return self._connection.writable()

    def hung_up(self) -> bool:
        """Return whether the peer has closed a connection that we send on."""
        return self._connection.hung_up()

    def cut(self, why: str = "") -> None:
        """End the connection at once, for a reason of ours: wakes whoever sends or reads. Any thread may."""
        self.fault = self.fault or why
        self.lost = True
        self._connection.cut()

    def close(self) -> None:
        """Give back what the connection holds; nobody may be using it."""
        self._connection.close()
