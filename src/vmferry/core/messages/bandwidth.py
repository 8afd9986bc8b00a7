"""Messages between two hosts that measure the bandwidth between them, and the result."""

from dataclasses import dataclass

from pydantic import Field

from vmferry.core.message import Document, Exact, Key, Message
from vmferry.core.messages.offer import ADDRESSES, Address
from vmferry.core.options import Encryption
from vmferry.core.policy.networks import Subnet


class BandwidthRequest(Message):
    """Source -> destination: receive data for a moment, as in a move with these options."""

    certificate: Document = Field(max_length=8192, description="PEM of the source, made for this one measurement")
    encryption: Encryption
    networks: list[Subnet] = Field(default=[], max_length=1000, description="subnets that the source uses; empty: any")


class BandwidthOpening(Message):
    """Destination -> source: where it listens for some seconds, and the keys for this one measurement."""

    id: Exact = Field(description="identifier of the measurement")
    key: Key = Field(repr=False, description="hex; the client proves that it has the key")
    certificate: Document = Field(description="PEM of the destination")
    addresses: list[Address] = Field(max_length=ADDRESSES, description="the best first")


@dataclass(frozen=True, slots=True)
class MeasuredRoute:
    """The measured properties of the route between two hosts.

    Arguments:
        bandwidth: bytes per second that arrive at the other host's program.
        round_trip: seconds there and back.
    """

    bandwidth: float
    round_trip: float
