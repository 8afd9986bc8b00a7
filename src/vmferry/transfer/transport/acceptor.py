"""Takes the connections of one job in, makes sure who they are from, and puts those of one session together."""

import errno
import logging
import queue
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from vmferry.core.crowd import gives_way, origin
from vmferry.core.policy.networks import Local
from vmferry.jobs.persist import why
from vmferry.net import sockets
from vmferry.transfer.transport import handshake, tls
from vmferry.transfer.transport.frames import broken
from vmferry.transfer.transport.handshake import Greeted
from vmferry.transfer.transport.tls import Credentials

log = logging.getLogger(__name__)

_GREETING = 10.0  # seconds for a whole hello
_AT_ONCE = 32  # hellos; anybody on the network can begin one, so that some give way (core/crowd.py)
_SESSIONS = 4  # begun at once; only who has the job key can begin one


class Reception:
    """Listens on one TCP port of several addresses.

    Arguments:
        addresses: of this host; those with an interface let nothing in by another.
        ports: first and last port to try.
        credentials: what to show and to want.

    Raises:
        InternalError: ports-taken.
    """

    def __init__(self, addresses: Sequence[Local], ports: tuple[int, int], credentials: Credentials) -> None:
        self._credentials = credentials
        self._context = tls.context(credentials, server=True) if credentials.encryption else None
        self._sockets = sockets.bind(addresses, ports)
        self.addresses: list[tuple[str, int]] = [
            (local.address, sock.getsockname()[1]) for local, sock in zip(addresses, self._sockets, strict=True)
        ]
        self.refused = ""  # why the last connection that was refused was refused
        self._ready: queue.SimpleQueue[list[Greeted] | None] = queue.SimpleQueue()
        self._begun: dict[str, dict[tuple[str, int], Greeted]] = {}
        self._adopted: dict[str, Callable[[Greeted], bool]] = {}
        self._lock = threading.Lock()
        self._greeting: dict[threading.Thread, tuple[socket.socket, str]] = {}  # in the order in which they came
        self._leaving: set[threading.Thread] = set()  # those that gave way, and have not noticed it yet
        self._closed = False
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def gather(self, timeout: float) -> list[Greeted]:
        """Wait for all connections of a session.

        Raises:
            TimeoutError: nobody came.
            ConnectionAbortedError: it was closed.
        """
        try:
            greeted = self._ready.get(timeout=timeout)
        except queue.Empty:
            last = f" (last refused: {self.refused})" if self.refused else ""
            raise TimeoutError(f"{self._credentials.peer} did not connect within {timeout:g} s{last}") from None
        if greeted is None:
            self._ready.put(None)
            raise ConnectionAbortedError("the listener was closed")
        return greeted

    def close(self) -> None:
        """Listen no more; sessions that were taken stay."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            held = [sock for sock, _ in self._greeting.values()]
            greeting_now = [*self._greeting, *self._leaving]
        for sock in [*self._sockets, *held]:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # wakes who waits on it
        self._thread.join()
        for thread in greeting_now:
            thread.join()
        for sock in self._sockets:
            sock.close()
        self._ready.put(None)
        with self._lock:
            waiting = [greeted for begun in self._begun.values() for greeted in begun.values()]
            self._begun.clear()
            self._adopted.clear()
        with suppress(queue.Empty):
            while (ready := self._ready.get_nowait()) is not None:
                waiting += ready
        self._ready.put(None)
        for greeted in waiting:
            greeted.carrier.close()

    def _listen(self) -> None:
        poll = select.poll()
        for sock in self._sockets:
            poll.register(sock, select.POLLIN)
        by_handle = {sock.fileno(): sock for sock in self._sockets}
        while True:
            for handle, _ in poll.poll():
                if self._closed:
                    return
                try:
                    connection, address = by_handle[handle].accept()
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE):
                        time.sleep(0.1)  # some descriptor has to come free first
                    continue
                self._greet(connection, origin(address[0]))

    def _greet(self, connection: socket.socket, place: str) -> None:
        thread = threading.Thread(target=self._take, args=(connection,), name="greeting", daemon=True)
        with self._lock:
            if self._closed or len(self._leaving) >= _AT_ONCE:
                connection.close()
                return
            if len(self._greeting) >= _AT_ONCE:
                self._dismiss(gives_way((one, where) for one, (_, where) in self._greeting.items()))
            self._greeting[thread] = connection, place
            thread.start()

    def _dismiss(self, thread: threading.Thread) -> None:
        """End a hello that gives way to another; its thread wakes and ends by itself."""
        sock, _ = self._greeting.pop(thread)
        self._leaving.add(thread)
        with suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _take(self, connection: socket.socket) -> None:
        try:
            self._sort(handshake.accept(connection, self._credentials, self._context, _GREETING))
        except Exception as error:  # a stranger's nonsense, of whatever kind
            self._note(why(error))
        finally:
            with self._lock:
                self._greeting.pop(threading.current_thread(), None)
                self._leaving.discard(threading.current_thread())

    def _note(self, reason: str) -> None:
        self.refused = reason
        log.warning("job %s: a connection was refused: %s", self._credentials.job, reason)

    def adopt(self, session: str, take: Callable[[Greeted], bool]) -> None:
        """Give connections that come later for a session to `take`, until it returns False."""
        with self._lock:
            self._adopted[session] = take

    def _sort(self, greeted: Greeted) -> None:
        """Put a connection to the others of its session.

        Raises:
            InternalError: protocol; it does not go with them.
        """
        hello = greeted.hello
        with self._lock:
            take = self._adopted.get(hello.session)
            if take is None and not self._closed:
                self._gather(greeted)
                return
        if take is None or not take(greeted):
            greeted.carrier.close()
            with self._lock:
                self._adopted.pop(hello.session, None)

    def _gather(self, greeted: Greeted) -> None:
        hello = greeted.hello
        begun = self._begun.setdefault(hello.session, {})
        first = next(iter(begun.values()), greeted).hello
        place = (hello.direction, hello.index)
        alike = (hello.forward, hello.back, hello.versions) == (first.forward, first.back, first.versions)
        if place in begun or not alike or hello.index >= getattr(hello, hello.direction):
            greeted.carrier.close()
            raise broken("a connection does not go with the others of its session")
        begun[place] = greeted
        if len(begun) == hello.forward + hello.back:
            del self._begun[hello.session]
            self._ready.put(list(begun.values()))
        elif len(self._begun) > _SESSIONS:
            for old in self._begun.pop(next(iter(self._begun))).values():
                old.carrier.close()
