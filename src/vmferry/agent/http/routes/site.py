"""The site's authority, and this host's certificate of it."""

from typing import Annotated

from fastapi import APIRouter, Depends

from vmferry.agent.http.actions import action
from vmferry.agent.http.auth import Require, ThisAgent, Viewer
from vmferry.core.messages.offer import Caller
from vmferry.core.messages.siteapi import (
    CertificateInstall,
    CertificateNames,
    CertificateRequest,
    HostCertificate,
    TrustAnswer,
    TrustRequest,
)
from vmferry.identity.access import UserRole

router = APIRouter(prefix="/host", tags=["site"])
Administrator = Annotated[Caller, Depends(Require(UserRole.ADMINISTRATOR, "change whom it trusts"))]


@router.get("/trust")
@action("show_trust")
def show_trust(caller: Viewer, agent: ThisAgent) -> TrustAnswer:
    """Show the authorities whose hosts this one knows without pairing."""
    return agent.site.trusted()


@router.put("/trust")
@action("set_trust")
def set_trust(request: TrustRequest, caller: Administrator, agent: ThisAgent) -> TrustAnswer:
    """Trust these authorities, in place of those before."""
    return agent.site.trust(request, caller.name)


@router.delete("/trust", status_code=204)
@action("remove_trust")
def remove_trust(caller: Administrator, agent: ThisAgent) -> None:
    """Trust no authority; paired hosts stay paired."""
    agent.site.distrust(caller.name)


@router.get("/certificate")
@action("show_certificate")
def show_certificate(caller: Viewer, agent: ThisAgent) -> HostCertificate:
    """Show this host's certificate of the site."""
    return agent.site.certificate()


@router.put("/certificate")
@action("install_certificate")
def install_certificate(request: CertificateInstall, caller: Administrator, agent: ThisAgent) -> HostCertificate:
    """Show this certificate to hosts of the site, and to clients that know the host by an authority."""
    return agent.site.install(request.chain, caller.name)


@router.post("/certificate/request")
@action("request_certificate")
def request_certificate(request: CertificateNames, caller: Administrator, agent: ThisAgent) -> CertificateRequest:
    """Make a request (PKCS #10) for a certificate of this host's key."""
    return agent.site.request(request.names)
