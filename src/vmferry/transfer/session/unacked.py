"""What one stream has sent and the peer has not acknowledged yet."""

from collections import deque

from vmferry.transfer.transport import frames
from vmferry.transfer.transport.buffers import Buffer
from vmferry.transfer.transport.carrier import Carrier


class Frame:
    """A frame that is kept until it is acknowledged, so that it can be sent again.

    Arguments:
        data: header and payload.
        end: the acknowledged position at which it is done with.
        size: bytes of payload as it crosses the wire.
        buffer: what `data` lies in, to be given back to the pool; None when it is memory of its own.
    """

    __slots__ = ("asked_at", "buffer", "carrier", "data", "end", "size")

    def __init__(self, data: bytes | memoryview, end: int, size: int, buffer: Buffer | None) -> None:
        self.data = data
        self.end = end
        self.size = size
        self.buffer = buffer
        self.carrier: Carrier | None = None
        self.asked_at = 0.0


class Unacked:
    """What one stream has sent; the sender's lock guards it."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.offset = 0  # bytes given to send
        self.acknowledged = 0
        self.inflight = 0  # bytes on the wire that are not acknowledged
        self.announced = False  # the peer knows the stream, and its codec
        self.credit = frames.INITIAL_CREDIT
        self.pending: deque[Frame] = deque()
        self.carrier: Carrier | None = None  # the last one that was chosen
        self.finished = False  # FIN is sent, or on its way
        self.over: OSError | None = None  # why nothing can be sent any more
