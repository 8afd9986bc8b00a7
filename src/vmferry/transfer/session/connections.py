"""The connections of one end of a session: takes them into use, reads them, keeps them alive, makes new ones."""

import logging
import threading
import time
from collections.abc import Callable

from vmferry.core.errors import VmferryError
from vmferry.transfer.session.demux import Demux
from vmferry.transfer.session.keepalive import ping
from vmferry.transfer.session.states import Life, SessionEvent, SessionState
from vmferry.transfer.transport.carrier import Carrier
from vmferry.transfer.transport.dialer import Dialer
from vmferry.transfer.transport.handshake import Established

log = logging.getLogger(__name__)

_LOOK = 0.5  # seconds between two looks of the keeper
_IDLE = 2.0  # a connection that sent nothing for so long sends a PING
_SILENT = 9.0  # one that brought nothing for so long is lost
_RETRY = 1.0  # seconds until a suspended session tries to connect again
_REKEY_RETRY = 30.0  # after a connection with a new key could not be made


class Connections:
    """All connections of one end of a session.

    Arguments:
        demux: takes what comes, and has the sender.
        dialer: makes more of them; None at the destination's end.
        life: the session's state.
        start: starts a thread that ends with the session; gets its name, what it runs, and arguments for that.
        on_broken: called with the reason when the session cannot go on.
        on_refused: called with the reason when the peer broke a rule.
    """

    def __init__(
        self,
        demux: Demux,
        dialer: Dialer | None,
        life: Life,
        *,
        start: Callable[..., None],
        on_broken: Callable[[str], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self.life = life
        self.outgoing = "forward" if dialer else "back"
        self.closing = False  # this end ends the session
        self._demux = demux
        self._dialer = dialer
        self._start = start
        self._on_broken = on_broken
        self._on_refused = on_refused
        self._lock = threading.Lock()
        self._adding = threading.Lock()
        self._over = threading.Event()
        self._established: dict[tuple[str, int], Established] = {}
        self._incoming: list[Carrier] = []
        self._received = 0  # bytes that came on connections that are gone
        self._rekey_at = 0.0

    @property
    def received(self) -> int:
        """Bytes received so far, frame headers included."""
        with self._lock:
            return self._received + sum(carrier.bytes for carrier in self._incoming)

    def add(self, established: Established) -> bool:
        """Take a connection into use, in place of the one that it replaces; False when the session is over.

        One of a later epoch takes the place of all: the source has lost them, or believes so.
        """
        epoch = established.carrier.epoch
        with self._adding:
            if epoch > self.life.epoch and self.life.patience:
                self.lost("the peer connects anew", self.life.epoch)
                with self._lock:
                    self.life.begin(epoch)
            if epoch != self.life.epoch:
                established.carrier.close()
                return not self._over.is_set()
            return self._add(established)

    def _add(self, established: Established) -> bool:
        carrier, key = established.carrier, (established.hello.direction, established.hello.index)
        with self._lock:
            if self._over.is_set():
                carrier.close()
                return False
            replaced = self._established.get(key)
            self._established[key] = established
            if key[0] != self.outgoing:
                self._incoming.append(carrier)
        if key[0] != self.outgoing:
            self._start(f"read-{key[1]}", self._read, carrier)
        else:
            self._demux.sender.add(carrier, established.round_trip)
            if replaced is not None:
                self._demux.sender.retire(replaced.carrier)
            if self.life.state is SessionState.SUSPENDED:
                self._demux.tell_all()
        self._resume()
        return True

    def end(self) -> None:
        """Cut all that come in: the session is over."""
        with self._lock:
            self.life.take(SessionEvent.ENDED)
            self._over.set()
            incoming = list(self._incoming)
        for carrier in incoming:
            carrier.cut()

    def _read(self, carrier: Carrier) -> None:
        why = "the peer closed it"
        try:
            carrier.read(self._demux.pool, self._demux.handle)
        except VmferryError as error:
            if not self._over.is_set():
                log.error("%s: %s", carrier.label, error.reason)
                self._on_refused(error.reason)
        except OSError as error:
            why = error.strerror or str(error)
        except Exception:
            log.exception("%s: a frame could not be handled", carrier.label)
            self._on_broken("a frame could not be handled")
        why = carrier.fault or why
        carrier.cut()
        # A peer that ends the session says so on the control stream, before it closes its connections.
        if not (self._over.is_set() or self.closing or self._demux.control.ending):
            log.warning("%s was lost: %s", carrier.label, why)
        with self._lock:
            self._incoming.remove(carrier)
            self._received += carrier.bytes
            left = bool(self._incoming)
        carrier.close()
        if not left:
            self.lost(f"the connection {carrier.label} was lost: {why}", carrier.epoch)

    # --- without connections --------------------------------------------------------------------------------------

    def lost(self, reason: str, epoch: int) -> None:
        """Take that no connection of an epoch is left in one direction: wait for new ones if that is allowed."""
        with self._lock:
            if epoch < self.life.epoch:
                return  # others have replaced them
            was = self.life.state
            waits = not (self.closing or self._demux.control.ending) and self.life.lost(reason, time.monotonic())
        if not waits:
            self._on_broken(reason)
            return
        if was is SessionState.ACTIVE:
            log.warning("the session is suspended: %s", reason)
        self._drop()

    def _drop(self) -> None:
        with self._lock:
            incoming = list(self._incoming)
        for carrier in incoming:
            carrier.cut()
        self._demux.sender.suspend()

    def told(self) -> None:
        """Take that the peer has told what it has of each stream."""
        with self._lock:
            self.life.peer_told = True
        self._resume()

    def _resume(self) -> None:
        """Go on if everything is there for it."""
        sends = bool(self._demux.sender.paths())
        with self._lock:
            ready = sends and self._incoming and self.life.peer_told
            if not (ready and self.life.state is SessionState.SUSPENDED and self.life.take(SessionEvent.RESUMED)):
                return
        log.warning("the session goes on")
        self._demux.sender.resume()

    def _reconnect(self) -> None:
        """Connect anew, as the source; give up when it has taken too long."""
        with self._lock:
            now = time.monotonic()
            left, reason = self.life.left(now), self.life.reason
            due = self._dialer is not None and now >= self.life.retry_at
            if due:
                self.life.begin(self.life.epoch + 1)
            old, epoch = list(self._established.values()), self.life.epoch
        if left <= 0:
            self._on_broken(reason)
            return
        if self._dialer is None or not due:
            return
        self._drop()  # what is there of an attempt that came to nothing
        try:
            for one in self._dialer.resume(old, epoch, left):
                self.add(one)
        except (OSError, VmferryError) as error:
            log.info("the session cannot go on yet: %s", error)
        with self._lock:
            self.life.retry_at = time.monotonic() + _RETRY

    # --- as long as it lives --------------------------------------------------------------------------------------

    def keep(self) -> None:
        """See to it that all connections live, until the session is over."""
        sender = self._demux.sender
        while not self._over.wait(_LOOK):
            ping(sender, _IDLE)
            for carrier in sender.carriers():
                if carrier.hung_up():
                    sender.lose(carrier, "the peer closed it")
            sender.reap()
            now = time.monotonic()
            with self._lock:
                silent = [carrier for carrier in self._incoming if now - carrier.heard > _SILENT]
                due = [one for one in self._established.values() if one.carrier.rekey_due]
            for carrier in silent:
                carrier.cut(f"nothing came for {_SILENT:g} s")
            if self.life.state is SessionState.SUSPENDED:
                self._reconnect()
            elif self._dialer is not None and due and now > self._rekey_at:
                self._rekey(self._dialer, due[0])  # one at a time: the others want their pings meanwhile

    def _rekey(self, dialer: Dialer, old: Established) -> None:
        try:
            self.add(dialer.redial(old))
        except (OSError, VmferryError) as error:
            log.warning("%s could not be replaced: %s", old.carrier.label, error)
            self._rekey_at = time.monotonic() + _REKEY_RETRY
