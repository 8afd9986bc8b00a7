"""Prediction of a move from measurements: a pure model of QEMU's pre-copy and of what happens around it.

QEMU sends all memory in a first round, and in each later round what the guest wrote during the one before, until the
rest can be sent within the longest pause allowed (docs/devel/migration; migration_iteration_run in
migration/migration.c). With auto-converge it slows the guest down, step by step, if the guest writes more than half of
what is sent (migration_trigger_throttle in migration/ram.c). libvirt mirrors disks first, then lets QEMU send memory.
"""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from vmferry.core.message import Line, Value

DOWNTIME = 0.3  # seconds: QEMU's downtime-limit where nobody asks for another
ITERATION = 0.05  # seconds: QEMU looks no more often whether the rest is small enough (MAX_WAIT in migration/ram.c)
SAMPLE = 2 << 20  # bytes for which each page stands that QEMU samples (512 pages of each GiB; migration/dirtyrate.h)
SAMPLES = 60  # to be seen changed where as much is changed as can be sent; the error is about 1 / sqrt(SAMPLES)
WATCH = (1, 10)  # seconds, at least and at most, for which a VM is watched
ROUNDS = 5000  # after so many there is no end in sight
FIRST, STEP, MOST = 0.2, 0.1, 0.99  # of a guest's processor time: cpu-throttle-initial, -increment, max-cpu-throttle
TRIGGER = 0.5  # throttle-trigger-threshold: written, as a share of what was sent meanwhile
PERIOD = 1.0  # seconds between two looks at that share; each second one that is over it slows the guest

# What no measurement before a move can tell. They were fitted to one machine's moves: benchmarks/predict.py,
# docs/performance.md.
BEFORE = 1.1  # seconds from the request to the first byte
AFTER = 0.3  # seconds from the guest's resume to the end of the job
SWITCH = 0.1  # seconds of the pause in which nothing is sent: devices' state, the commit, the resume
ROUND_TRIPS = 4  # of the pause: end of the stream, libvirt's Finish, and `go`, each with its answer
STREAM = 300 << 20  # bytes a second that the one thread of QEMU which sends memory gets done
MIRROR = 150 << 20  # the same of the storage mirror
SCAN = 4 << 30  # bytes a second of memory that was never written: looked at, not sent


class Convergence(StrEnum):
    """Whether the copy of the memory converges."""

    CONVERGES = "converges"
    AUTO_CONVERGE = "converges-with-auto-converge"
    NEVER = "will-not-converge"


class Measured(Value):
    """The measurements for a prediction. Sizes in bytes, rates in bytes a second."""

    memory: int = Field(ge=0, description="of the VM, all of it")
    used: int = Field(ge=0, description="of its memory, what was ever written: only that is sent")
    dirty_rate: float = Field(ge=0, description="bytes of memory that the guest changes in a second")
    busy: float = Field(default=1.0, ge=0, le=1, description="share of its time that the guest's busiest CPU works")
    disk: int = Field(default=0, ge=0, description="bytes of disks that have to be copied")
    bandwidth: float = Field(gt=0, description="between the hosts, by the way and with the encryption of the move")
    round_trip: float = Field(default=0.0, ge=0, description="seconds to the other host and back")


@dataclass(frozen=True, slots=True)
class Wish:
    """The options of the move that matter here.

    Arguments:
        bandwidth: bytes a second that it may use; None: all there is.
        max_downtime: seconds that the guest may pause; None: QEMU's own limit.
        auto_converge: whether the guest may be slowed down.
    """

    bandwidth: float | None = None
    max_downtime: float | None = None
    auto_converge: bool = False


class Prediction(Value):
    """The prediction of a move. Times in seconds, for the given verdict: with auto-converge if it needs that."""

    verdict: Convergence
    reason: Line = Field(description="why, in one sentence")
    total_time: float | None = Field(description="from the request to its end; null: it would not end")
    downtime: float | None = Field(description="for which the guest stands still; null: it would not end")
    throttle: float = Field(default=0.0, description="share of its processors that the guest loses before the end")
    rounds: int = Field(description="times that memory is gone through")
    measured: Measured


def watch(bandwidth: float, wish: Wish, deadline: float | None = None) -> int:
    """Return the seconds for which to watch a VM: the slower the move, the smaller are the rates that matter.

    Arguments:
        bandwidth: measured between the hosts, in bytes a second.
        wish: the options of the move.
        deadline: seconds from the request to its end; at most a tenth of them is spent on this.
    """
    least, most = WATCH
    if deadline is not None:
        most = min(most, int(deadline / 10))
    return max(least, min(most, round(SAMPLES * SAMPLE / _rate(bandwidth, wish))))


def predict(measured: Measured, wish: Wish) -> Prediction:
    """Predict a move.

    If a move ends only with auto-converge, the result says so with its times, whether or not that option is set.

    Arguments:
        measured: of the VM and of the route between the hosts.
        wish: the options of the move.
    """
    rate = _rate(measured.bandwidth, wish)
    limit = DOWNTIME if wish.max_downtime is None else wish.max_downtime
    plain = _rounds(measured, rate, limit, slowing=False)
    slowed = _rounds(measured, rate, limit, slowing=True) if plain is None or wish.auto_converge else None
    writes = f"the guest changes {_mib(measured.dirty_rate)} of memory a second, and {_mib(rate)} can be sent"
    copy = slowed if wish.auto_converge else plain or slowed
    if copy is None:
        even = (
            f"even with {MOST:.0%} of its processors' time taken from it; it would need post-copy, which is not built"
        )
        return Prediction(
            verdict=Convergence.NEVER,
            reason=f"{writes}, {even}",
            total_time=None,
            downtime=None,
            rounds=ROUNDS,
            measured=measured,
        )
    downtime = copy.rest / rate + SWITCH + ROUND_TRIPS * measured.round_trip
    disk = measured.disk / min(measured.bandwidth, MIRROR, wish.bandwidth or measured.bandwidth)
    zeros = max(0, measured.memory - measured.used) / SCAN
    return Prediction(
        verdict=Convergence.CONVERGES if plain is not None else Convergence.AUTO_CONVERGE,
        reason=writes if plain is not None else f"{writes}: only a guest that is slowed down lets it end",
        total_time=BEFORE + disk + zeros + copy.seconds + downtime + AFTER,
        downtime=downtime,
        throttle=copy.throttle,
        rounds=copy.rounds,
        measured=measured,
    )


@dataclass(frozen=True, slots=True)
class _Copy:
    """The copy of memory while the guest runs: how long it takes, and what is left for the pause."""

    seconds: float
    rest: float
    throttle: float
    rounds: int


def _rounds(measured: Measured, rate: float, limit: float, *, slowing: bool) -> _Copy | None:
    """Compute QEMU's rounds; None if they never end.

    Arguments:
        rate: bytes a second that are sent.
        limit: seconds of sending for which the guest may be paused.
        slowing: whether auto-converge slows the guest down.
    """
    threshold = rate * limit
    left, seconds = float(measured.used), 0.0
    throttle = _Throttle()
    for number in range(1, ROUNDS + 1):
        sent = left - threshold
        takes = sent / rate
        if sent <= 0 or (takes < ITERATION and number > 1):
            return _Copy(seconds, min(left, threshold), throttle.share, number)
        seconds += takes
        # A page counts once, however often it is written.
        written = min(measured.dirty_rate * throttle.slows(measured.busy) * takes, measured.used - threshold)
        if written >= sent and not (slowing and throttle.share < MOST):
            return None
        if slowing:
            throttle.look(takes, written, sent)
        left = threshold + written
    return None


class _Throttle:
    """How far auto-converge has slowed a guest down."""

    def __init__(self) -> None:
        self.share = 0.0
        self._high = 0
        self._seconds = self._written = self._sent = 0.0

    def slows(self, busy: float) -> float:
        """Return what is left of the guest's dirty rate: throttling time that the guest spent idle changes nothing."""
        return min(1.0, (1.0 - self.share) / max(busy, 0.01))

    def look(self, seconds: float, written: float, sent: float) -> None:
        """Take a round into account."""
        self._seconds += seconds
        self._written += written
        self._sent += sent
        if self._seconds < PERIOD:
            return
        if self._written > TRIGGER * self._sent:
            self._high += 1
        if self._high == 2:
            self._high = 0
            self.share = min(MOST, self.share + STEP) if self.share else FIRST
        self._seconds = self._written = self._sent = 0.0


def _rate(bandwidth: float, wish: Wish) -> float:
    """Return the bytes of memory per second that will be sent."""
    return min(bandwidth, STREAM, wish.bandwidth or bandwidth)


def _mib(size: float) -> str:
    return f"{size / (1 << 20):.3g} MiB"
