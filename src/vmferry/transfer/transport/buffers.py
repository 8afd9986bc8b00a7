"""Buffers that are used again and again: making and first touching new memory costs more than moving bytes."""

import threading

from vmferry.transfer.transport.frames import HEADER

# Header and payload together. A multiple of TLS's record (16 KiB), so that a full frame is full records; and about
# what a unix socket with the kernel's default buffer (208 KiB) gives at once.
SIZE = 256 * 1024
ROOM = SIZE - HEADER.size

# A payload below this is copied to memory of its own size rather than holding a whole buffer while it waits.
SMALL = SIZE // 4

_KEPT = 128


class Buffer:
    """Room for one frame: the payload lies right behind the header, so that one call sends both."""

    __slots__ = ("payload", "view")

    def __init__(self, size: int = SIZE) -> None:
        self.view = memoryview(bytearray(size))
        self.payload = self.view[HEADER.size :]


class Pool:
    """Hands buffers out, the one given back last first: it is the likeliest to be in the processor's cache."""

    def __init__(self) -> None:
        self._free: list[Buffer] = []
        self._lock = threading.Lock()

    def take(self) -> Buffer:
        """Return a buffer of SIZE."""
        with self._lock:
            if self._free:
                return self._free.pop()
        return Buffer()

    def give(self, buffer: Buffer) -> None:
        """Take a buffer back that nobody uses any more."""
        with self._lock:
            if len(self._free) < _KEPT and len(buffer.view) == SIZE:
                self._free.append(buffer)
