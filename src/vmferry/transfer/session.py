"""A session: two workers, several carrier connections, many streams (docs/design.md, The wire between workers).

The threads of a session, all of which end with it: one that reads for each incoming carrier, `acker`, `keeper`
(pings, silent peers), `messages` and `opened` (which call the handlers). Senders use their own threads.
"""

import json
import logging
import queue
import secrets
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

from vmferry.core import codes
from vmferry.core.errors import UnreachableError, VmferryError
from vmferry.transfer import frames, greeting, hello, tls
from vmferry.transfer.acker import Acker
from vmferry.transfer.buffers import Buffer, Pool
from vmferry.transfer.carrier import Carrier
from vmferry.transfer.frames import Type
from vmferry.transfer.greeting import Greeted
from vmferry.transfer.outlet import Outlet
from vmferry.transfer.reception import Reception
from vmferry.transfer.stream import Stream
from vmferry.transfer.table import Table
from vmferry.transfer.tls import Credentials

__all__ = ["Credentials", "Listener", "Session", "Stream"]

log = logging.getLogger(__name__)

Message = dict[str, Any]

_DIAL = 5.0  # seconds to bring one connection up
_LOOK = 0.5  # how often the keeper looks
_IDLE = 2.0  # a connection that sent nothing for so long sends a PING
_SILENT = 10.0  # one that brought nothing for so long is lost
_LONGEST = (1 << 20) - 4  # bytes of a message
_LENGTH = struct.Struct(">I")
_DATA = int(Type.DATA)


class Session:
    """One end of a session. `dial` makes the source's, `Listener.accept` the destination's.

    Arguments:
        greeted: its connections.
        source: which end this is.
    """

    def __init__(self, greeted: Sequence[Greeted], *, source: bool) -> None:
        agreed = greeted[0].answer
        self.version = agreed.version
        self.features = tuple(agreed.features)
        self.connections = [str(one.carrier.label) for one in greeted]
        self.peer_closed = False
        self._pool = Pool()
        self._outlet = Outlet(self._pool, self._carrier_lost, self._break)
        self._acker = Acker(self._outlet.passing)
        self._table = Table(source=source, make=self._make)
        self._streams = self._table.streams
        self._control = self._streams[frames.CONTROL]
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._over = threading.Event()
        self._why = ""
        self._closing = False
        self._opened: queue.SimpleQueue[Stream | None] = queue.SimpleQueue()
        self._on_message: Callable[[Message], None] | None = None
        self._on_open: Callable[[str, Stream], None] | None = None
        self._on_broken: Callable[[str], None] | None = None
        self._handlers = threading.Condition(self._lock)
        self._incoming: list[Carrier] = []
        self._received = 0
        self._threads = [self._acker.thread]
        outgoing = "forward" if source else "back"
        for one in greeted:
            if one.hello.direction == outgoing:
                self._outlet.add(one.carrier)
                self._outlet.window.round_trip(one.round_trip or 0.001)
            else:
                self._incoming.append(one.carrier)
        for carrier in self._incoming:
            self._thread(f"read-{carrier.label.port}", self._read, carrier)
        self._thread("keeper", self._keep)
        self._thread("messages", self._dispatch)
        self._thread("opened", self._announce)
        for thread in list(self._threads):
            thread.start()

    # --- from beginning to end ----------------------------------------------------------------------------------

    @classmethod
    def dial(
        cls, addresses: Sequence[tuple[str, int]], credentials: Credentials, connections: int = 2, back: int = 1
    ) -> "Session":
        """Connect to the destination, as the source.

        Arguments:
            addresses: where it listens, the best first; all connections go to the first that answers.
            credentials: what to show and to want.
            connections: how many carry frames to the destination.
            back: how many carry frames back.

        Raises:
            UnreachableError: data-port-unreachable.
            VmferryError: somebody answered and refused, or showed another certificate or key.
        """
        context = tls.context(credentials, server=False) if credentials.encryption else None
        failure: Exception = OSError("there is no address")
        for address in addresses:
            try:
                return cls(_connect(address, credentials, context, connections, back), source=True)
            except (OSError, VmferryError) as error:
                if not isinstance(failure, VmferryError):
                    failure = error
        if isinstance(failure, VmferryError):
            raise failure
        listed = ", ".join(f"{host} port {port}" for host, port in addresses)
        raise UnreachableError(
            codes.DATA_UNREACHABLE, host=credentials.peer, addresses=listed, why=str(failure)
        ) from failure

    def close(self, linger: float = 0.0) -> None:
        """End the session in order: the peer learns that nothing more comes. `on_broken` is not called here.

        Arguments:
            linger: seconds to wait until everything that was sent is acknowledged.
        """
        with self._lock:
            self._closing = True
        with suppress(OSError):
            self._control.send_fin()
            self._outlet.wait_idle(linger)
        self._break("the session was closed")
        self._join()

    def abort(self, reason: str) -> None:
        """End the session at once; the peer hears why if that takes no waiting."""
        with self._lock:
            self._closing = True
        self._last_words(reason)
        self._break(reason)
        self._join()

    # --- streams and messages -----------------------------------------------------------------------------------

    def open(self, kind: str) -> Stream:
        """Open a stream; the peer's `on_open` gets the other end of it.

        Arguments:
            kind: lower-case letters: rpc, memory, disk, file.

        Raises:
            ConnectionAbortedError: the session broke.
            InternalError: too many streams are open.
        """
        payload = kind.encode()
        frames.kind_of(payload)
        stream = self._table.open(kind)
        self._outlet.control(stream.outbox, Type.OPEN, payload, 0)
        return stream

    def send(self, message: Message) -> None:
        """Send a message to the peer's worker; messages arrive in order.

        Raises:
            ConnectionAbortedError: the session broke.
        """
        raw = json.dumps(message).encode()
        if len(raw) > _LONGEST:
            raise ValueError(f"a message of {len(raw)} bytes is too long")
        with self._sending:
            self._control.send(_LENGTH.pack(len(raw)) + raw)

    def on_message(self, handler: Callable[[Message], None]) -> None:
        """Have a function called with each message, one after the other; those that came before are kept for it."""
        with self._handlers:
            self._on_message = handler
            self._handlers.notify_all()

    def on_open(self, handler: Callable[[str, Stream], None]) -> None:
        """Have a function called with kind and stream for each that the peer opens, in the order it opened them.

        It may wait; the session goes on meanwhile. Those opened before are kept for it.
        """
        with self._handlers:
            self._on_open = handler
            self._handlers.notify_all()

    def on_broken(self, handler: Callable[[str], None]) -> None:
        """Have a function called once, with the reason, when the session has ended and we did not end it.

        All messages that came before are handled first. Called at once for a session that has ended already.
        """
        with self._handlers:
            self._on_broken = handler
            self._handlers.notify_all()

    @property
    def sent(self) -> int:
        """Bytes sent so far, frame headers included."""
        return self._outlet.sent

    @property
    def received(self) -> int:
        """Bytes received so far, frame headers included."""
        with self._lock:
            return self._received + sum(carrier.bytes for carrier in self._incoming)

    # --- what the carriers bring ----------------------------------------------------------------------------------

    def _read(self, carrier: Carrier) -> None:
        why = "the peer closed it"
        try:
            carrier.read(self._pool, self._handle)
        except VmferryError as error:
            if not self._over.is_set():
                log.error("%s: %s", carrier.label, error.reason)
                self._last_words(error.reason)
                self._break(error.reason)
        except OSError as error:
            why = error.strerror or str(error)
        except Exception:
            log.exception("%s: a frame could not be handled", carrier.label)
            self._break("a frame could not be handled")
        carrier.cut()
        with self._lock:
            self._incoming.remove(carrier)
            self._received += carrier.bytes
            left = bool(self._incoming)
        carrier.close()
        if not left:
            self._break(f"the connection {carrier.label} was lost: {why}")

    def _handle(self, number: int, kind: int, flags: int, offset: int, length: int, buffer: Buffer) -> bool:
        """Take one frame; True when its buffer was kept. Never waits."""
        if kind == Type.PING:
            return False
        stream = self._streams.get(number)
        if stream is None:
            stream = self._table.find(number)
            if stream is None:
                if kind != Type.ACK:
                    self._acker.gone(number)
                return False
        if kind == _DATA:
            return stream.inbox.deliver(offset, length, buffer, bool(flags))
        payload = buffer.payload[:length]
        if kind == Type.ACK:
            stream.acknowledge(offset, frames.CREDIT.unpack(payload)[0], flags)
        elif kind == Type.FIN:
            stream.inbox.finish(offset)
        elif kind == Type.OPEN:
            self._open(number, frames.kind_of(payload))
        elif number == frames.CONTROL:
            self._break(frames.reason_of(payload))
        else:
            self._reset(stream, frames.reason_of(payload))
        return False

    def _open(self, number: int, kind: str) -> None:
        announced, _ = self._table.opened(number, kind)
        for stream in announced:
            if stream.failed:  # given up before it was announced
                self._table.remove(stream)
                self._outlet.forget(stream.outbox)
                self._acker.gone(stream.id)
            else:
                self._opened.put(stream)
        known = self._streams.get(number)
        if known is not None:
            self._acker.note(known, True)

    def _reset(self, stream: Stream, reason: str) -> None:
        stream.was_reset(reason)
        if stream.kind is not None:  # else its OPEN must not be forgotten by the peer before it has come
            self._acker.gone(stream.id)

    def _make(self, number: int, kind: str | None, window: int) -> Stream:
        stream = Stream(number, kind, window, self._outlet, self._acker, self._pool)
        stream.on_over = lambda: self._forget(stream)
        return stream

    def _forget(self, stream: Stream) -> None:
        if stream.id != frames.CONTROL:
            self._table.remove(stream)
            if stream.id not in self._streams:
                self._outlet.forget(stream.outbox)

    # --- the session's own threads --------------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._over.wait(_LOOK):
            self._outlet.ping(_IDLE)
            for carrier in self._outlet.carriers():
                if carrier.hung_up():
                    self._outlet.lose(carrier, "the peer closed it")
            now = time.monotonic()
            with self._lock:
                silent = [carrier for carrier in self._incoming if now - carrier.heard > _SILENT]
            for carrier in silent:
                log.warning("%s: nothing came for %g s", carrier.label, _SILENT)
                carrier.cut()

    def _dispatch(self) -> None:
        """Call the handlers of messages and of the session's end."""
        try:
            self._dispatch_messages()
        except (VmferryError, ValueError, RecursionError) as error:
            self._break(f"the peer sent a message that cannot be read: {error}")
        except OSError:
            pass  # the session is over
        self._over.wait()
        with self._handlers:
            self._handlers.wait_for(lambda: self._on_broken is not None or self._closing)
            handler = None if self._closing else self._on_broken
        if handler is not None:
            _call(handler, "the peer closed the session" if self.peer_closed else self._why)

    def _dispatch_messages(self) -> None:
        held = bytearray()
        while data := self._control.recv():
            held += data
            while len(held) >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(held)
                if length > _LONGEST:
                    raise frames.broken("a message is too long")
                end = _LENGTH.size + length
                if len(held) < end:
                    break
                message = json.loads(held[_LENGTH.size : end])
                del held[:end]
                if not isinstance(message, dict):
                    raise frames.broken("a message is no JSON object")
                with self._handlers:
                    self._handlers.wait_for(lambda: self._on_message is not None or self._closing)
                    handler = self._on_message
                if handler is not None:
                    _call(handler, message)
        self.peer_closed = True

    def _announce(self) -> None:
        """Call the handler of streams that the peer opened."""
        while (stream := self._opened.get()) is not None:
            with self._handlers:
                self._handlers.wait_for(lambda: self._on_open is not None or self._over.is_set())
                handler = self._on_open
            if handler is None or self._over.is_set():
                continue
            try:
                handler(stream.kind or "", stream)
            except Exception as error:
                log.exception("stream %d (%s) could not be taken", stream.id, stream.kind)
                stream.reset(str(error))

    # --- its end --------------------------------------------------------------------------------------------------

    def _carrier_lost(self) -> None:
        """Tell the peer again what it may not have heard: ACKs that were on a lost connection."""
        for stream in self._table.all():
            self._acker.note(stream, True)

    def _break(self, reason: str) -> None:
        """End everything at once; whoever waits for anything here is woken and told."""
        with self._lock:
            if self._over.is_set():
                return
            self._why = reason
            self._over.set()
            incoming = list(self._incoming)
            self._handlers.notify_all()
        why = ConnectionAbortedError(reason)
        self._outlet.fail(why)
        for carrier in incoming:
            carrier.cut()
        for stream in self._table.all():
            stream.broke(why)
        self._acker.stop()
        self._opened.put(None)

    def _last_words(self, reason: str) -> None:
        self._outlet.shout(frames.pack(frames.CONTROL, Type.RESET, payload=frames.reason(reason)))

    def _join(self) -> None:
        with self._lock:
            self._handlers.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._outlet.close()

    def _thread(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments, name=name, daemon=True))


class Listener:
    """Where the destination waits for the source: one TCP port on several addresses.

    Arguments:
        addresses: IP addresses of this host.
        ports: first and last port to try.
        credentials: what to show and to want.

    Raises:
        InternalError: ports-taken.
    """

    def __init__(self, addresses: Sequence[str], ports: tuple[int, int], credentials: Credentials) -> None:
        self._reception = Reception(addresses, ports, credentials)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each address that it listens on."""
        return self._reception.addresses

    def accept(self, timeout: float) -> Session:
        """Wait for the source.

        Raises:
            TimeoutError: it did not come within `timeout` seconds; says why the last that came was refused.
            ConnectionAbortedError: the listener was closed.
        """
        return Session(self._reception.gather(timeout), source=False)

    def close(self) -> None:
        """Listen no more; sessions that were accepted stay."""
        self._reception.close()


def _connect(
    address: tuple[str, int], credentials: Credentials, context: Any, connections: int, back: int
) -> list[Greeted]:
    made: list[Greeted] = []
    session = secrets.token_hex(16)
    directions: list[tuple[Literal["forward", "back"], int]] = [("forward", connections), ("back", back)]
    try:
        for direction, count in directions:
            for index in range(count):
                said = hello.Hello(
                    versions=list(hello.VERSIONS),
                    features=list(hello.FEATURES),
                    job=credentials.job,
                    session=session,
                    direction=direction,
                    index=index,
                    forward=connections,
                    back=back,
                    encrypted=credentials.encryption,
                    nonce=secrets.token_hex(32),
                )
                made.append(greeting.dial(address, credentials, context, said, _DIAL))
    except BaseException:
        for one in made:
            one.carrier.close()
        raise
    return made


def _call(handler: Callable[[Any], None], argument: Any) -> None:
    try:
        handler(argument)
    except Exception:
        log.exception("a handler of the session failed")
