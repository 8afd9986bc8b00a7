"""One stream of a session: bytes in both directions, each of which ends for itself."""

import contextlib
import threading
from collections.abc import Callable

from vmferry.transfer.session.acker import Acker
from vmferry.transfer.session.receiver import ByteSink, Receiver
from vmferry.transfer.session.sender import Sender
from vmferry.transfer.session.unacked import Unacked
from vmferry.transfer.transport import frames
from vmferry.transfer.transport.buffers import ROOM, SMALL, Buffer, Pool
from vmferry.transfer.transport.codec import IDENTITY, Codec
from vmferry.transfer.transport.frames import HEADER, Type

_NEVER = 1 << 63  # no ACK's offset reaches this: only GONE ends what has it


class Stream:
    """A duplex byte stream; `Session.open` and `Session.on_open` give one.

    One thread may send and another receive; `reset` may come from anywhere. What cannot go on raises
    ConnectionResetError (one of the two sides gave the stream up) or ConnectionAbortedError (the session broke).
    """

    def __init__(
        self,
        number: int,
        kind: str | None,
        window: int,
        sender: Sender,
        acker: Acker,
        pool: Pool,
        on_over: "Callable[[Stream], None]",
    ) -> None:
        self.id = number
        self.kind = kind  # None: its OPEN is still on its way over another connection
        self.codec: Codec = IDENTITY  # as the OPEN says
        self.ack_due = False
        self.receiver = Receiver(pool, window, self._taken)
        self.unacked = Unacked(number)
        self._on_over = on_over  # nothing more comes or goes
        self._sender = sender
        self._acker = acker
        self.pool = pool
        self._lock = threading.Lock()
        self._finished = False  # both directions have ended
        self._told = False  # the peer knows that its FIN was taken
        self._all_acknowledged = False
        self._failure: OSError | None = None
        self._listeners: list[Callable[[str], None]] = []
        sender.register(self.unacked)

    @property
    def sent(self) -> int:
        """Bytes that were given to this stream so far."""
        return self.unacked.offset

    # --- for everybody ------------------------------------------------------------------------------------------

    def send(self, data: bytes | memoryview) -> None:
        """Send bytes; waits for room, and not for their arrival.

        Raises:
            OSError: the stream was reset, or the session broke.
        """
        view = memoryview(data)
        for start in range(0, len(view), ROOM):
            part = view[start : start + ROOM]
            size = len(part)
            if size < SMALL:
                if not self._send_encoded(part):
                    self._send_small(part)
                continue
            buffer = self.pool.take()
            buffer.payload[:size] = part
            self.push(buffer, size)

    def send_fin(self) -> None:
        """End this direction: nothing more will be sent.

        Raises:
            OSError: the stream was reset, or the session broke.
        """
        unacked = self.unacked
        if unacked.finished:
            return
        if unacked.over is not None:
            raise unacked.over
        unacked.finished = True
        self._sender.control(unacked, Type.FIN, b"", unacked.offset + 1)

    def recv(self) -> bytes:
        """Wait for bytes; empty once the peer has sent its end. What was received counts as acknowledged.

        Raises:
            OSError: the stream was reset, or the session broke and all that came before is received.
        """
        return self.receiver.take()

    def reset(self, reason: str) -> None:
        """Give up the stream in both directions; the peer hears the reason. Does nothing when it is over already."""
        if self._finished or not self._fail(ConnectionResetError(reason), at_once=True):
            return
        with contextlib.suppress(OSError):  # the session broke: the peer knows
            self._sender.control(self.unacked, Type.RESET, frames.reason(reason), _NEVER)
        self._tell(reason)

    def on_reset(self, listener: Callable[[str], None]) -> None:
        """Have a function called, once, with the reason why the stream was given up or the session broke.

        It must not wait: the threads that carry everything else call it.
        """
        with self._lock:
            failure = self._failure
            if failure is None:
                self._listeners.append(listener)
        if failure is not None:
            listener(str(failure))

    def acknowledged(self) -> int:
        """Return how many bytes the other side's program has: written to its socket there, or received."""
        return self.unacked.acknowledged

    def wait_acknowledged(self, timeout: float) -> bool:
        """Wait until everything sent so far is acknowledged, the end included; False after `timeout` seconds.

        Raises:
            OSError: the stream was reset, or the session broke.
        """
        return self._sender.wait_acknowledged(self.unacked, timeout)

    # --- for the relay ------------------------------------------------------------------------------------------

    def push(self, buffer: Buffer, size: int) -> None:
        """Send the first `size` bytes of a buffer's payload; the buffer is the stream's from here on.

        Raises:
            OSError: the stream was reset, or the session broke.
        """
        if self._send_encoded(buffer.payload[:size]):
            self.pool.give(buffer)
        elif size < SMALL:
            self._send_small(buffer.payload[:size])
            self.pool.give(buffer)
        else:
            self._sender.data(self.unacked, buffer.view[: HEADER.size + size], size, buffer)

    def carry_to(self, sink: ByteSink) -> None:
        """Write everything that comes to a sink, and then its end; returns once that is done.

        Raises:
            OSError: the sink failed, the stream was reset, or the session broke.
        """
        self.receiver.attach(sink)
        try:
            self.receiver.pump(sink)
            sink.end()
            self.receiver.end()
        finally:
            self.receiver.detach()

    def _send_encoded(self, raw: memoryview) -> bool:
        """Send bytes as the codec writes them, if it makes them shorter; returns whether it did."""
        if self.codec is IDENTITY or not self.unacked.announced:
            return False
        encoded = self.codec.encode(raw)
        if encoded is None or len(encoded) >= len(raw):
            return False
        frame = memoryview(bytearray(HEADER.size) + encoded)
        self._sender.data(self.unacked, frame, len(encoded), None, len(raw))
        return True

    def _send_small(self, part: memoryview) -> None:
        frame = bytearray(HEADER.size + len(part))
        frame[HEADER.size :] = part
        self._sender.data(self.unacked, memoryview(frame), len(part), None)

    @property
    def ended_at(self) -> int | None:
        """Where the peer's direction ended, if both have ended in order; else None."""
        return self.receiver.report()[0] if self._finished else None

    @property
    def failed(self) -> bool:
        """Whether it was given up."""
        return self._failure is not None

    @property
    def ending(self) -> bool:
        """Whether the peer sends no more on it, or has given it up."""
        return self.receiver.ending or self.failed

    # --- for the session ----------------------------------------------------------------------------------------

    def acknowledge(self, offset: int, credit: int, flags: int) -> None:
        """Take an ACK."""
        done = self._sender.acknowledge(self.unacked, offset, credit, flags)
        if flags & frames.GONE:
            self._fail(ConnectionResetError("the peer has given the stream up"), at_once=True)
            self._on_over(self)
        elif done:
            self._all_acknowledged = True
            self._check_over()

    def was_reset(self, reason: str) -> None:
        """Take a RESET."""
        failed = self._fail(ConnectionResetError(reason), at_once=True)
        self._on_over(self)
        if failed:
            self._tell(reason)

    def broke(self, why: OSError) -> None:
        """Hear that the session broke."""
        if self._fail(why, at_once=False):
            self._tell(str(why))

    def report(self) -> tuple[int, int, bool]:
        """Return what an ACK says."""
        return self.receiver.report()

    def reported(self, ended: bool) -> None:
        """Hear what the peer was told."""
        if ended:
            self._told = True
            self._check_over()

    def _taken(self, soon: bool) -> None:
        self._acker.note(self, soon)

    def _check_over(self) -> None:
        if self._told and self._all_acknowledged:
            self._finished = True
            self._on_over(self)

    def _fail(self, why: OSError, *, at_once: bool) -> bool:
        with self._lock:
            if self._failure is not None:
                return False
            self._failure = why
        self._sender.drop(self.unacked, why)
        self.receiver.stop(why, at_once=at_once)
        return True

    def _tell(self, reason: str) -> None:
        with self._lock:
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener(reason)
