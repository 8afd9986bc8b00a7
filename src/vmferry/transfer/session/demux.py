"""Takes every frame that comes to the stream it is for; what is behind a session, without its connections."""

from collections.abc import Callable

from vmferry.transfer.session.acker import Acker
from vmferry.transfer.session.registry import Registry
from vmferry.transfer.session.sender import Sender
from vmferry.transfer.session.stream import Stream
from vmferry.transfer.transport import frames
from vmferry.transfer.transport.buffers import Buffer, Pool
from vmferry.transfer.transport.frames import Type

_DATA = int(Type.DATA)


class Demux:
    """The streams of one end of a session.

    Arguments:
        source: which end this is.
        on_broken: called with the reason when the session cannot go on.
        on_opened: called with every stream that the peer opened, in the order in which it did.
    """

    def __init__(self, *, source: bool, on_broken: Callable[[str], None], on_opened: Callable[[Stream], None]) -> None:
        self.pool = Pool()
        self.arrived = 0  # bytes of streams and messages
        self.sender = Sender(self.pool, self._repeat_acks, on_broken)
        self.acker = Acker(self.sender.send_unreliable)
        self._registry = Registry(source=source, make=self._make)
        self._streams = self._registry.streams
        self.control = self._streams[frames.CONTROL]
        self._on_broken = on_broken
        self._on_opened = on_opened

    def open(self, kind: str) -> Stream:
        """Open a stream.

        Raises:
            ConnectionAbortedError: the session broke.
            InternalError: too many streams are open, or that is no name of a kind.
        """
        payload = kind.encode()
        frames.kind_of(payload)
        stream = self._registry.open(kind)
        self.sender.control(stream.unacked, Type.OPEN, payload, 0)
        return stream

    def handle(self, number: int, kind: int, flags: int, offset: int, length: int, buffer: Buffer) -> bool:
        """Take one frame; True when its buffer was kept. Never waits.

        Raises:
            VmferryError: the peer broke the protocol.
        """
        if kind == Type.PING:
            return False
        stream = self._streams.get(number) or self._registry.find(number)
        if stream is None:
            if kind != Type.ACK:
                self.acker.gone(number)
            return False
        if kind == _DATA:
            self.arrived += length  # by several threads: who reads it wants to know whether it grows
            return stream.receiver.deliver(offset, length, buffer, bool(flags))
        payload = buffer.payload[:length]
        if kind == Type.ACK:
            self._acknowledge(stream, offset, payload, flags)
        elif kind == Type.FIN:
            stream.receiver.finish(offset)
        elif kind == Type.OPEN:
            self._open(stream, frames.kind_of(payload))
        else:
            self._reset(stream, frames.reason_of(payload))
        return False

    def broke(self, why: OSError) -> None:
        """Wake everybody who waits for a stream; the session is over."""
        self.sender.fail(why)
        for stream in self._registry.all():
            stream.broke(why)
        self.acker.stop()

    def _acknowledge(self, stream: Stream, offset: int, payload: memoryview, flags: int) -> None:
        if stream is self.control and flags & frames.GONE:
            raise frames.broken("the control stream was given up")
        stream.acknowledge(offset, frames.CREDIT.unpack(payload)[0], flags)

    def _open(self, stream: Stream, kind: str) -> None:
        for announced in self._registry.opened(stream, kind):
            if announced.failed:  # given up before it could be announced
                self._over(announced)
                self.acker.gone(announced.id)
            else:
                self._on_opened(announced)
        self.acker.note(stream, True)

    def _reset(self, stream: Stream, reason: str) -> None:
        if stream is self.control:
            self._on_broken(reason)
            return
        stream.was_reset(reason)
        if stream.kind is not None:  # else the peer must not forget its OPEN before that has come
            self.acker.gone(stream.id)

    def _make(self, number: int, kind: str | None, window: int) -> Stream:
        return Stream(number, kind, window, self.sender, self.acker, self.pool, self._over)

    def _over(self, stream: Stream) -> None:
        if stream is not self.control and self._registry.remove(stream):
            self.sender.forget(stream.unacked)

    def _repeat_acks(self) -> None:
        """Tell the peer what it may not have heard: ACKs that were on a lost connection."""
        for stream in self._registry.all():
            self.acker.note(stream, True)
