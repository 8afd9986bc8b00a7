"""What `vmferry doctor` says: of one host, of each way between two, and of all of them together."""

from pydantic import BaseModel, ConfigDict, Field

from vmferry.core.finding import Finding
from vmferry.core.networks import Subnet
from vmferry.core.offer import Caller
from vmferry.core.settings import Protection
from vmferry.core.snapshot import HostSnapshot

HOSTS = 64  # that are asked at once


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class HostReport(_Value):
    """How one host stands."""

    name: str
    vmferry: str = Field(description="version; empty when it is not known")
    libvirt: str = Field(description="version; empty when it is not known")
    qemu: str = Field(description="version; empty when it is not known")
    migration: bool | None = Field(description="whether VMs may come and go; null when it is not known")
    findings: list[Finding] = Field(description="those that block come first")
    untold: list[str] = Field(description="what could not be looked at, and why")


class PairReport(_Value):
    """How a move from one host to another would fare, as the first of the two sees it."""

    source: str
    destination: str
    findings: list[Finding] = Field(description="those that block come first; none: all is well")


class Matrix(_Value):
    """Several hosts, and every way between two of them, both directions."""

    hosts: list[HostReport]
    pairs: list[PairReport]


class DiagnosisRequest(BaseModel):
    """Whom to look at beside the host that answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: list[str] = Field(max_length=HOSTS, description="names of paired hosts; none: all of them")


class ViewRequest(BaseModel):
    """Ask a paired host for its own report, and how it sees others (host to host)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: list[str] = Field(max_length=HOSTS + 1)
    caller: Caller = Field(description="for whom")


class View(_Value):
    """How a host stands, and how it sees others (host to host)."""

    report: HostReport
    pairs: list[PairReport]


class FactsRequest(BaseModel):
    """Ask a paired host what a move there would meet (host to host)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    networks: list[Subnet] = Field(
        default=[], max_length=1000, description="subnets that the source keeps to; none: it takes any"
    )


class Facts(_Value):
    """What a paired host says of itself (host to host)."""

    host: HostSnapshot
    encryption: Protection
    addresses: list[str] = Field(description="where it would receive a move, the best first")
    findings: list[Finding] = Field(description="what its settings say against any move to it")
