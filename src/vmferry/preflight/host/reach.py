"""Whether the destination can be reached on its data ports, and whether large packets arrive, by a test."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.probe import ProbedRoute
from vmferry.preflight.case import Check

_HEADERS, _HEADERS_6 = 28, 48  # bytes of IPv4 or IPv6 and ICMP before what `ping -s` counts


@dataclass(frozen=True, slots=True)
class Reachability:
    """The result of the reachability test (transfer/measure/reachability.py).

    Arguments:
        source: the host that ran the test.
        destination: the name of the other host.
        routes: the best first; empty if there was no test.
        busy: whether moves run on one of the hosts and use the network, so that lost packets mean nothing.
    """

    source: str
    destination: str
    routes: Sequence[ProbedRoute]
    busy: bool = False


def _reach(reach: Reachability) -> Iterator[Finding]:
    """Judge the routes: a move takes the first that answers, so only faults of that one block the move."""
    if reach.busy:
        if any(route.error is not None or route.stalled for route in reach.routes):
            why = "moves that run now use the network, so lost packets mean nothing"
            yield Finding.warns(codes.PROBE_UNTRIED, ("", why), host=reach.destination, why=why)
        return
    answered = any(route.error is None for route in reach.routes)
    taken = False
    for route in reach.routes:
        endpoint = f"{route.address} port {route.port}" + (f" from {route.local}" if route.local else "")
        if route.error is not None:
            judge = Finding.warns if answered else Finding.blocks
            seen = ("", f"{endpoint}: {route.error}")
            yield judge(codes.DATA_UNREACHABLE, seen, host=reach.destination, addresses=endpoint, why=route.error)
            continue
        if route.stalled:
            judge = Finding.warns if taken else Finding.blocks
            ends = {"source": reach.source, "destination": reach.destination}
            sender = " and ".join(ends[side] for side in dict.fromkeys(route.stalled))
            yield judge(
                codes.MTU_BLACK_HOLE,
                (f"{route.local}: packets of {route.mtu} bytes", f"{endpoint}: small packets only"),
                source=reach.source,
                host=reach.destination,
                address=route.address,
                sender=sender,
                mtu=route.mtu,
                size=max(0, route.mtu - (_HEADERS_6 if ":" in route.address else _HEADERS)),
            )
        taken = True


REACH = Check(
    _reach,
    {
        codes.DATA_UNREACHABLE: "A firewall on either host or between them drops TCP 6610-6659, or the network "
        "between the hosts is broken.",
        codes.PROBE_UNTRIED: "Moves use all data ports, many hosts test at once, moves use the network, or vmferry "
        "there is too old.",
        codes.MTU_BLACK_HOLE: "An interface, switch or tunnel on the route has a smaller MTU than the hosts, and the "
        "ICMP messages about it "
        "are dropped.",
    },
)
