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

    networks: list[Subnet] = Field(default=[], max_length=1000, description="subnets that the source uses; empty: any")


class ProbeOpening(Message):
    """Destination -> source: it listens for about two seconds."""

    addresses: list[Address] = Field(max_length=ADDRESSES, description="where it listens, the best first")
    secrets: list[Hex] = Field(max_length=ADDRESSES, description="hex; each admits one connection, once")
    busy: bool = Field(default=False, description="moves run there now and may cause packet loss")
    answer: Hex = Field(description="hex; the destination's answer to a secret, so that no other host is taken for it")


class ProbedRoute(Value):
    """The result of the test of one route to the destination."""

    address: Exact = Field(description="of the destination")
    port: int
    local: Exact = Field(default="", description="the source's address; empty: the kernel's choice is unknown")
    error: Line | None = Field(default=None, description="why nobody answered; null: the destination answered")
    stalled: list[Side] = Field(
        default=[], description="the sender whose large packets were lost, while small ones arrived"
    )
    mtu: int = Field(default=0, description="bytes of a packet that the source's kernel sends on this route")
