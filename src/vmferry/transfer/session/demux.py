"""Takes every frame that comes to the stream it is for; what is behind a session, without its connections."""

from collections.abc import Callable, Mapping

from vmferry.transfer.session.acker import Acker
from vmferry.transfer.session.registry import Registry
from vmferry.transfer.session.sender import Sender
from vmferry.transfer.session.stream import Stream
from vmferry.transfer.transport import frames
from vmferry.transfer.transport.buffers import Buffer, Pool
from vmferry.transfer.transport.codec import IDENTITY, Codec
from vmferry.transfer.transport.frames import Type

_DATA = int(Type.DATA)


class Demux:
    """The streams of one end of a session.

    Arguments:
        source: which end this is.
        on_broken: called with the reason when the session cannot go on.
        on_lost: called when no outgoing connection is left, with the reason and the epoch of the last one.
        on_opened: called with every stream that the peer opened, in the order in which it did.
        on_resumed: called when the peer has told what it has of each stream, after connecting anew.
        codecs: that both sides know, by name.
        resumable: whether the session may go on with new connections.
    """

    def __init__(
        self,
        *,
        source: bool,
        on_broken: Callable[[str], None],
        on_opened: Callable[[Stream], None],
        on_lost: Callable[[str, int], None] = lambda _reason, _epoch: None,
        on_resumed: Callable[[], None] = lambda: None,
        codecs: Mapping[str, Codec] | None = None,
        resumable: bool = False,
    ) -> None:
        self.pool = Pool()
        self.arrived = 0  # bytes of streams and messages
        self.sender = Sender(self.pool, self._repeat_acks, on_lost, resumable=resumable)
        self.acker = Acker(self.sender.send_unreliable)
        self._registry = Registry(source=source, make=self._make)
        self._streams = self._registry.streams
        self.control = self._streams[frames.CONTROL]
        self._on_broken = on_broken
        self._on_opened = on_opened
        self._on_resumed = on_resumed
        self._codecs = codecs or {IDENTITY.name: IDENTITY}

    def open(self, kind: str, codec: str = IDENTITY.name) -> Stream:
        """Open a stream.

        Arguments:
            kind: lower-case letters.
            codec: for its frames, both ways; none if the peer does not know it.

        Raises:
            ConnectionAbortedError: the session broke.
            InternalError: too many streams are open, or that is no name of a kind.
        """
        chosen = self._codecs.get(codec, IDENTITY)
        payload = frames.opening(kind, {} if chosen is IDENTITY else {"codec": chosen.name})
        stream = self._registry.open(kind)
        stream.codec = chosen
        self.sender.control(stream.unacked, Type.OPEN, payload, 0)
        return stream

    def handle(self, number: int, kind: int, flags: int, offset: int, length: int, raw: int, buffer: Buffer) -> bool:
        """Take one frame; True when its buffer was kept. Never waits.

        Raises:
            VmferryError: the peer broke the protocol.
        """
        if kind == Type.PING:
            return False
        stream = self._streams.get(number) or self._registry.find(number)
        if stream is None:
            if kind != Type.ACK:
                self.acker.gone(number, self._registry.ended.get(number))
            return False
        if kind == _DATA:
            self.arrived += length  # by several threads: who reads it wants to know whether it grows
            payload = buffer.payload[:length]
            if raw:
                self._decode(stream, offset, payload, raw, bool(flags))
                return False
            return stream.receiver.deliver(offset, payload, buffer, bool(flags))
        payload = buffer.payload[:length]
        if kind == Type.ACK:
            self._acknowledge(stream, offset, payload, flags)
        elif kind == Type.FIN:
            stream.receiver.finish(offset)
        elif kind == Type.OPEN:
            self._open(stream, *frames.opening_of(payload))
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
        if flags & frames.RESUMED and stream is not self.control:
            raise frames.broken("a stream alone cannot be resumed")
        stream.acknowledge(offset, frames.CREDIT.unpack(payload)[0], flags & ~frames.RESUMED)
        if flags & frames.RESUMED:
            self._on_resumed()

    def _decode(self, stream: Stream, offset: int, payload: memoryview, size: int, soon: bool) -> None:
        """Take an encoded frame; its sender uses no codec before it knows that the OPEN has come."""
        if stream.codec is IDENTITY:
            raise frames.broken("a frame is encoded, and its stream has no codec")
        if not stream.receiver.expects(offset, size):
            return
        try:
            data = stream.codec.decode(payload, size)
        except ValueError as error:
            raise frames.broken(f"a frame cannot be decoded: {error}") from None
        if len(data) != size:
            raise frames.broken("a frame decodes to another length than it says")
        stream.receiver.deliver(offset, memoryview(data), None, soon)

    def _open(self, stream: Stream, kind: str, parameters: Mapping[str, str]) -> None:
        codec = self._codecs.get(parameters.get("codec", IDENTITY.name))
        if codec is None:
            raise frames.broken("a stream was opened with a codec that was not agreed on")
        for announced in self._registry.opened(stream, kind, codec):
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

    def tell_all(self) -> None:
        """Tell the peer, which has connected anew, what this end has of each stream. Waits until it is sent."""
        self.sender.send_unreliable(self.acker.all_of(self._announced()))

    def _announced(self) -> list[Stream]:
        # Else the peer would take a stream's OPEN for acknowledged that has not come, and not send it again.
        return [stream for stream in self._registry.all() if stream.kind is not None]

    def _repeat_acks(self) -> None:
        """Tell the peer what it may not have heard: ACKs that were on a lost connection."""
        for stream in self._announced():
            self.acker.note(stream, True)
