"""What a prediction means for a move with a deadline, or with a limit on the pause."""

from collections.abc import Iterator
from dataclasses import dataclass

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import MoveOptions
from vmferry.core.prediction import Convergence, Prediction
from vmferry.preflight.case import Check

_ROUGH = 1.1  # a pause that is so much longer than was asked for is not worth a word


@dataclass(frozen=True, slots=True)
class Forecast:
    """A move and its prediction.

    Arguments:
        vm: its name.
        source: the source host.
        destination: the destination host.
        options: of the move.
        left: seconds until the deadline; None if there is none.
        prediction: None if there is none.
        why: why there is no prediction.
    """

    vm: str
    source: str
    destination: str
    options: MoveOptions
    left: float | None
    prediction: Prediction | None
    why: str | None


def _forecast(seen: Forecast) -> Iterator[Finding]:
    found, options = seen.prediction, seen.options
    if found is None:
        yield Finding.warns(
            codes.NOT_PREDICTED, ("", ""), vm=seen.vm, source=seen.source, host=seen.destination, why=seen.why
        )
        return
    ends = found.verdict is Convergence.CONVERGES or (
        found.verdict is Convergence.AUTO_CONVERGE and options.auto_converge
    )
    writes = f"{found.measured.dirty_rate / (1 << 20):.3g} MiB/s written"
    sends = f"{found.measured.bandwidth / (1 << 20):.3g} MiB/s between the hosts"
    if seen.left is not None and (not ends or found.total_time is None or found.total_time > seen.left):
        after = f", and {max(seen.left, 0):.0f} s are left"
        takes = f"it would take about {found.total_time:.0f} s{after}" if ends else f"it would not end: {found.reason}"
        yield Finding.blocks(
            codes.DEADLINE_MISSED,
            (writes, sends),
            vm=seen.vm,
            host=seen.destination,
            seconds=f"{options.deadline:g}",
            why=takes,
            advice=_advice(found, options, ends=ends),
        )
    elif not ends:
        yield Finding.warns(
            codes.WILL_NOT_CONVERGE,
            (writes, sends),
            vm=seen.vm,
            host=seen.destination,
            why=found.reason,
            advice=_advice(found, options, ends=False),
        )
    if ends and found.downtime and options.max_downtime and found.downtime > _ROUGH * options.max_downtime:
        yield Finding.warns(
            codes.DOWNTIME_EXCEEDED,
            (writes, sends),
            vm=seen.vm,
            downtime=round(found.downtime * 1000),
            wanted=round(options.max_downtime * 1000),
        )


def _advice(found: Prediction, options: MoveOptions, *, ends: bool) -> str:
    """Return what helps, the cheapest first."""
    measured = found.measured
    ways = []
    if options.bandwidth is not None and options.bandwidth < measured.bandwidth:
        ways.append("leave --bandwidth out")
    if not ends and found.verdict is Convergence.AUTO_CONVERGE:
        taken = f"which would take up to {found.throttle:.0%} of its processors' time from it"
        ways.append(f"slow the guest down with --auto-converge, {taken} (about {found.total_time:.0f} s in all)")
    if not ends and options.max_downtime is not None:
        ways.append("allow a longer --max-downtime")
    if ends:
        ways.append(f"give it more time (--deadline {round(1.5 * (found.total_time or 0)) + 1}s)")
    if measured.disk > measured.used:
        ways.append("put its disks where both hosts see them")
    ways.append("move it over a faster network, or when it writes less")
    return "; ".join(ways)


FORECAST = Check(
    _forecast,
    {
        codes.DEADLINE_MISSED: "Based on measurements of the VM's data, its write rate and the bandwidth between the "
        "hosts. The deadline counts "
        "from the request.",
        codes.WILL_NOT_CONVERGE: "The VM changes its memory about as fast as it can be sent, so the rest never "
        "becomes small enough for the pause.",
        codes.DOWNTIME_EXCEEDED: "In the pause, the last memory and the state of the devices are sent, then come the "
        "commit and the resume, which "
        "no option shortens.",
        codes.NOT_PREDICTED: "Nothing is measured while a move runs on either host, or if libvirt or the other host "
        "cannot measure.",
    },
)
