"""API tokens: made, listed and revoked."""

from typing import Annotated

from fastapi import APIRouter, Depends

from vmferry.agent.http import views
from vmferry.agent.http.actions import action
from vmferry.agent.http.auth import Require, ThisAgent
from vmferry.core import codes
from vmferry.core.errors import AccessError
from vmferry.core.messages.api import ApiToken, NewToken, TokenRequest
from vmferry.core.messages.offer import Caller, CallerMethod
from vmferry.core.redaction import token_identifier
from vmferry.identity import tokens
from vmferry.identity.access import UserRole

router = APIRouter(prefix="/tokens", tags=["tokens"])
Administrator = Annotated[Caller, Depends(Require(UserRole.ADMINISTRATOR, "manage its tokens"))]


@router.get("")
@action("list_tokens")
def list_tokens(caller: Administrator, agent: ThisAgent) -> list[ApiToken]:
    """List the tokens; those that have ended, for thirty days."""
    now = agent.services.stores.tokens.clock()
    return [views.token(row, now) for row in agent.services.stores.tokens.all()]


@router.post("", status_code=201)
@action("create_token")
def create_token(request: TokenRequest, caller: Administrator, agent: ThisAgent) -> NewToken:
    """Make a token: shown only here. Not with a token: a stolen one must not outlive its end."""
    config, store = agent.services.config, agent.services.stores.tokens
    if caller.method == CallerMethod.TOKEN:
        raise AccessError(codes.API_TOKEN_BY_TOKEN, host=config.name, caller=caller.name)
    row, word = tokens.issue(store, request.name, UserRole[request.role.upper()], request.expires_in, caller.name)
    made = views.token(row, store.clock())
    return NewToken(
        **made.model_dump(),
        token=word,
        address=config.address,
        port=config.port,
        fingerprint=agent.services.identity.fingerprint,
    )


@router.delete("/{token}", status_code=204)
@action("revoke_token")
def revoke_token(token: str, caller: Administrator, agent: ThisAgent) -> None:
    """End a token, by its identifier or its name, from the next request on.

    A whole token is as good as its identifier, and is not written down.
    """
    agent.services.stores.tokens.revoke(token_identifier(token), caller.name)
