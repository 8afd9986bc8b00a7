"""The receiving half of a stream: order, credit, and the way to a local program or to whoever calls `take`."""

import threading
from collections.abc import Callable
from typing import Protocol

from vmferry.transfer.transport import frames
from vmferry.transfer.transport.buffers import SMALL, Buffer, Pool

# Payload, the buffer that it lies in (None: memory of its own), and whether its sender wants to hear soon.
_Segment = tuple[memoryview, Buffer | None, bool]


class ByteSink(Protocol):
    """Where the bytes of a stream go. Only one thread writes at a time."""

    def write_some(self, view: memoryview) -> int:
        """Write what goes without waiting, and return how many bytes that is.

        Raises:
            OSError: nothing can be written any more.
        """

    def write(self, view: memoryview) -> None:
        """Write everything; may wait.

        Raises:
            OSError: nothing can be written any more.
        """

    def end(self) -> None:
        """Pass the end of the stream on. Does nothing if the program has gone."""


class Receiver:
    """Puts a stream's frames in order and passes them on.

    A carrier's reader, which must never wait, writes straight to the local program as long as that takes everything
    at once. What it does not take, and what comes while somebody else is writing, is left to the stream's own writer.

    Arguments:
        pool: where buffers go that are done with.
        window: bytes that the peer may send beyond what was taken.
        on_progress: called after something was taken; True when the peer should hear of it soon.
    """

    def __init__(self, pool: Pool, window: int, on_progress: Callable[[bool], None]) -> None:
        self._pool = pool
        self._window = window
        self._progress = on_progress
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._segments: dict[int, _Segment] = {}
        self._claimed = 0  # somebody has taken on everything before this
        self._taken = 0  # and this much has reached the sink, or the caller of `take`
        self._told = 0  # what the peer knows of it
        self._limit = frames.INITIAL_CREDIT
        self._end: int | None = None
        self._ended = False
        self._sink: ByteSink | None = None
        self._busy = False  # somebody is writing to the sink
        self._rest: _Segment | None = None  # what the sink did not take; `_busy` stays set for it
        self._refused: OSError | None = None
        self._over: OSError | None = None

    # --- from the carriers --------------------------------------------------------------------------------------

    def deliver(self, offset: int, view: memoryview, buffer: Buffer | None, soon: bool) -> bool:
        """Take what a DATA frame brought; returns whether the buffer was kept. Never waits.

        Arguments:
            offset: of the first byte in the stream.
            view: the bytes.
            buffer: what they lie in; None: memory of their own.
            soon: whether the sender would like an acknowledgement without delay.

        Raises:
            InternalError: protocol; the frame goes beyond the credit, or contradicts earlier ones.
        """
        end = offset + len(view)
        with self._lock:
            if not self._wanted(offset, end):
                return False
            sink = self._sink
            if offset != self._claimed or self._busy or sink is None:
                return self._store(offset, view, buffer, soon)
            self._claimed = end
            self._busy = True
        return self._write_through(sink, (view, buffer, soon), buffer)

    def expects(self, offset: int, size: int) -> bool:
        """Return whether so many bytes may come, and have not yet: to know before a frame is decoded.

        Raises:
            InternalError: protocol; as `deliver`.
        """
        with self._lock:
            return self._wanted(offset, offset + size) and offset not in self._segments

    def _wanted(self, offset: int, end: int) -> bool:
        if end > self._limit or (self._end is not None and end > self._end):
            raise frames.broken("data came beyond the credit or the end of a stream")
        if self._over is not None:
            return False
        if offset < self._claimed:
            if end > self._claimed:
                raise frames.broken("frames of a stream overlap")
            return False  # sent again over another connection, and here already
        return True

    def finish(self, end: int) -> None:
        """Take a FIN.

        Raises:
            InternalError: protocol; more than that has come already, or another FIN said otherwise.
        """
        with self._lock:
            beyond = max((start + len(segment[0]) for start, segment in self._segments.items()), default=0)
            if end < max(self._claimed, beyond) or self._end not in (None, end) or end > self._limit:
                raise frames.broken("a stream ends where it cannot")
            self._end = end
            self._ready.notify_all()

    @property
    def ending(self) -> bool:
        """Whether the peer has told where it ends."""
        return self._end is not None

    def stop(self, why: OSError, *, at_once: bool) -> None:
        """End it: `at_once` drops what has come; otherwise what is in order may still be taken."""
        with self._lock:
            if self._over is not None:
                return
            self._over = why
            if at_once:
                for _, buffer, _ in self._segments.values():
                    if buffer is not None:
                        self._pool.give(buffer)
                self._segments.clear()
            self._ready.notify_all()

    def _store(self, offset: int, view: memoryview, buffer: Buffer | None, soon: bool) -> bool:
        if offset in self._segments:
            return False
        if len(self._segments) >= frames.PENDING:
            raise frames.broken("too many frames of a stream wait for an earlier one")
        kept = buffer is not None and len(view) >= SMALL
        own = kept or buffer is None
        self._segments[offset] = (view, buffer, soon) if own else (memoryview(bytes(view)), None, soon)
        if offset == self._claimed and not self._busy:
            self._ready.notify_all()
        return kept

    def _write_through(self, sink: ByteSink, segment: _Segment, owned: Buffer | None) -> bool:
        """Write as much as goes at once, from `segment` on; `_busy` is ours. True: `owned` was kept."""
        kept = False
        while True:
            view, buffer, soon = segment
            refused = None
            try:
                sent = sink.write_some(view)
            except OSError as error:
                sent, refused = 0, error
            with self._lock:
                self._taken += sent
                soon = soon or self._taken - self._told >= self._window >> 2
                if sent < len(view):
                    self._refused = refused
                    self._rest = (view[sent:], buffer, soon)
                    self._ready.notify_all()
                    kept = buffer is not None and buffer is owned
                    break
                if buffer is not None and buffer is not owned:
                    self._pool.give(buffer)
                following = self._next()
                if following is None:
                    self._busy = False
                    if self._end is not None or self._sink is None:  # else the writer has nothing to wake up for
                        self._ready.notify_all()
                    break
                segment = following
            self._progress(soon)
        if sent:
            self._progress(soon)
        return kept

    def _next(self) -> _Segment | None:
        """Claim what comes next, if it is here."""
        segment = self._segments.pop(self._claimed, None)
        if segment is not None:
            self._claimed += len(segment[0])
        return segment

    # --- to the local side --------------------------------------------------------------------------------------

    def attach(self, sink: ByteSink) -> None:
        """Let the carriers' readers write to this sink from now on; `pump` must run too."""
        with self._lock:
            self._sink = sink
            self._ready.notify_all()

    def detach(self) -> None:
        """Take the sink away again; when this returns, nobody writes to it."""
        with self._lock:
            self._sink = None
            while self._busy and self._rest is None:
                self._ready.wait()

    def pump(self, sink: ByteSink) -> None:
        """Write to the sink what the carriers' readers left; returns once the stream has ended.

        Raises:
            OSError: the sink failed, the stream was reset, or the session broke.
        """
        while True:
            with self._lock:
                segment = self._claim()
            if segment is None:
                return
            view, buffer, soon = segment
            failure: OSError | None = None
            try:
                sink.write(view)
            except OSError as error:
                failure = error
            with self._lock:
                self._busy = False
                self._ready.notify_all()
                if failure is not None:
                    raise failure
                self._taken += len(view)
                soon = soon or self._taken - self._told >= self._window >> 2
            if buffer is not None:
                self._pool.give(buffer)
            self._progress(soon)

    def _claim(self) -> _Segment | None:
        while True:
            if self._over is not None:
                raise self._over
            if self._rest is not None:
                segment, self._rest = self._rest, None
                if self._refused is not None:
                    self._busy = False
                    self._ready.notify_all()
                    raise self._refused
                return segment
            if not self._busy:
                following = self._next()
                if following is not None:
                    self._busy = True
                    return following
                if self._end == self._claimed:
                    return None
            self._ready.wait()

    def take(self) -> bytes:
        """Wait for bytes, in order; empty at the end of the stream.

        Raises:
            OSError: the stream was reset, or the session broke and nothing of what came before is left.
        """
        with self._lock:
            while True:
                segment = self._next()
                if segment is not None:
                    break
                if self._end == self._claimed:
                    self._ended = True
                    break
                if self._over is not None:
                    raise self._over
                self._ready.wait()
            view, buffer, soon = segment or (memoryview(b""), None, True)
            self._taken += len(view)
            soon = soon or self._taken - self._told >= self._window >> 2
        data = bytes(view)
        if buffer is not None:
            self._pool.give(buffer)
        self._progress(soon)
        return data

    def end(self) -> None:
        """Note that the end of the stream was passed on."""
        with self._lock:
            self._ended = True
        self._progress(True)

    def report(self) -> tuple[int, int, bool]:
        """Return what an ACK says: bytes taken, the credit limit, and whether the FIN was taken."""
        with self._lock:
            self._told = self._taken
            self._limit = max(self._limit, self._taken + self._window)
            return self._taken, self._limit, self._ended
