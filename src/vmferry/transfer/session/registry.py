"""The streams of a session by number: who opened which, in which order, and which are over.

The source opens odd numbers and the destination even ones, each in rising order, so that a number alone tells whether
a stream has been, is, or cannot be. Stream 0 is there from the beginning.
"""

import threading
from collections.abc import Callable

from vmferry.core import codes
from vmferry.core.errors import InternalError
from vmferry.transfer.session.stream import Stream
from vmferry.transfer.transport import frames
from vmferry.transfer.transport.codec import Codec

# Credit is memory: the first few streams get plenty, for paths with a long round trip, the others enough. All in all
# a peer can make us hold some 400 MiB, and one of ours never comes near that (transport/window.py).
_WIDE = 16 << 20
_NARROW = 2 << 20
_FEW = 8

# What is remembered of streams that ended in order: their last acknowledgement may have been lost.
_REMEMBERED = 4 * frames.STREAMS

# One side may believe a stream over a little before the other does.
_LENIENT = 2 * frames.STREAMS


class Registry:
    """All streams that are not over.

    Arguments:
        source: whether this is the source's end.
        make: makes a stream from its number, its kind and its credit window.
    """

    def __init__(self, *, source: bool, make: Callable[[int, str | None, int], Stream]) -> None:
        self.streams: dict[int, Stream] = {}
        self.ended: dict[int, int] = {}  # where streams ended of which all was taken
        self._make = make
        self._lock = threading.Lock()
        self._ours = 1 if source else 2  # the next number that we open
        self._theirs = 2 if source else 1  # the next number whose OPEN has not come
        self.streams[frames.CONTROL] = make(frames.CONTROL, "control", _NARROW)

    def open(self, kind: str) -> Stream:
        """Make a stream of our own.

        Raises:
            InternalError: too many are open.
        """
        with self._lock:
            if sum(number % 2 == self._ours % 2 and number > 0 for number in self.streams) >= frames.STREAMS:
                raise InternalError(codes.INTERNAL, why=f"more than {frames.STREAMS} streams were opened")
            number = self._ours
            self._ours += 2
            return self._add(number, kind)

    def find(self, number: int) -> Stream | None:
        """Return the stream that a frame is for; None when it is over.

        One that the peer opened may be met before its OPEN, which travels over another connection.

        Raises:
            InternalError: protocol; there can be no such stream.
        """
        stream = self.streams.get(number)
        if stream is not None:
            return stream
        with self._lock:
            if number in self.streams:
                return self.streams[number]
            if number % 2 == self._ours % 2:
                if number >= self._ours:
                    raise frames.broken(f"there is no stream {number}")
                return None
            if number < self._theirs:
                return None
            if number >= self._theirs + 2 * _LENIENT:
                raise frames.broken(f"there is no stream {number}")
            if sum(known % 2 == number % 2 and known > 0 for known in self.streams) >= _LENIENT:
                raise frames.broken("too many streams were opened")
            return self._add(number, None)

    def opened(self, stream: Stream, kind: str, codec: Codec) -> list[Stream]:
        """Take an OPEN; gives the streams that are now to be announced, in the order in which the peer opened them.

        Raises:
            InternalError: protocol; that number is not the peer's to open, or was opened as something else.
        """
        with self._lock:
            if stream.id == frames.CONTROL or stream.id % 2 == self._ours % 2:
                raise frames.broken(f"stream {stream.id} was opened by the wrong side")
            if stream.kind is not None:
                if (stream.kind, stream.codec) != (kind, codec):
                    raise frames.broken(f"stream {stream.id} was opened twice")
                return []
            stream.kind = kind
            stream.codec = codec
            stream.unacked.announced = True
            announced = []
            while (following := self.streams.get(self._theirs)) is not None and following.kind is not None:
                announced.append(following)
                self._theirs += 2
            return announced

    def remove(self, stream: Stream) -> bool:
        """Take a stream out that is over; False when it cannot go yet, its OPEN or an earlier one being on its way."""
        with self._lock:
            if stream.id % 2 != self._ours % 2 and stream.id >= self._theirs:
                return False
            self.streams.pop(stream.id, None)
            if stream.ended_at is not None:
                self.ended[stream.id] = stream.ended_at
                if len(self.ended) > _REMEMBERED:
                    del self.ended[next(iter(self.ended))]
            return True

    def all(self) -> list[Stream]:
        """Return all streams."""
        with self._lock:
            return list(self.streams.values())

    def _add(self, number: int, kind: str | None) -> Stream:
        stream = self._make(number, kind, _WIDE if len(self.streams) <= _FEW else _NARROW)
        self.streams[number] = stream
        return stream
