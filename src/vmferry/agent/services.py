"""What the API stands on: the interfaces behind which VMs are moved, and one host's parts put together."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vmferry.agent.auditlog.log import AuditLog
from vmferry.config import Config
from vmferry.core.identifiers import VmIdentity
from vmferry.core.messages.api import Outcome, VerdictAnswer
from vmferry.core.messages.bandwidth import BandwidthOpening, BandwidthRequest
from vmferry.core.messages.diagnosis import Facts, FactsRequest, HostReport, Matrix, View
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import (
    Admission,
    Caller,
    Challenge,
    ChallengeRequest,
    Grant,
    Hold,
    MoveOptions,
    Offer,
    Proposal,
    Report,
)
from vmferry.core.messages.probe import ProbeOpening, ProbeRequest
from vmferry.core.messages.signin import CredSspAnswer, CredSspMessage, SignedIn, SignIn
from vmferry.core.messages.use import Surroundings
from vmferry.core.messages.vm import VmDetail, VmSummary
from vmferry.identity.certificates import HostIdentity
from vmferry.identity.kerberos import HostKeys
from vmferry.jobs.requests import WorkerReport
from vmferry.store.admissions import Admissions
from vmferry.store.database import Database
from vmferry.store.invitations import Invitations
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer, Peers
from vmferry.store.settings import Settings
from vmferry.store.tokens import Tokens


class PrecheckService(Protocol):
    """Looks at moves before they begin. Blocks, and may raise any VmferryError."""

    def check(
        self,
        vm: str,
        destination: str,
        options: MoveOptions,
        caller: Caller,
        *,
        predict: bool = False,
        credential: Any = None,
    ) -> Report:
        """Say whether a move would work, and what it would be like; changes nothing."""
        ...


class OutgoingMovesService(Protocol):
    """Moves that leave this host. Every method blocks and may raise any VmferryError.

    The API has checked that the caller may move VMs on this host; the rest is the implementation's.
    """

    def move(
        self,
        vm: str,
        destination: str,
        options: MoveOptions,
        caller: Caller,
        *,
        wait: bool = True,
        credential: Any = None,
    ) -> tuple[str, list[Finding]]:
        """Offer a VM to the destination and have it admitted; gives the id of its job, which runs, and warnings."""
        ...

    def begin(self, job: str) -> bool:
        """Begin a move that waits, if both hosts have a place for it; says whether it waits no more."""
        ...

    def cancel(self, job: str, caller: Caller) -> None:
        """Ask a job to end; raises TOO_LATE after its commit, JOB_ENDED after its end."""
        ...

    def key(self, job: str) -> str:
        """Give a job's key (hex), for the proof that the destination shows when it asks for the verdict."""
        ...

    def verdict(self, job: str) -> VerdictAnswer:
        """Return what becomes of the VM."""
        ...


class IncomingMovesService(Protocol):
    """Moves that come to this host. Every method blocks and may raise any VmferryError.

    The API has checked the peer's certificate, and its callers (offer) or the proof of the job key (others).
    """

    def challenge(self, request: ChallengeRequest, peer: Peer) -> Challenge:
        """Draw what a source is to write beside a VM's disks."""
        ...

    def check(self, vm: Proposal, peer: Peer) -> Report:
        """Say whether and how a VM could come; makes nothing."""
        ...

    def offer(self, offer: Offer, peer: Peer) -> Grant:
        """Say whether and how the VM may come."""
        ...

    def hold(self, job: str) -> Hold:
        """Keep a place for a move that waits, or say why there is none."""
        ...

    def release(self, job: str) -> None:
        """Take a place back that was kept for a move."""
        ...

    def renew(self, job: str, offer: Offer) -> Grant:
        """Look again whether and how the VM may come: time has passed since it was offered."""
        ...

    def admit(self, job: str) -> Admission:
        """Make the disks and start the worker; gives the same answer when it is asked again."""
        ...

    def abort(self, job: str, reason: str, cancelled_by: str = "") -> None:
        """Give the move up; `cancelled_by` names who cancelled it, if anybody did."""
        ...

    def tidy(self) -> None:
        """End what waits here although its source has given it up and could not say so."""
        ...

    def go(self, job: str, *, suspended: bool = False) -> Outcome:
        """Take the VM, which stays suspended if it was: the source has committed; returns how far that came."""
        ...

    def key(self, job: str) -> str:
        """Give a job's key (hex)."""
        ...


class InventoryService(Protocol):
    """The VMs of this host. Every method blocks."""

    def vms(self) -> list[VmSummary]:
        """Give all VMs, by name."""
        ...

    def vm(self, name: str) -> VmDetail:
        """Give one VM; raises VM_UNKNOWN."""
        ...


class DomainsService(Protocol):
    """The VMs of this host, as a job needs them (hypervisor/domains.py). Every method blocks."""

    def presence(self, uuid: str) -> str:
        """Return how a VM stands: running, paused, busy, off or absent."""
        ...

    def resume(self, vm: VmIdentity) -> None:
        """Let a paused VM run."""
        ...

    def destroy(self, vm: VmIdentity) -> None:
        """End a VM's process at once."""
        ...

    def forget(self, vm: VmIdentity) -> tuple[str, bool] | None:
        """Take autostart and definition away; returns both."""
        ...

    def autostart(self, vm: VmIdentity, *, on: bool) -> None:
        """Set whether libvirt starts the VM with the host."""
        ...

    def around(self, paths: list[str], uuid: str) -> Surroundings:
        """Return who uses files besides one VM."""
        ...

    def close(self) -> None:
        """Close the connection to libvirt."""
        ...


class LauncherService(Protocol):
    """Starts transfer processes."""

    def start(self, job: str) -> None:
        """Start the transfer process of a job, unless it runs; blocks until that is under way."""
        ...


class DoctorService(Protocol):
    """Examines hosts. Every method blocks; what is wrong is a finding, not an error."""

    def examine(self) -> HostReport:
        """Say how this host stands."""
        ...

    def diagnose(self, names: Sequence[str], caller: Caller) -> Matrix:
        """Examine this host, paired ones (none named: all), and every way between two; raises HOST_UNKNOWN."""
        ...

    def facts(self, request: FactsRequest) -> Facts:
        """Say what a move to this host would meet."""
        ...

    def view(self, names: Sequence[str]) -> View:
        """Say how this host stands, and how it sees others."""
        ...


class ReachabilityService(Protocol):
    """Lets paired hosts try whether they reach this one."""

    def listen(self, request: ProbeRequest, peer: Peer) -> ProbeOpening:
        """Listen on a data port for two seconds."""
        ...


class SignInService(Protocol):
    """Lets hosts in for users, where the domain vouches for both. Every method blocks and may raise a VmferryError."""

    def take(self, request: SignIn, address: str, bound: bytes) -> SignedIn:
        """Take a sign-in by a connection of that binding."""
        ...

    def require(self, peer: Peer, vm: Proposal, secret: str) -> None:
        """Hold a host to the users for whom it may bring VMs."""
        ...

    def require_recent(self, peer: Peer) -> None:
        """Hold a host that the domain vouches for to a sign-in that still lasts, or to a job that has not ended."""
        ...


class CredSspService(Protocol):
    """Lets hosts in for users by their passwords. Every method blocks and may raise a VmferryError."""

    def step(self, asked: CredSspMessage, address: str, bound: bytes) -> CredSspAnswer:
        """Take one message of a sign-in."""
        ...


class BandwidthService(Protocol):
    """Lets paired hosts measure the way here."""

    def open(self, request: BandwidthRequest, peer: Peer) -> BandwidthOpening:
        """Listen for a moment for one session of bytes."""
        ...


Watch = Callable[[Path, str], AsyncIterator[WorkerReport | None]]
"""watch(run_folder, job): gives what the worker reports until it is gone; None: what says nothing here."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The tables, over one database."""

    jobs: Jobs
    admissions: Admissions
    peers: Peers
    invitations: Invitations
    settings: Settings
    tokens: Tokens
    database: Database


@dataclass(frozen=True, slots=True)
class Services:
    """All that the API needs of this host."""

    config: Config
    identity: HostIdentity
    stores: Stores
    inventory: InventoryService
    preview: PrecheckService
    outgoing: OutgoingMovesService
    incoming: IncomingMovesService
    launcher: LauncherService
    watch: Watch
    doctor: DoctorService
    probes: ReachabilityService
    bandwidths: BandwidthService
    sign_ins: SignInService
    credssp: CredSspService
    keys: HostKeys
    group_sid: Callable[[str], str]
    domains: Callable[[], DomainsService]
    trail: AuditLog
