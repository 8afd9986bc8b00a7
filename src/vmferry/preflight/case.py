"""What a check is, and what it examines."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vmferry.core.errors import Code
from vmferry.core.messages.finding import Finding, ordered
from vmferry.core.messages.offer import Proposal
from vmferry.core.messages.snapshot import DestinationSnapshot
from vmferry.core.options import Encryption
from vmferry.core.policy.networks import Local
from vmferry.core.policy.settings import HostSettings
from vmferry.preflight.plan import Plan

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class End:
    """One of the two hosts, with the settings of its administrator.

    Arguments:
        name: the name of the host.
        settings: as they are now.
        addresses: of the host.
        encryption: the encryption that the move requests.
        source: whether it is the source of the move.
    """

    name: str
    settings: HostSettings
    addresses: Sequence[Local]
    encryption: Encryption
    source: bool


@dataclass(frozen=True, slots=True)
class FreeSlot:
    """Whether one of the two hosts has a free slot for one more move.

    Arguments:
        name: the name of the host.
        source: whether it is the source of the move.
        refusal: why there is no free slot; None if there is one.
    """

    name: str
    source: bool
    refusal: str | None


@dataclass(frozen=True, slots=True)
class DataRoute:
    """The network route between the workers of a move.

    Arguments:
        source: the source host.
        destination: the name of the destination host.
        addresses: where the destination would listen, the best first.
    """

    source: End
    destination: str
    addresses: Sequence[str]


@dataclass(frozen=True, slots=True)
class Case:
    """A VM that may move to a host.

    Arguments:
        vm: the proposal of the source, which describes the source too (`vm.host`).
        destination: the destination host.
        plan: the VM as it would be on the destination.
        refusal: why libvirt on the destination refuses the plan's XML; None if it accepts it.
    """

    vm: Proposal
    destination: DestinationSnapshot
    plan: Plan
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Check(Generic[Seen]):
    """One check: a pure function, and the cause of each code that it may return, for docs/checks.md."""

    find: Callable[[Seen], Iterator[Finding]]
    causes: Mapping[Code, str]


def run(checks: tuple[Check[Seen], ...], seen: Seen) -> list[Finding]:
    """Run checks; return blocking findings first, otherwise in the order of the checks."""
    return ordered(finding for check in checks for finding in check.find(seen))
