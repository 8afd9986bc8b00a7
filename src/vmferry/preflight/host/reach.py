"""Whether the destination can be reached on its data ports, and whether large packets come through: by a try."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.probe import Reached
from vmferry.preflight.case import Check

_HEADERS, _HEADERS_6 = 28, 48  # bytes of IPv4 or IPv6 and ICMP before what `ping -s` counts


@dataclass(frozen=True, slots=True)
class Reach:
    """What came of the try (transfer/measure/reachability.py).

    Arguments:
        source: the host that tried.
        destination: the other one's name.
        ways: the best first; none: it was not tried.
        busy: moves run on one of them, and fill the way: what got lost then tells nothing.
    """

    source: str
    destination: str
    ways: Sequence[Reached]
    busy: bool = False


def _reach(reach: Reach) -> Iterator[Finding]:
    """A move takes the first way that answers: what is wrong with that one blocks it, with others not."""
    if reach.busy:
        if any(way.error is not None or way.stalled for way in reach.ways):
            why = "moves that run now fill the way, so that what was lost tells nothing"
            yield Finding.warns(codes.PROBE_UNTRIED, ("", why), host=reach.destination, why=why)
        return
    answered = any(way.error is None for way in reach.ways)
    taken = False
    for way in reach.ways:
        place = f"{way.address} port {way.port}" + (f" from {way.local}" if way.local else "")
        if way.error is not None:
            judge = Finding.warns if answered else Finding.blocks
            seen = ("", f"{place}: {way.error}")
            yield judge(codes.DATA_UNREACHABLE, seen, host=reach.destination, addresses=place, why=way.error)
            continue
        if way.stalled:
            judge = Finding.warns if taken else Finding.blocks
            ends = {"source": reach.source, "destination": reach.destination}
            sender = " and ".join(ends[side] for side in dict.fromkeys(way.stalled))
            yield judge(
                codes.MTU_BLACK_HOLE,
                (f"{way.local}: packets of {way.mtu} bytes", f"{place}: small packets only"),
                source=reach.source,
                host=reach.destination,
                address=way.address,
                sender=sender,
                mtu=way.mtu,
                size=max(0, way.mtu - (_HEADERS_6 if ":" in way.address else _HEADERS)),
            )
        taken = True


REACH = Check(
    _reach,
    {
        codes.DATA_UNREACHABLE: "A firewall on either host or between them drops TCP 6610-6659, or the network "
        "that the hosts share is broken there.",
        codes.PROBE_UNTRIED: "All data ports are taken by moves, many hosts ask at once, moves fill the way, or "
        "vmferry there is too old.",
        codes.MTU_BLACK_HOLE: "An interface, switch or tunnel on the way has a smaller MTU than the hosts, and what "
        "would tell them is dropped.",
    },
)
