"""A path: one pair of addresses that connections of a session go over."""

from vmferry.transfer.transport.window import Window


class Path:
    """What is known of one path, and what is on its way over it; the sender's lock guards it.

    Arguments:
        name: its two ends: `10.77.1.1 -> 10.77.1.2`.
        interface: of this host; None if no interface has the address.
    """

    def __init__(self, name: str, interface: str | None = None) -> None:
        self.name = name
        self.interface = interface
        self.window = Window()
        self.inflight = 0  # bytes that were sent over it and are not acknowledged
        self.unasked = 0  # bytes sent since an acknowledgement was asked for

    @property
    def round_trip(self) -> float | None:
        """Seconds that the path itself takes there and back; None until something was answered."""
        return self.window.least_round_trip

    @property
    def rate(self) -> float | None:
        """Bytes a second that it drained when it was last full; None until then."""
        return self.window.rate

    def fits(self, size: int) -> bool:
        """Return whether so many bytes more may be on their way."""
        return self.inflight + size <= self.window.limit

    def sent(self, size: int) -> bool:
        """Count bytes that are sent; returns whether the peer should acknowledge them soon."""
        self.inflight += size
        self.unasked += size
        part = self.window.limit >> 3
        if self.unasked < part and self.inflight <= self.window.limit - part:
            return False
        self.unasked = 0
        return True
