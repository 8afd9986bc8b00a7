"""The sending half of a session: its outgoing carriers, and every frame that is not acknowledged yet."""

import threading
import time
from collections import deque
from collections.abc import Callable

from vmferry.transfer.session.outgoing import OutgoingCarriers, path_of
from vmferry.transfer.session.unacked import Frame, Unacked
from vmferry.transfer.transport import frames
from vmferry.transfer.transport.buffers import Buffer, Pool
from vmferry.transfer.transport.carrier import Carrier
from vmferry.transfer.transport.frames import HEADER, Type
from vmferry.transfer.transport.path import Path

_DATA = int(Type.DATA)

# What every stream may have on its way, however much the others have.
_SHARE = 512 * 1024


class Sender:
    """Sends frames over whichever carrier has least to do, and again over another when one is lost.

    Arguments:
        pool: where the buffers of acknowledged frames go.
        on_lost: called when a carrier was lost and others are left.
        on_broken: called when none is left, with the reason and the epoch of the last one.
        resumable: whether new carriers may come then; all that is not acknowledged is kept for them.
    """

    def __init__(
        self,
        pool: Pool,
        on_lost: Callable[[], None],
        on_broken: Callable[[str, int], None],
        *,
        resumable: bool = False,
    ) -> None:
        self.lock = threading.Lock()
        self.unacked: dict[int, Unacked] = {}
        self._room = threading.Condition(self.lock)
        self._waiting = 0
        self._outgoing = OutgoingCarriers()
        self._pool = pool
        self._on_lost = on_lost
        self._on_broken = on_broken
        self._resumable = resumable
        self._broken: OSError | None = None
        self._helpers: list[threading.Thread] = []

    @property
    def sent(self) -> int:
        """Bytes of frames sent so far."""
        with self.lock:
            return self._outgoing.sent

    def carriers(self) -> list[Carrier]:
        """Return the carriers that are open."""
        with self.lock:
            return self._outgoing.all

    def add(self, carrier: Carrier, round_trip: float) -> None:
        """Take a carrier into use.

        Arguments:
            round_trip: seconds that something small took to be answered on it.
        """
        with self.lock:
            self._outgoing.add(carrier, round_trip)

    def retire(self, carrier: Carrier) -> None:
        """Send nothing more on a carrier; `reap` closes it once all that it carried is acknowledged."""
        with self.lock:
            self._outgoing.retire(carrier)

    def paths(self) -> list[Path]:
        """Return the paths that carry something now, or could."""
        with self.lock:
            return list(self._outgoing.paths)

    def reap(self) -> None:
        """Close the retired carriers that are done."""
        with self.lock:
            waiting = {id(frame.carrier) for unacked in self.unacked.values() for frame in unacked.pending}
            done = [one for one in self._outgoing.retired if not one.queued and id(one) not in waiting]
            for carrier in done:
                self._outgoing.remove(carrier)
        for carrier in done:
            carrier.cut()
            carrier.close()

    def register(self, unacked: Unacked) -> None:
        """Keep what a stream sends, so that it survives the loss of a carrier."""
        with self.lock:
            unacked.over = self._broken
            self.unacked[unacked.stream] = unacked

    def forget(self, unacked: Unacked) -> None:
        """Forget what was kept for a stream that is over."""
        with self.lock:
            self.unacked.pop(unacked.stream, None)

    # --- sending ------------------------------------------------------------------------------------------------

    def data(self, unacked: Unacked, view: memoryview, size: int, buffer: Buffer | None, raw: int = 0) -> None:
        """Send bytes of a stream; waits for room.

        Arguments:
            unacked: the stream's.
            view: room for the header, then `size` bytes of payload; not to be touched until acknowledged.
            size: bytes of payload.
            buffer: what `view` lies in, if it is the pool's; owned by the sender from here on.
            raw: bytes of the stream that an encoded payload stands for; 0: it is not encoded.

        Raises:
            OSError: the stream was reset, or the session broke.
        """
        advance = raw or size
        with self.lock:
            while not self._fits(unacked, size, advance):
                self._wait(None)
            if unacked.over is not None:
                raise unacked.over
            frame = Frame(view, unacked.offset + advance, size, buffer)
            carrier = self._keep(unacked, frame)
            flags = 0
            if carrier is not None and path_of(carrier).sent(size):
                flags = frames.SOON
                frame.asked_at = time.monotonic()
            HEADER.pack_into(view, 0, unacked.stream, _DATA, flags, 0, unacked.offset, size, raw)
            unacked.offset += advance
        self._transmit(carrier, view)

    def control(self, unacked: Unacked, kind: Type, payload: bytes, end: int) -> None:
        """Send OPEN, FIN or RESET, and keep it until it is acknowledged. Waits for no room.

        Raises:
            OSError: the session broke.
        """
        data = frames.pack(unacked.stream, kind, unacked.offset if kind is Type.FIN else 0, payload)
        with self.lock:
            if self._broken is not None:
                raise self._broken
            carrier = self._keep(unacked, Frame(data, end, 0, None))
        self._transmit(carrier, data)

    def send_unreliable(self, data: bytes) -> None:
        """Send frames that need not be kept (ACK)."""
        with self.lock:
            if self._broken is not None or not self._outgoing.carriers:
                return
            carrier = self._outgoing.choose(None, 0)
        self._transmit(carrier, data)

    def _fits(self, unacked: Unacked, size: int, advance: int) -> bool:
        if unacked.over is not None:
            return True  # to be told so
        if unacked.offset + advance > unacked.credit or len(unacked.pending) >= frames.PENDING:
            return False
        if not self._outgoing.carriers:
            return unacked.stream == frames.CONTROL  # few and small: they wait here, and nobody for them
        # A stream that nobody reads must not keep another from its share: one of QEMU's memory channels is not read
        # until something has arrived on another. And the workers' own messages are few, small, and never wait.
        if unacked.inflight + size <= _SHARE or unacked.stream == frames.CONTROL:
            return True
        return self._outgoing.fits(size)

    def _wait(self, timeout: float | None) -> None:
        self._waiting += 1
        try:
            self._room.wait(timeout)
        finally:
            self._waiting -= 1

    def _keep(self, unacked: Unacked, frame: Frame) -> Carrier | None:
        """Keep a frame until it is acknowledged; returns what to send it on now, if there is anything."""
        unacked.inflight += frame.size
        unacked.pending.append(frame)
        if not self._outgoing.carriers:
            return None
        carrier = self._outgoing.choose(unacked.carrier, frame.size)
        unacked.carrier = frame.carrier = carrier
        carrier.unacknowledged += frame.size
        return carrier

    def _transmit(self, carrier: Carrier | None, data: bytes | memoryview) -> None:
        if carrier is None:
            return
        failure = None
        with carrier.lock:
            if not carrier.lost:
                try:
                    carrier.send(data)
                except OSError as error:
                    failure = str(error)
        if failure is not None:
            self.lose(carrier, failure)
        with self.lock:
            carrier.queued -= 1

    # --- acknowledgement ----------------------------------------------------------------------------------------

    def acknowledge(self, unacked: Unacked, offset: int, credit: int, flags: int) -> bool:
        """Take an ACK; returns whether everything that was sent on the stream is acknowledged, its FIN included.

        Raises:
            InternalError: protocol; the peer acknowledged what was never sent.
        """
        now = time.monotonic()
        with self.lock:
            if offset > unacked.offset or (
                flags & frames.ENDED and not (unacked.finished and offset == unacked.offset)
            ):
                raise frames.broken("bytes were acknowledged that were never sent")
            done = offset + 1 if flags & frames.ENDED else offset
            pending = unacked.pending
            drained: dict[Path, int] = {}
            while pending and (pending[0].end <= done or flags & frames.GONE):
                frame = pending.popleft()
                path = self._release(unacked, frame)
                if not frame.end:
                    unacked.announced = True  # its OPEN
                if path is None:
                    continue
                drained[path] = drained.get(path, 0) + frame.size
                if frame.asked_at:
                    path.window.round_trip(now - frame.asked_at)
            unacked.acknowledged = max(unacked.acknowledged, offset)
            unacked.credit = max(unacked.credit, credit)
            for path, size in drained.items():
                if size:
                    path.window.drained(size, now)
            if self._waiting:
                self._room.notify_all()
            return unacked.finished and not pending

    def _release(self, unacked: Unacked, frame: Frame) -> Path | None:
        """Let go of a frame that is done; returns the path that it went over."""
        unacked.inflight -= frame.size
        if frame.buffer is not None:
            self._pool.give(frame.buffer)
        return self._unassign(frame)

    def _unassign(self, frame: Frame) -> Path | None:
        """Take a frame off the carrier that it was sent on; returns that carrier's path."""
        if frame.carrier is None:
            return None
        path = path_of(frame.carrier)
        frame.carrier.unacknowledged -= frame.size
        path.inflight -= frame.size
        frame.carrier = None
        return path

    def _assign(self, frame: Frame, carrier: Carrier) -> None:
        frame.carrier = carrier
        carrier.unacknowledged += frame.size
        path_of(carrier).inflight += frame.size

    def wait_acknowledged(self, unacked: Unacked, timeout: float) -> bool:
        """Wait until everything that was sent on a stream is acknowledged; False when that takes too long.

        Raises:
            OSError: the stream was reset, or the session broke.
        """
        limit = time.monotonic() + timeout
        with self.lock:
            while unacked.pending or unacked.acknowledged < unacked.offset:
                if unacked.over is not None:
                    raise unacked.over
                left = limit - time.monotonic()
                if left <= 0:
                    return False
                self._wait(left)
        return True

    def wait_idle(self, timeout: float) -> None:
        """Wait until everything is acknowledged, or `timeout` seconds have passed, or the session broke."""
        limit = time.monotonic() + timeout
        with self.lock:
            while any(unacked.pending for unacked in self.unacked.values()) and self._broken is None:
                left = limit - time.monotonic()
                if left <= 0:
                    return
                self._wait(left)

    def drop(self, unacked: Unacked, why: OSError) -> None:
        """Give up what a stream has sent: none of it is sent again, and its writer is told why."""
        with self.lock:
            unacked.over = unacked.over or why
            kept = [frame for frame in unacked.pending if not frame.size]  # OPEN: the peer counts streams by it
            for frame in unacked.pending:
                if frame.size:
                    frame.buffer = None  # it may be on its way still
                    self._release(unacked, frame)
            unacked.pending = deque(kept)
            self._room.notify_all()

    # --- the loss of carriers -----------------------------------------------------------------------------------

    def lose(self, carrier: Carrier, why: str) -> None:
        """Give up a carrier; what was on its way over it is sent again over the others. Never waits."""
        carrier.cut()
        with self.lock:
            if not self._outgoing.remove(carrier):
                return
            again = [
                frame for unacked in self.unacked.values() for frame in unacked.pending if frame.carrier is carrier
            ]
            left = bool(self._outgoing.carriers)
            for frame in again:
                # Its memory must stay as it is even if an ACK comes while it is being sent.
                frame.buffer = None
                self._unassign(frame)
                if left:
                    self._assign(frame, self._outgoing.least_loaded())
            if not left and not self._resumable:
                self._end(ConnectionAbortedError(f"the connection {carrier.label} was lost: {why}"))
            self._help(self._replace, carrier, again)
        if not left:
            self._on_broken(f"the connection {carrier.label} was lost: {why}", carrier.epoch)

    def _help(self, target: Callable[..., None], *arguments: object) -> None:
        helper = threading.Thread(target=target, args=arguments, name="send-again", daemon=True)
        helper.start()
        self._helpers = [*(one for one in self._helpers if one.is_alive()), helper]  # now that it can be joined

    def _replace(self, carrier: Carrier, again: list[Frame]) -> None:
        with carrier.lock:  # nobody sends on it any more
            carrier.close()
        self._send_again(again)
        self._on_lost()

    def _send_again(self, again: list[Frame]) -> None:
        for frame in again:
            with self.lock:
                other = frame.carrier
                if other is None or other.lost:
                    continue  # acknowledged, or lost as well by now; whoever saw that sends this frame again
                other.queued += 1
            self._transmit(other, frame.data)

    def suspend(self) -> None:
        """Give up all carriers; what is not acknowledged is kept for `resume`. Never waits."""
        with self.lock:
            gone = self._outgoing.all
            for carrier in gone:
                carrier.cut()
                self._outgoing.remove(carrier)
            for unacked in self.unacked.values():
                for frame in unacked.pending:
                    frame.buffer = None  # it may be on its way still
                    self._unassign(frame)
            self._help(self._close_all, gone)

    def _close_all(self, gone: list[Carrier]) -> None:
        for carrier in gone:
            with carrier.lock:
                carrier.close()

    def resume(self) -> None:
        """Send again what is not acknowledged, over the carriers that were added since `suspend`. Never waits."""
        with self.lock:
            if not self._outgoing.carriers:
                return  # lost again already
            again = [one for unacked in self.unacked.values() for one in unacked.pending if one.carrier is None]
            for frame in again:
                frame.asked_at = 0.0  # what it took says nothing of these paths
                self._assign(frame, self._outgoing.least_loaded())
            self._room.notify_all()
            self._help(self._send_again, again)

    def fail(self, why: OSError) -> None:
        """End everything: whoever waits here is told why."""
        with self.lock:
            self._end(why)

    def _end(self, why: OSError) -> None:
        self._broken = self._broken or why
        for unacked in self.unacked.values():
            unacked.over = unacked.over or why
        for carrier in self._outgoing.all:
            carrier.cut()
        self._room.notify_all()

    def close(self) -> None:
        """Give all descriptors back; `fail` was called before."""
        for carrier in self.carriers():
            with carrier.lock:
                carrier.close()
        with self.lock:
            helpers = list(self._helpers)
        for helper in helpers:
            if helper is not threading.current_thread():
                helper.join()
