"""How much may be on its way over one path: enough to keep the path full, too little to hold the guest up."""

# What lies between a local socket here and one there when the guest stops has to arrive before it can go on: QEMU
# believes that what it wrote is there already, and counts none of it in the pause it plans. So the sum of all that is
# unacknowledged (our buffers, both kernels' TCP buffers, the peer's queues) is held to what the path drains in 30 ms,
# above what its round trip needs anyway. At 1 Gbit/s that is 3.6 MB, where buffers tuned by the kernel alone hold
# 4 MiB to send and 32 MiB to receive for each connection.
DELAY = 0.030
LEAST = 1 << 20
MOST = 16 << 20
_START = 2 << 20
_MOST_FOR_ROUND_TRIP = 64 << 20

_INTERVAL = 0.050
_FALL = 0.8


class Window:
    """Measures how fast the path drains and says how many unacknowledged bytes it may carry.

    Not locked: the caller's lock guards it.
    """

    def __init__(self) -> None:
        self.limit = _START
        self.full = False  # somebody had to wait for room since the last measurement
        self.least_round_trip: float | None = None  # seconds
        self.rate: float | None = None  # bytes a second when it was last full
        self._bytes = 0
        self._since: float | None = None

    def round_trip(self, seconds: float) -> None:
        """Note the time that something small took to be answered; the least one seen is the path's own.

        It is never forgotten: later ones contain the delay that the window itself makes, and would feed on it.
        """
        if self.least_round_trip is None or seconds < self.least_round_trip:
            self.least_round_trip = seconds

    def drained(self, size: int, now: float) -> None:
        """Note that `size` bytes were acknowledged."""
        if self._since is None:
            self._since = now
            return
        self._bytes += size
        span = now - self._since
        if span < _INTERVAL:
            return
        if self.full:  # else the rate is the local program's, and says nothing about the path
            rate = self.rate = self._bytes / span
            base = self.least_round_trip or 0.0
            target = min(rate * DELAY, MOST) + min(rate * base, _MOST_FOR_ROUND_TRIP)
            # Up at once, since an ACK may just have come late; down step by step.
            self.limit = max(LEAST, int(max(target, self.limit * _FALL)))
        self._bytes = 0
        self._since = now
        self.full = False
