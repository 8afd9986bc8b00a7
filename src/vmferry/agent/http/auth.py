"""Who is calling, as the routes ask for it: FastAPI dependencies."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request

from vmferry.agent.auditlog.log import AuditLog
from vmferry.agent.http.events import Live
from vmferry.agent.moves.endings import Endings
from vmferry.agent.moves.queue import Queue
from vmferry.agent.moves.resolutions import Resolutions
from vmferry.agent.peers.pairing import Pairing
from vmferry.agent.peers.site import Site
from vmferry.agent.peers.site_hosts import SiteHosts
from vmferry.agent.services import Services
from vmferry.agent.settings import HostControl
from vmferry.core import codes, jobkey
from vmferry.core.errors import AccessError, UsageError
from vmferry.core.job import Role as End
from vmferry.core.messages.offer import Caller, CallerMethod
from vmferry.identity import limits, site
from vmferry.identity.access import UserRole, require
from vmferry.identity.origin import Origin, RolePolicy, Stranger
from vmferry.identity.peer import PROOF_HEADER, PROOF_PURPOSE
from vmferry.identity.vouched import REACH_HEADER
from vmferry.jobs import spec
from vmferry.store.peers import Peer


@dataclass(frozen=True, slots=True)
class Agent:
    """What the routes work with."""

    services: Services
    pairing: Pairing
    control: HostControl
    site: Site
    live: Live
    queue: Queue
    trail: AuditLog
    endings: Endings
    resolutions: Resolutions


def agent(request: Request) -> Agent:
    """Return the parts of this daemon."""
    found: Agent = request.app.state.agent
    return found


ThisAgent = Annotated[Agent, Depends(agent)]


class Require:
    """Requires a role of a person, and returns who they are.

    Arguments:
        action: what they want to do, as in "is not allowed to ...".
    """

    def __init__(self, role: UserRole, action: str) -> None:
        self._role = role
        self._action = action

    def __call__(self, request: Request, agent: ThisAgent) -> Caller:
        """Return who calls, or refuse them (NOT_ALLOWED)."""
        origin: Origin = request.state.origin
        found = origin.login(_policy(agent))
        request.state.caller, request.state.role = found.caller, found.role  # agent/http/audit.py reads them
        require(agent.services.config, found, self._role, self._action)
        return found.caller


def _policy(agent: Agent) -> RolePolicy:
    settings = agent.services.stores.settings
    return RolePolicy(agent.services.config, settings.host(), settings.sids)


class Limits:
    """Holds a person to the VMs and destinations that they are limited to; their role has been checked (Require)."""

    def __init__(self, request: Request, agent: ThisAgent) -> None:
        self._state = request.state
        self._agent = agent
        self._services = agent.services

    def administrator(self, action: str) -> Caller:
        """Require an administrator, and return who it is (NOT_ALLOWED).

        Arguments:
            action: what they want to do, as in "is not allowed to ...".
        """
        caller: Caller = self._state.caller
        if self._state.role is not UserRole.ADMINISTRATOR:
            raise AccessError(
                codes.NOT_ALLOWED,
                caller=caller.name,
                action=action,
                host=self._services.config.name,
                role="administrator",
            )
        return caller

    def require(self, vm: str, destination: str) -> None:
        """Let a move through, or refuse it (OPERATOR_RESTRICTED)."""
        if self._state.role is UserRole.ADMINISTRATOR:
            return
        origin: Origin = self._state.origin
        caller: Caller = self._state.caller
        policy = _policy(self._agent)
        limits.require_allowed(
            policy.settings,
            self._services.config.name,
            caller,
            origin.is_caller(caller, policy),
            vm,
            destination,
            origin.principal(caller, policy),
        )


Limited = Annotated[Limits, Depends(Limits)]


def credential(request: Request) -> Any:
    """Return the credential with which this host may act for the caller; None if they showed no ticket."""
    origin: Origin = request.state.origin
    return origin.credential


Credential = Annotated[Any, Depends(credential)]
Viewer = Annotated[Caller, Depends(Require(UserRole.VIEWER, "see what is on it"))]


_Reach = Annotated[str, Header(alias=REACH_HEADER, max_length=300, description="of hosts of a site: where they are")]


def known(request: Request, agent: ThisAgent, reach: _Reach = "") -> Peer:
    """Return the host that calls; it may have been unpaired since its connection was made."""
    origin: Origin = request.state.origin
    peer = origin.host(SiteHosts(agent.services.config, agent.services.stores.peers), reach)
    if peer is None:
        raise AccessError(codes.NOT_PAIRED, host=agent.services.config.name)
    request.state.caller = Caller(name=peer.name, host=peer.name, method=CallerMethod.CERTIFICATE)
    return peer


def stranger(request: Request, agent: ThisAgent) -> Stranger:
    """Return who calls without a certificate or a name, for the paths that are for them alone."""
    origin: Origin = request.state.origin
    found = origin.stranger()
    if found is None:
        raise AccessError(codes.NOT_AUTHENTICATED, host=agent.services.config.name)
    return found


Anybody = Annotated[Stranger, Depends(stranger)]
KnownPeer = Annotated[Peer, Depends(known)]


def recent(peer: KnownPeer, agent: ThisAgent) -> Peer:
    """Return the host that calls, for what takes no job's key; one of the domain has signed in of late."""
    agent.services.sign_ins.require_recent(peer)
    return peer


RecentPeer = Annotated[Peer, Depends(recent)]
JobId = Annotated[str, Path(pattern=r"^[A-Za-z0-9-]{1,64}$")]
_Proof = Annotated[str, Header(alias=PROOF_HEADER, description="proof of the job key (core/jobkey.py)")]


def incoming_job(job: JobId, peer: KnownPeer, agent: ThisAgent, proof: _Proof = "") -> str:
    """Give a job of which the calling host is the source, once it has shown the job's key."""
    _of(agent, job, peer, End.DESTINATION)
    _prove(agent, agent.services.incoming.key(job), job, (peer.fingerprint, _ours(agent, peer)), proof)
    return job


def outgoing_job(job: JobId, peer: KnownPeer, agent: ThisAgent, proof: _Proof = "") -> str:
    """Give a job of which the calling host is the destination, once it has shown the job's key."""
    _of(agent, job, peer, End.SOURCE)
    _prove(agent, agent.services.outgoing.key(job), job, (_ours(agent, peer), peer.fingerprint), proof)
    return job


def _prove(agent: Agent, key: str, job: str, now: tuple[str, str], proof: str) -> None:
    """Require a proof of the job's key.

    Arguments:
        now: the fingerprints of source and destination as they are known now; those of the job's beginning go before.
    """
    source, destination = spec.ends(agent.services.config.state_folder, job) or now
    if not jobkey.check(key, job, source, destination, PROOF_PURPOSE, proof):
        raise AccessError(codes.JOB_KEY_WRONG, job=job)


def _of(agent: Agent, job: str, peer: Peer, end: End) -> None:
    row = agent.services.stores.jobs.find(job)
    if row is None or row.peer != peer.name or row.role is not end:
        raise UsageError(codes.JOB_UNKNOWN, job=job, host=agent.services.config.name)


def _ours(agent: Agent, peer: Peer) -> str:
    return site.known_as(agent.services.config, agent.services.identity.fingerprint, peer)[1]


IncomingJob = Annotated[str, Depends(incoming_job)]
OutgoingJob = Annotated[str, Depends(outgoing_job)]
