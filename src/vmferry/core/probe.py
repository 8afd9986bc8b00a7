"""A short try of the way between two hosts, before a move needs it: the question, the answer, what came of it.

transfer/probe.py does it.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vmferry.core.networks import Subnet
from vmferry.core.offer import Address

WAYS = 8  # that are tried at once; a move tries them one after another

Side = Literal["source", "destination"]


class ProbeRequest(BaseModel):
    """Source -> destination: listen on a data port for a moment, as for a move."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    networks: list[Subnet] = Field(
        default=[], max_length=1000, description="subnets that the source keeps to; none: it takes any"
    )


class ProbeOpening(BaseModel):
    """Destination -> source: it listens, for some two seconds."""

    model_config = ConfigDict(frozen=True)

    addresses: list[Address] = Field(description="where it listens, the best first")
    secrets: list[str] = Field(description="hex; each admits one connection, once")
    busy: bool = Field(default=False, description="moves run there now: what gets lost may be their doing")
    answer: str = Field(description="hex; what the destination says to a secret, so that no other host is mistaken")


class Reached(BaseModel):
    """What came of one way to the destination."""

    model_config = ConfigDict(frozen=True)

    address: str = Field(description="of the destination")
    port: int
    local: str = Field(default="", description="the source's own; empty: what the kernel took is not known")
    error: str | None = Field(default=None, description="why nobody answered there; null: the destination did")
    stalled: list[Side] = Field(
        default=[], description="whose large packets did not come through, though small ones did"
    )
    mtu: int = Field(default=0, description="bytes of a packet that the source's kernel sends on this way")
