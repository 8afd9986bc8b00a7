"""Signing in for a user, by hosts that the domain vouches for."""

from fastapi import APIRouter, Request

from vmferry.agent.http.actions import action
from vmferry.agent.http.auth import Anybody, ThisAgent
from vmferry.agent.http.routes.peer import PeerRoute
from vmferry.core.messages.offer import Caller, CallerMethod
from vmferry.core.messages.signin import CredSspAnswer, CredSspMessage, SignedIn, SignIn

router = APIRouter(tags=["peer"], route_class=PeerRoute)


@router.post("/signin")
@action("sign_in")
def sign_in(asked: SignIn, request: Request, origin: Anybody, agent: ThisAgent) -> SignedIn:
    """Say for whom a host acts, by tickets that the domain gave it for this one."""
    answer = agent.services.sign_ins.take(asked, origin.address, origin.binding)
    request.state.caller = Caller(name=answer.caller, host=asked.name, method=CallerMethod.KERBEROS)
    return answer


@router.post("/signin/credssp")
@action("sign_in_with_password")
def sign_in_with_password(asked: CredSspMessage, request: Request, origin: Anybody, agent: ThisAgent) -> CredSspAnswer:
    """Say for whom a host acts, by their password; each request carries one message of CredSSP."""
    answer = agent.services.credssp.step(asked, origin.address, origin.binding)
    if answer.done is not None:
        request.state.caller = Caller(name=answer.done.caller, host=answer.done.name, method=CallerMethod.CREDSSP)
    return answer
