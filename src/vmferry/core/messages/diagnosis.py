"""The messages of `vmferry doctor`: about one host, about each route between two, and about all of them together."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from vmferry.core.message import Exact, Line, Message, Value
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import ADDRESSES, FINDINGS, Caller
from vmferry.core.messages.snapshot import HostSnapshot
from vmferry.core.policy.networks import Subnet
from vmferry.core.policy.settings import Protection

HOSTS = 64  # that are asked at once


class HostReport(Value):
    """The findings on one host."""

    name: Exact
    vmferry: Line = Field(description="version; empty if unknown")
    libvirt: Line = Field(description="version; empty if unknown")
    qemu: Line = Field(description="version; empty if unknown")
    migration: bool | None = Field(description="whether migration is enabled; null if unknown")
    findings: list[Finding] = Field(max_length=FINDINGS, description="those that block come first")
    untold: list[Line] = Field(max_length=FINDINGS, description="what could not be checked, and why")


class PairReport(Value):
    """The findings on moves from one host to another, as the first of the two sees them."""

    source: Exact
    destination: Exact
    findings: list[Finding] = Field(
        max_length=FINDINGS, description="those that block come first; empty if all is well"
    )


class Matrix(Value):
    """Several hosts, and each pair of them in both directions."""

    hosts: list[HostReport]
    pairs: list[PairReport]


class DiagnosisRequest(BaseModel):
    """The hosts to check besides the one that answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: list[str] = Field(max_length=HOSTS, description="names of paired hosts; empty: all of them")


class ViewRequest(Message):
    """Ask a paired host for its own report, and for its view of others (host to host)."""

    hosts: list[Exact] = Field(max_length=HOSTS + 1)
    caller: Caller = Field(description="for whom")


class View(Message):
    """A host's own report, and its view of others (host to host)."""

    report: HostReport
    pairs: list[PairReport] = Field(max_length=2 * HOSTS)


class FactsRequest(Message):
    """Ask a paired host what a move to it would need (host to host)."""

    networks: list[Subnet] = Field(default=[], max_length=1000, description="subnets that the source uses; empty: any")


def _strict(encryption: Any) -> Any:
    """Return a value that only a newer release knows as the strictest that is known here."""
    known = not isinstance(encryption, str) or encryption in list(Protection)
    return encryption if known else Protection.REQUIRED


class Facts(Message):
    """What a paired host reports about itself (host to host)."""

    host: HostSnapshot
    encryption: Annotated[Protection, BeforeValidator(_strict)]
    addresses: list[Exact] = Field(max_length=ADDRESSES, description="where it would receive a move, the best first")
    findings: list[Finding] = Field(max_length=FINDINGS, description="what in its settings prevents any move to it")
