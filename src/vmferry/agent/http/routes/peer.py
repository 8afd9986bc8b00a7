"""What paired hosts ask of each other: with the paired certificate, and for a job with its key as well."""

from collections.abc import Callable
from typing import Annotated, Any

from anyio import from_thread
from fastapi import APIRouter, Header
from fastapi.routing import APIRoute

import vmferry
from vmferry.agent.http.actions import action
from vmferry.agent.http.auth import IncomingJob, KnownPeer, OutgoingJob, RecentPeer, ThisAgent
from vmferry.agent.peers.connectivity import try_back
from vmferry.core.auditlog.chain import HeadsKept
from vmferry.core.messages.api import AbortRequest, GoRequest, Outcome, PeerHello, ReverseTest, VerdictAnswer
from vmferry.core.messages.bandwidth import BandwidthOpening, BandwidthRequest
from vmferry.core.messages.diagnosis import Facts, FactsRequest, View, ViewRequest
from vmferry.core.messages.offer import Admission, Challenge, ChallengeRequest, Grant, Hold, Offer, Proposal, Report
from vmferry.core.messages.probe import ProbeOpening, ProbeRequest
from vmferry.core.messages.signin import PASS_HEADER
from vmferry.identity.access import require_peer


class PeerRoute(APIRoute):
    """A route whose answer leaves out what has its default, as messages between hosts do (core/message.py)."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options | {"response_model_exclude_defaults": True})


router = APIRouter(prefix="/peer", tags=["peer"], route_class=PeerRoute)
Pass = Annotated[str, Header(alias=PASS_HEADER, max_length=100, description="of the sign-in for the caller")]


@router.get("/hello")
@action("greet")
def greet(peer: KnownPeer, agent: ThisAgent) -> PeerHello:
    """Say who this host is: shows that it answers and that the pairing holds."""
    return PeerHello(name=agent.services.config.name, version=vmferry.__version__)


@router.post("/hello/back")
@action("greet_back", question=True)
def greet_back(peer: RecentPeer, agent: ThisAgent) -> ReverseTest:
    """Ask the host that calls who it is: shows that the way back works too."""
    return try_back(agent.services.config, peer)


@router.post("/unpair", status_code=204)
@action("part")
def part(peer: KnownPeer, agent: ThisAgent) -> None:
    """Forget the host that calls."""
    agent.pairing.left(peer)


@router.post("/challenges")
@action("draw_challenge", question=True)
def draw_challenge(request: ChallengeRequest, peer: RecentPeer, agent: ThisAgent) -> Challenge:
    """Draw what to write beside a VM's disks, so that this host can look whether it sees the same storage."""
    return agent.services.incoming.challenge(request, peer)


@router.post("/checks")
@action("check_offer", question=True)
def check_offer(vm: Proposal, peer: KnownPeer, agent: ThisAgent, secret: Pass = "") -> Report:
    """Say whether and how a VM could come. Nothing is made, and nothing is kept."""
    agent.services.sign_ins.require(peer, vm, secret)
    return agent.services.incoming.check(vm, peer)


@router.post("/probes")
@action("listen_for_peer", question=True)
def listen_for_peer(request: ProbeRequest, peer: RecentPeer, agent: ThisAgent) -> ProbeOpening:
    """Listen on a data port for two seconds, so that the host that asks can try whether it gets through."""
    return agent.services.probes.listen(request, peer)


@router.post("/facts")
@action("tell_facts", question=True)
def tell_facts(request: FactsRequest, peer: RecentPeer, agent: ThisAgent) -> Facts:
    """Say what a move to this host would meet."""
    return agent.services.doctor.facts(request)


@router.post("/views")
@action("tell_view", question=True)
def tell_view(request: ViewRequest, peer: RecentPeer, agent: ThisAgent) -> View:
    """Say how this host stands, and how it sees others."""
    require_peer(agent.services.config, peer, request.caller)
    return agent.services.doctor.view(request.hosts)


@router.post("/bandwidth")
@action("measure_way")
def measure_way(request: BandwidthRequest, peer: RecentPeer, agent: ThisAgent) -> BandwidthOpening:
    """Listen on a data port for some seconds, for bytes by which the calling host measures the way here."""
    return agent.services.bandwidths.open(request, peer)


@router.post("/offers")
@action("offer_vm", carries_head=True)
def offer_vm(offer: Offer, peer: KnownPeer, agent: ThisAgent, secret: Pass = "") -> Grant:
    """Offer a VM; the answer says how it may come. Nothing is made yet."""
    agent.services.sign_ins.require(peer, offer, secret)
    grant = agent.services.incoming.offer(offer, peer)
    return grant.model_copy(update={"audit_head": agent.trail.head()})


@router.get("/audit/heads")
@action("tell_heads")
def tell_heads(peer: KnownPeer, agent: ThisAgent) -> HeadsKept:
    """Tell the host that calls which heads of its own audit log are on record here: it, or its log, may have lied."""
    return HeadsKept(heads=agent.trail.heads(peer.name))


@router.post("/jobs/{job}/hold")
@action("hold_place", question=True)
def hold_place(job: IncomingJob, agent: ThisAgent) -> Hold:
    """Keep a place for a move that waits, for some seconds, or refuse and say when to ask again."""
    return agent.services.incoming.hold(job)


@router.post("/jobs/{job}/release", status_code=204)
@action("release_place", question=True)
def release_place(job: IncomingJob, agent: ThisAgent) -> None:
    """Take back a place that was kept: the source has none."""
    agent.services.incoming.release(job)


@router.post("/jobs/{job}/renew")
@action("renew_offer")
def renew_offer(offer: Offer, job: IncomingJob, agent: ThisAgent) -> Grant:
    """Offer a VM whose move waited as it is now; it comes under the key and for the caller of the first offer."""
    return agent.services.incoming.renew(job, offer)


@router.post("/jobs/{job}/admit")
@action("admit_job")
def admit_job(job: IncomingJob, agent: ThisAgent) -> Admission:
    """Make the disks and start the transfer process; the answer says where it listens."""
    from_thread.run_sync(agent.live.follow, job)
    return agent.services.incoming.admit(job)


@router.post("/jobs/{job}/abort", status_code=204)
@action("abort_job")
def abort_job(request: AbortRequest, job: IncomingJob, agent: ThisAgent) -> None:
    """Give the move up."""
    agent.services.incoming.abort(job, request.reason, request.cancelled_by)


_RUNS = GoRequest()


@router.post("/jobs/{job}/go")
@action("commit_job")
def commit_job(job: IncomingJob, agent: ThisAgent, said: GoRequest = _RUNS) -> Outcome:
    """Take the VM: the source has committed. The answer says how far that came; ask again until it has ended."""
    return agent.services.incoming.go(job, suspended=said.suspended)


@router.get("/jobs/{job}/verdict")
@action("judge_job")
def judge_job(job: OutgoingJob, agent: ThisAgent) -> VerdictAnswer:
    """Say what becomes of the VM of a move that broke."""
    return agent.services.outgoing.verdict(job)
