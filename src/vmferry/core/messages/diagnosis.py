"""What `vmferry doctor` says: of one host, of each way between two, and of all of them together."""

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
    """How one host stands."""

    name: Exact
    vmferry: Line = Field(description="version; empty when it is not known")
    libvirt: Line = Field(description="version; empty when it is not known")
    qemu: Line = Field(description="version; empty when it is not known")
    migration: bool | None = Field(description="whether VMs may come and go; null when it is not known")
    findings: list[Finding] = Field(max_length=FINDINGS, description="those that block come first")
    untold: list[Line] = Field(max_length=FINDINGS, description="what could not be looked at, and why")


class PairReport(Value):
    """How a move from one host to another would fare, as the first of the two sees it."""

    source: Exact
    destination: Exact
    findings: list[Finding] = Field(max_length=FINDINGS, description="those that block come first; none: all is well")


class Matrix(Value):
    """Several hosts, and every way between two of them, both directions."""

    hosts: list[HostReport]
    pairs: list[PairReport]


class DiagnosisRequest(BaseModel):
    """Whom to look at beside the host that answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: list[str] = Field(max_length=HOSTS, description="names of paired hosts; none: all of them")


class ViewRequest(Message):
    """Ask a paired host for its own report, and how it sees others (host to host)."""

    hosts: list[Exact] = Field(max_length=HOSTS + 1)
    caller: Caller = Field(description="for whom")


class View(Message):
    """How a host stands, and how it sees others (host to host)."""

    report: HostReport
    pairs: list[PairReport] = Field(max_length=2 * HOSTS)


class FactsRequest(Message):
    """Ask a paired host what a move there would meet (host to host)."""

    networks: list[Subnet] = Field(
        default=[], max_length=1000, description="subnets that the source keeps to; none: it takes any"
    )


def _strict(encryption: Any) -> Any:
    """Take what a newer release calls by another word for the strictest that is known here."""
    known = not isinstance(encryption, str) or encryption in list(Protection)
    return encryption if known else Protection.REQUIRED


class Facts(Message):
    """What a paired host says of itself (host to host)."""

    host: HostSnapshot
    encryption: Annotated[Protection, BeforeValidator(_strict)]
    addresses: list[Exact] = Field(max_length=ADDRESSES, description="where it would receive a move, the best first")
    findings: list[Finding] = Field(max_length=FINDINGS, description="what its settings say against any move to it")
