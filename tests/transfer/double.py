"""A wire in memory, in place of TCP: it delays, loses, and breaks when a test says so."""

import queue
import threading
import time
from collections import deque
from collections.abc import Sequence

from vmferry.core.policy.networks import Local, Route

_ROOM = 512 * 1024  # bytes that one direction of a connection holds


class Wire:
    """What joins two workers; the transport of both.

    Arguments:
        delay: seconds that bytes take to the other end.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.up = True  # else nobody answers
        self.dialed: list[MemoryConnection] = []  # the source's ends, in the order in which they were made
        self._listeners: dict[tuple[str, int], MemoryListener] = {}

    def dial(self, route: Route, seconds: float) -> "MemoryConnection":
        listener = self._listeners.get((route.host, route.port))
        if listener is None or not self.up:
            raise ConnectionRefusedError(111, "Connection refused")
        near, far = _Way(self), _Way(self)
        local = (route.local.address if route.local else "192.0.2.1", 40_000 + len(self.dialed))
        made = MemoryConnection(near, far, local, (route.host, route.port))
        self.dialed.append(made)
        listener.ready.put(MemoryConnection(far, near, (route.host, route.port), local))
        return made

    def listen(self, addresses: Sequence[Local], ports: tuple[int, int]) -> "MemoryListener":
        return MemoryListener(self, [(local.address, ports[0] or 6610) for local in addresses])

    def cut(self, *indexes: int) -> None:
        """Break connections, both ends of which see it; they count from 0 in the order in which they were dialed."""
        for index in indexes:
            self.dialed[index].snap()

    def lose(self, *indexes: int) -> None:
        """Have connections carry nothing any more, which neither end sees."""
        for index in indexes:
            self.dialed[index].lose()

    def unplug(self) -> None:
        """Break all connections; no other can be made until `plug`."""
        self.up = False
        self.cut(*range(len(self.dialed)))

    def plug(self) -> None:
        self.up = True


class MemoryListener:
    def __init__(self, wire: Wire, addresses: list[tuple[str, int]]) -> None:
        self.addresses = addresses
        self.ready: queue.SimpleQueue[MemoryConnection | None] = queue.SimpleQueue()
        self._wire = wire
        wire._listeners |= dict.fromkeys(addresses, self)

    def accept(self) -> "MemoryConnection | None":
        return self.ready.get()

    def close(self) -> None:
        for address in self.addresses:
            self._wire._listeners.pop(address, None)
        self.ready.put(None)


class _Way:
    """One direction of a connection. What is on its way when its writer ends it still arrives."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._changed = threading.Condition()
        self._parts: deque[tuple[float, memoryview]] = deque()
        self._held = 0
        self._writer_gone = self._reader_gone = False
        self._lost = False

    @property
    def full(self) -> bool:
        return self._held >= _ROOM

    @property
    def unread(self) -> bool:
        """Whether the writer can see that nobody reads."""
        return self._writer_gone or (self._reader_gone and not self._lost)

    def put(self, data: bytes) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self.full or self.unread or self._lost)
            if self.unread:
                raise BrokenPipeError(32, "Broken pipe")
            if not self._lost:
                self._parts.append((time.monotonic() + self._wire.delay, memoryview(data)))
                self._held += len(data)
                self._changed.notify_all()

    def take(self, room: memoryview) -> int:
        """Wait for bytes; 0 once the connection has ended."""
        with self._changed:
            while not self._reader_gone:
                left = self._parts[0][0] - time.monotonic() if self._parts else None
                if left is None and self._writer_gone and not self._lost:
                    return 0
                if left is not None and left <= 0:
                    due, part = self._parts.popleft()
                    size = min(len(part), len(room))
                    room[:size] = part[:size]
                    if size < len(part):
                        self._parts.appendleft((due, part[size:]))
                    self._held -= size
                    self._changed.notify_all()
                    return size
                self._changed.wait(left)
            return 0

    def end(self, *, writer: bool = False, reader: bool = False) -> None:
        with self._changed:
            self._writer_gone |= writer
            self._reader_gone |= reader
            self._changed.notify_all()

    def lose(self) -> None:
        """Carry nothing more, and let neither end see it."""
        with self._changed:
            self._lost = True
            self._parts.clear()
            self._held = 0
            self._changed.notify_all()


class MemoryConnection:
    encrypted = False
    interface = "mem0"

    def __init__(self, out: _Way, into: _Way, local: tuple[str, int], peer: tuple[str, int]) -> None:
        self._out, self._into = out, into
        self.local, self.peer = local, peer
        self._deadline: threading.Timer | None = None

    def secure(self, seconds: float) -> None:
        self._deadline = threading.Timer(seconds, self.cut)
        self._deadline.daemon = True
        self._deadline.start()

    def explain(self, error: OSError) -> Exception:
        return error

    def start(self) -> None:
        self._stop()

    def send(self, data: bytes | memoryview) -> None:
        self._out.put(bytes(data))

    def fill(self, view: memoryview) -> bool:
        got = 0
        while got < len(view):
            more = self._into.take(view[got:])
            if not more:
                return False
            got += more
        return True

    def writable(self) -> bool:
        return not self._out.full

    def hung_up(self) -> bool:
        return self._out.unread

    def cut(self) -> None:
        self._out.end(writer=True)
        self._into.end(reader=True)

    def snap(self) -> None:
        """Break it for both ends; what is on its way is lost."""
        for way in (self._out, self._into):
            way.end(writer=True, reader=True)

    def lose(self) -> None:
        for way in (self._out, self._into):
            way.lose()

    def close(self) -> None:
        self._stop()
        self.cut()

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline.join()
            self._deadline = None
