"""Accepts the connections of one job, checks who they are from, and puts those of one session together."""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from vmferry.core.crowd import gives_way, origin
from vmferry.jobs.persist import why
from vmferry.transfer.transport import handshake
from vmferry.transfer.transport.base import TransportConnection, TransportListener
from vmferry.transfer.transport.frames import broken
from vmferry.transfer.transport.handshake import Established
from vmferry.transfer.transport.tls import Credentials

log = logging.getLogger(__name__)

_HANDSHAKE = 10.0  # seconds for a whole hello
_AT_ONCE = 32  # hellos; anybody on the network can begin one, so that some give way (core/crowd.py)
_SESSIONS = 4  # begun at once; only who has the job key can begin one


class WireAcceptor:
    """Takes the connections that come in for one job.

    Arguments:
        listener: where they come in; the acceptor's from here on.
        credentials: what to show and to want.
        features: that this end has.
    """

    def __init__(self, listener: TransportListener, credentials: Credentials, features: Sequence[str]) -> None:
        self._listener = listener
        self._credentials = credentials
        self._features = features
        self.addresses = listener.addresses  # host and port of each address that it listens on
        self.refused = ""  # why the last connection that was refused was refused
        self._ready: queue.SimpleQueue[list[Established] | None] = queue.SimpleQueue()
        self._begun: dict[str, dict[tuple[str, int], Established]] = {}
        self._adopted: dict[str, Callable[[Established], bool]] = {}
        self._lock = threading.Lock()
        self._handshakes: dict[
            threading.Thread, tuple[TransportConnection, str]
        ] = {}  # in the order in which they came
        self._evicted: set[threading.Thread] = set()  # those that gave way, and have not noticed it yet
        self._closed = False
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def gather(self, timeout: float) -> list[Established]:
        """Wait for all connections of a session.

        Raises:
            TimeoutError: nobody came.
            ConnectionAbortedError: it was closed.
        """
        try:
            established = self._ready.get(timeout=timeout)
        except queue.Empty:
            last = f" (last refused: {self.refused})" if self.refused else ""
            raise TimeoutError(f"{self._credentials.peer} did not connect within {timeout:g} s{last}") from None
        if established is None:
            self._ready.put(None)
            raise ConnectionAbortedError("the listener was closed")
        return established

    def close(self) -> None:
        """Listen no more; sessions that were taken stay."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            held = [connection for connection, _ in self._handshakes.values()]
            busy = [*self._handshakes, *self._evicted]
        self._listener.close()
        for connection in held:
            connection.cut()  # wakes who waits on it
        self._thread.join()
        for thread in busy:
            thread.join()
        self._ready.put(None)
        with self._lock:
            waiting = [established for begun in self._begun.values() for established in begun.values()]
            self._begun.clear()
            self._adopted.clear()
        with suppress(queue.Empty):
            while (ready := self._ready.get_nowait()) is not None:
                waiting += ready
        self._ready.put(None)
        for established in waiting:
            established.carrier.close()

    def _listen(self) -> None:
        while (connection := self._listener.accept()) is not None:
            self._begin(connection, origin(connection.peer[0]))

    def _begin(self, connection: TransportConnection, caller: str) -> None:
        thread = threading.Thread(target=self._take, args=(connection,), name="handshake", daemon=True)
        with self._lock:
            if self._closed or len(self._evicted) >= _AT_ONCE:
                connection.close()
                return
            if len(self._handshakes) >= _AT_ONCE:
                self._evict(gives_way((one, where) for one, (_, where) in self._handshakes.items()))
            self._handshakes[thread] = connection, caller
            thread.start()

    def _evict(self, thread: threading.Thread) -> None:
        """End a hello that gives way to another; its thread wakes and ends by itself."""
        connection, _ = self._handshakes.pop(thread)
        self._evicted.add(thread)
        connection.cut()

    def _take(self, connection: TransportConnection) -> None:
        try:
            self._place(handshake.accept(connection, self._credentials, _HANDSHAKE, self._features))
        except Exception as error:  # a stranger's nonsense, of whatever kind
            self._note(why(error))
        finally:
            with self._lock:
                self._handshakes.pop(threading.current_thread(), None)
                self._evicted.discard(threading.current_thread())

    def _note(self, reason: str) -> None:
        self.refused = reason
        log.warning("job %s: a connection was refused: %s", self._credentials.job, reason)

    def adopt(self, session: str, take: Callable[[Established], bool]) -> None:
        """Give connections that come later for a session to `take`, until it returns False."""
        with self._lock:
            self._adopted[session] = take

    def _place(self, established: Established) -> None:
        """Put a connection to the others of its session.

        Raises:
            InternalError: protocol; it does not go with them.
        """
        hello = established.hello
        with self._lock:
            take = self._adopted.get(hello.session)
            if take is None and hello.epoch:
                established.carrier.close()
                raise broken("a session was to go on that is over")
            if take is None and not self._closed:
                self._gather(established)
                return
        if take is None or not take(established):
            established.carrier.close()
            with self._lock:
                self._adopted.pop(hello.session, None)

    def _gather(self, established: Established) -> None:
        hello = established.hello
        begun = self._begun.setdefault(hello.session, {})
        first = next(iter(begun.values()), established).hello
        slot = (hello.direction, hello.index)
        alike = (hello.forward, hello.back, hello.versions) == (first.forward, first.back, first.versions)
        if slot in begun or not alike or hello.index >= getattr(hello, hello.direction):
            established.carrier.close()
            raise broken("a connection does not go with the others of its session")
        begun[slot] = established
        if len(begun) == hello.forward + hello.back:
            del self._begun[hello.session]
            self._ready.put(list(begun.values()))
        elif len(self._begun) > _SESSIONS:
            for old in self._begun.pop(next(iter(self._begun))).values():
                old.carrier.close()
