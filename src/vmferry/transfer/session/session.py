"""A session: two workers, several carrier connections, many streams (docs/design.md, The wire between workers).

The threads of a session, all of which end with it: one that reads for each incoming carrier, `acker`, `keeper`
(pings, silent peers, connections that need a new key), `dispatch` and `announce`, which call the handlers. Whoever
sends does so on a thread of its own.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from vmferry.core.errors import VmferryError
from vmferry.core.policy.networks import Route
from vmferry.transfer.session.connections import Connections
from vmferry.transfer.session.demux import Demux
from vmferry.transfer.session.keepalive import broadcast
from vmferry.transfer.session.messages import Message, Messages
from vmferry.transfer.session.options import SessionOptions
from vmferry.transfer.session.states import Life, SessionState
from vmferry.transfer.session.stream import Stream
from vmferry.transfer.transport import codec, frames, seal
from vmferry.transfer.transport.base import Transport
from vmferry.transfer.transport.dialer import Dialer
from vmferry.transfer.transport.frames import Type
from vmferry.transfer.transport.handshake import Established
from vmferry.transfer.transport.path import Path
from vmferry.transfer.transport.seal import Seal
from vmferry.transfer.transport.tcp import Tcp
from vmferry.transfer.transport.tls import Credentials

__all__ = ["Credentials", "Session", "Stream"]

log = logging.getLogger(__name__)

_GOODBYE = 0.25  # what saying goodbye may take
_ENDING = 3.0  # what a handler may take to return once the session has ended


class Session:
    """One end of a session. `dial` makes the source's, `SessionListener.accept` (connect.py) the destination's.

    Arguments:
        established: its connections.
        dialer: makes more of them; None at the destination's end.
        options: what this end offered.
    """

    def __init__(
        self, established: Sequence[Established], dialer: Dialer | None = None, options: SessionOptions | None = None
    ) -> None:
        agreed = established[0].answer
        self.version = agreed.version
        self.features = tuple(agreed.features)
        self.connections = [str(one.carrier.label) for one in established]
        label = established[0].carrier.label
        self.address = label.source if dialer else label.destination  # this host's
        self.round_trip = min(one.round_trip for one in established)  # seconds, as the hello took
        self.peer_closed = False
        self._opened: queue.SimpleQueue[Stream | None] = queue.SimpleQueue()
        offered = options or SessionOptions()
        life = Life(offered.patience if frames.RESUME in self.features else 0.0)
        self._demux = Demux(
            source=dialer is not None,
            on_broken=self._break,
            on_lost=lambda reason, epoch: self._connections.lost(reason, epoch),
            on_resumed=lambda: self._connections.told(),
            on_opened=self._opened.put,
            codecs=codec.common(offered.codecs, self.features),
            resumable=life.patience > 0,
        )
        sealed = seal.FEATURE in self.features
        made = Seal(established[0].control_key, source=dialer is not None) if sealed else None
        self._messages = Messages(self._demux.control, made)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # a handler was set, or the session is over
        self._over = threading.Event()
        self._why = ""
        self._closing = False
        self._on_message: Callable[[Message], None] | None = None
        self._on_open: Callable[[str, Stream], object] | None = None
        self._on_broken: Callable[[str], None] | None = None
        self._threads = [self._demux.acker.thread]
        self._connections = Connections(
            self._demux, dialer, life, start=self._start, on_broken=self._break, on_refused=self._refuse
        )
        self._demux.acker.thread.start()
        for one in established:
            if one.hello.direction == self._connections.outgoing:  # before anything comes that wants an answer
                self._demux.sender.add(one.carrier, one.round_trip)
        for one in established:
            self.add(one)
        self._start("keep", self._connections.keep)
        for target in (self._dispatch, self._announce):
            self._start(target.__name__.removeprefix("_"), target)

    # --- its life -----------------------------------------------------------------------------------------------

    @classmethod
    def dial(
        cls,
        route: Route,
        credentials: Credentials,
        connections: int = 2,
        back: int = 1,
        transport: Transport | None = None,
        options: SessionOptions | None = None,
    ) -> "Session":
        """Connect to the destination, as the source.

        Arguments:
            route: where it listens, and from where to go there; all connections do.
            credentials: what to show and to want.
            connections: how many carry frames to the destination.
            back: how many carry frames back.
            transport: what connects; None: TCP.
            options: what to offer to the other end.

        Raises:
            OSError: nobody answers.
            VmferryError: somebody answered and refused, or showed another certificate or key.
        """
        options = options or SessionOptions()
        dialer = Dialer(transport or Tcp(credentials), route, credentials, options.features)
        return cls(dialer.dial(connections, back), dialer, options)

    def close(self, linger: float = 0.0) -> None:
        """End the session in order: the peer learns that nothing more comes. `on_broken` is not called here.

        Arguments:
            linger: seconds to wait until everything that was sent is acknowledged.
        """
        with self._lock:
            self._closing = self._connections.closing = True
        # On a thread of its own: a connection that is stuck could hold the goodbye up for longer than asked.
        goodbye = threading.Thread(target=self._say_goodbye, args=(linger,), name="goodbye", daemon=True)
        goodbye.start()
        goodbye.join(linger + _GOODBYE)
        self._break("the session was closed")
        goodbye.join()
        self._join()

    def _say_goodbye(self, linger: float) -> None:
        with suppress(OSError):
            self._demux.control.send_fin()
            self._demux.sender.wait_idle(linger)

    def abort(self, reason: str) -> None:
        """End the session at once; the peer hears why, after all messages, if that takes no waiting."""
        with self._lock:
            self._closing = self._connections.closing = True
        with suppress(OSError):
            self._demux.control.wait_acknowledged(_GOODBYE)
        self._send_reason(reason)
        self._break(reason)
        self._join()

    @property
    def sent(self) -> int:
        """Bytes sent so far, frame headers included."""
        return self._demux.sender.sent

    @property
    def received(self) -> int:
        """Bytes received so far, frame headers included."""
        return self._connections.received

    @property
    def arrived(self) -> int:
        """Bytes of streams and messages that have come so far, more or less; it grows with each."""
        return self._demux.arrived

    @property
    def paths(self) -> list[Path]:
        """The paths that this end's frames go over, each with its round trip, rate and interface."""
        return self._demux.sender.paths()

    @property
    def state(self) -> SessionState:
        """What the session can do now."""
        return self._connections.life.state

    def add(self, established: Established) -> bool:
        """Take one more connection into use; False when the session is over."""
        return self._connections.add(established)

    # --- streams and messages -----------------------------------------------------------------------------------

    def open(self, kind: str, codec: str = codec.IDENTITY.name) -> Stream:
        """Open a stream; the peer's `on_open` gets the other end of it.

        Arguments:
            kind: lower-case letters: rpc, memory, disk, file.
            codec: for its frames, both ways; none if the peer does not know it.

        Raises:
            ConnectionAbortedError: the session broke.
            InternalError: too many streams are open.
        """
        return self._demux.open(kind, codec)

    def send(self, message: Message) -> None:
        """Send a message to the peer's worker; messages arrive in order, and never wait for the streams' bytes.

        Raises:
            ConnectionAbortedError: the session broke.
            ValueError: the message is longer than 1 MiB.
        """
        self._messages.send(message)

    def on_message(self, handler: Callable[[Message], None]) -> None:
        """Have a function called with each message, one after the other; those that came before are kept for it.

        A VmferryError that it raises ends the session: the peer does not keep to the protocol, and hears why.
        """
        with self._changed:
            self._on_message = handler
            self._changed.notify_all()

    def on_open(self, handler: Callable[[str, Stream], object]) -> None:
        """Have a function called with kind and stream for each that the peer opens, in the order it opened them.

        It may wait; the session goes on meanwhile. Those opened before are kept for it.
        """
        with self._changed:
            self._on_open = handler
            self._changed.notify_all()

    def on_broken(self, handler: Callable[[str], None]) -> None:
        """Have a function called once, with the reason, when the session has ended and we did not end it.

        All messages that came before are handled first. Called soon for a session that has ended already.
        """
        with self._changed:
            self._on_broken = handler
            self._changed.notify_all()

    # --- what the handlers hear -----------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Call the handlers of messages and of the session's end."""
        try:
            for message in self._messages:
                with self._changed:
                    self._changed.wait_for(self._listened_to)
                    handler = self._on_message
                if handler is not None:
                    _call(handler, message, VmferryError)
            self.peer_closed = True
        except VmferryError as error:
            self._refuse(error.reason)
        except OSError:
            pass  # the session is over
        except Exception as error:  # nobody would hear of anything any more
            log.exception("messages of the peer cannot be read")
            self._break(str(error))
        self._over.wait()
        with self._changed:
            self._changed.wait_for(lambda: self._on_broken is not None or self._closing)
            last = None if self._closing else self._on_broken
        if last is not None:
            _call(last, "the peer closed the session" if self.peer_closed else self._why)

    def _listened_to(self) -> bool:
        return self._on_message is not None or self._closing or (self._over.is_set() and self._on_broken is not None)

    def _announce(self) -> None:
        """Call the handler of streams that the peer opened."""
        while (stream := self._opened.get()) is not None:
            with self._changed:
                self._changed.wait_for(lambda: self._on_open is not None or self._over.is_set())
                handler = self._on_open
            if handler is None or self._over.is_set():
                continue
            try:
                handler(stream.kind or "", stream)
            except Exception as error:
                log.exception("stream %d (%s) could not be taken", stream.id, stream.kind)
                stream.reset(str(error))

    # --- its end --------------------------------------------------------------------------------------------------

    def _break(self, reason: str) -> None:
        """End everything at once; whoever waits for anything here is woken and told."""
        with self._lock:
            if self._over.is_set():
                return
            self._why = self._why or reason
            self._over.set()
            self._changed.notify_all()
        self._connections.end()
        self._demux.broke(ConnectionAbortedError(self._why))
        self._opened.put(None)

    def _refuse(self, reason: str) -> None:
        """End the session because of what the peer sent, and tell it why."""
        with self._lock:
            self._why = self._why or reason  # a peer that hears it may hang up before this end has done so
        self._send_reason(reason)
        self._break(reason)

    def _send_reason(self, reason: str) -> None:
        broadcast(self._demux.sender, frames.pack(frames.CONTROL, Type.RESET, payload=frames.reason(reason)))

    def _join(self) -> None:
        with self._changed:
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(_ENDING)
        self._demux.sender.close()

    def _start(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
        with self._lock:
            thread.start()
            self._threads.append(thread)  # now that it can be joined


def _call(handler: Callable[[Any], None], argument: Any, *passed: type[Exception]) -> None:
    """Call a handler; what it raises is logged, but for the errors that are passed on."""
    try:
        handler(argument)
    except passed:
        raise
    except Exception:
        log.exception("a handler of the session failed")
