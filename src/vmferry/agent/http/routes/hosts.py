"""The host itself, and the hosts that it is paired with."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

import vmferry
from vmferry.agent.http import views
from vmferry.agent.http.actions import action
from vmferry.agent.http.auth import Anybody, Require, ThisAgent, Viewer
from vmferry.agent.peers.connectivity import try_pair
from vmferry.agent.peers.site_hosts import SiteHosts
from vmferry.core.messages.api import (
    Host,
    Invitation,
    InvitationRequest,
    PairedHost,
    PairingAnswer,
    PairingRequest,
    PairRequest,
    PairTest,
    Version,
)
from vmferry.core.messages.offer import Caller
from vmferry.core.options import Performance
from vmferry.core.policy.settings import BUILT
from vmferry.identity.access import UserRole
from vmferry.store.peers import PeerKind

router = APIRouter(tags=["hosts"])
Tester = Annotated[Caller, Depends(Require(UserRole.OPERATOR, "try its ways to other hosts"))]
Force = Annotated[bool, Query(description="ending what has not ended, whatever the other host does")]
Pairer = Annotated[Caller, Depends(Require(UserRole.ADMINISTRATOR, "pair hosts"))]


@router.get("/version")
@action("show_version")
def show_version() -> Version:
    """Say what answers here. Open to strangers."""
    return Version()


@router.get("/host")
@action("show_host")
def show_host(caller: Viewer, agent: ThisAgent) -> Host:
    """Show this host."""
    config = agent.services.config
    settings = agent.services.stores.settings.host()
    return Host(
        name=config.name,
        version=vmferry.__version__,
        fingerprint=agent.services.identity.fingerprint,
        address=config.address,
        port=config.port,
        encryption=settings.encryption,
        authentication=settings.authentication,
        performance=[option for option in Performance if option in BUILT],
        settings=settings,
        disk_folders=[str(folder) for folder in config.disk_folders],
    )


@router.get("/hosts")
@action("list_hosts")
def list_hosts(caller: Viewer, agent: ThisAgent) -> list[PairedHost]:
    """List the hosts that this one is paired with."""
    return [views.peer(peer) for peer in agent.services.stores.peers.all()]


@router.post("/hosts", status_code=201)
@action("pair_host")
def pair_host(request: PairRequest, caller: Pairer, agent: ThisAgent, response: Response) -> PairedHost:
    """Pair with the host that made a token."""
    peer = agent.pairing.join(request.token, request.address, request.callers, caller.name)
    response.headers["Location"] = f"/api/v1/hosts/{peer.name}"
    return views.peer(peer)


@router.delete("/hosts/{name}", status_code=204)
@action("unpair_host")
def unpair_host(name: str, caller: Pairer, agent: ThisAgent, force: Force = False) -> None:
    """Forget a paired host, and tell it if it answers.

    With `force`, jobs with it that have not ended are ended first, whatever it does.
    """
    if force:
        agent.endings.force_all(name, caller)
    agent.pairing.leave(name, caller.name, force=force)


@router.post("/hosts/{name}/test")
@action("try_host")
def try_host(name: str, caller: Tester, agent: ThisAgent) -> PairTest:
    """Try whether a host that is paired, or of the site, answers and accepts this one, and the other way about."""
    config, peers = agent.services.config, agent.services.stores.peers
    peer = peers.get(name)
    if peer is None or peer.kind is PeerKind.SITE:
        peer = SiteHosts(config, peers).find(name)
    return try_pair(config, peer)


@router.post("/pairing/invitations", status_code=201)
@action("invite_host")
def invite_host(request: InvitationRequest, caller: Pairer, agent: ThisAgent) -> Invitation:
    """Make a pairing token: good once, for ten minutes, and shown only here."""
    return agent.pairing.invite(request.callers, caller.name)


@router.post("/pairing")
@action("accept_host")
def accept_host(body: PairingRequest, origin: Anybody, agent: ThisAgent) -> PairingAnswer:
    """Redeem a pairing token. Open to strangers: the secret is what admits them."""
    return agent.pairing.accept(body, origin.address)
