"""Reachability test between two hosts, before a move needs it: request, answer and result.

transfer/measure/reachability.py runs it.
"""

from typing import Literal

from pydantic import Field

from vmferry.core.message import Exact, Hex, Line, Message, Value
from vmferry.core.messages.offer import ADDRESSES, Address
from vmferry.core.policy.networks import Subnet

WAYS = 8  # that are tried at once; a move tries them one after another

Side = Literal["source", "destination"]


class ProbeRequest(Message):
    """Source -> destination: listen on a data port for a moment, as in a move."""

    networks: list[Subnet] = Field(
        default=[], max_length=1000, description="subnets that the source keeps to; none: it takes any"
    )


class ProbeOpening(Message):
    """Destination -> source: it listens for about two seconds."""

    addresses: list[Address] = Field(max_length=ADDRESSES, description="where it listens, the best first")
    secrets: list[Hex] = Field(max_length=ADDRESSES, description="hex; each admits one connection, once")
    busy: bool = Field(default=False, description="moves run there now: what gets lost may be their doing")
    answer: Hex = Field(description="hex; what the destination says to a secret, so that no other host is mistaken")


class ProbedRoute(Value):
    """The result of the test of one route to the destination."""

    address: Exact = Field(description="of the destination")
    port: int
    local: Exact = Field(default="", description="the source's own; empty: what the kernel took is not known")
    error: Line | None = Field(default=None, description="why nobody answered there; null: the destination did")
    stalled: list[Side] = Field(
        default=[], description="whose large packets did not come through, though small ones did"
    )
    mtu: int = Field(default=0, description="bytes of a packet that the source's kernel sends on this way")
