"""The first thing a request meets: what each kind of caller can reach at all, and how much they may send."""

import asyncio
import base64
import binascii
import contextlib
from collections.abc import AsyncIterator, Sequence
from weakref import WeakValueDictionary

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmferry.agent.http import problems
from vmferry.core import codes
from vmferry.core.errors import AccessError, UsageError, VmferryError
from vmferry.core.text import printable
from vmferry.identity import tokens
from vmferry.identity.kerberos import HostKeys
from vmferry.identity.origin import Audience, DomainUser, Origin, Stranger, TokenUser
from vmferry.store.tokens import Tokens

API = "/api/v1"
BODY_LIMIT = 4 << 20  # bytes of a host; an offer holds two XML documents
PERSON_LIMIT = 512 << 10  # bytes; it is read before it is known whether whoever sends it may do anything
STRANGER_LIMIT = 16 << 10
TICKETS_LIMIT = 256 << 10  # two tickets, each with a thousand groups in it
BODY_TIME = 60.0  # seconds for a whole body
STRANGER_TIME = 15.0  # seconds for the whole body of somebody who is not known
BODIES = {
    Audience.PEOPLE: (PERSON_LIMIT, BODY_TIME),
    Audience.HOSTS: (BODY_LIMIT, BODY_TIME),
    Audience.STRANGERS: (STRANGER_LIMIT, STRANGER_TIME),
}
HOST_AT_WORK = 16  # requests of one host that are answered at the same time; the others wait
HOSTS_AT_WORK = 48  # of all hosts; far less than there are threads (agent/http/server.py), so that people are heard
_SAFE = ("GET", "HEAD", "OPTIONS")
_VERSION = ("GET", f"{API}/version")
_HELLO = ("GET", f"{API}/peer/hello")  # asked in the middle of other requests, and answered at once
_PAIRING = ("POST", f"{API}/pairing")
_SIGN_INS = (("POST", f"{API}/signin"), ("POST", f"{API}/signin/credssp"))
_OPEN = (_VERSION, _PAIRING, *_SIGN_INS)
OPEN_PATHS = frozenset(path for _, path in _OPEN)


class Gate:
    """ASGI middleware around everything else, so that no route can be forgotten.

    Arguments:
        tokens: with which strangers may show who they are.
        keys: with which they may show it by Kerberos.
        host: this host's name, for errors.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, keys: HostKeys, host: str) -> None:
        self._app = app
        self._tokens = tokens
        self._keys = keys
        self._host = host
        self._hosts = asyncio.Semaphore(HOSTS_AT_WORK)
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        request = (scope["method"], scope["path"])
        try:
            self._require_same_site(scope)
            origin = scope["state"]["origin"] = await self._known(scope, request)
            self._require(origin, request)
            if origin.proved_by_request:
                scope["state"]["vouch"]()
        except VmferryError as refusal:
            answer = problems.response(refusal)
            if refusal.code.status == 401:
                answer.headers["WWW-Authenticate"] = "Bearer"  # RFC 6750, 3
                answer.headers.append("WWW-Authenticate", "Negotiate")  # RFC 4559, 4
            await answer(scope, receive, send)
            return
        limit, seconds = BODIES[origin.audience]
        if request in _SIGN_INS:
            limit = TICKETS_LIMIT
        if origin.headers:
            send = _answering(send, origin.headers)
        async with self._turn(origin, request):
            # problems.py has logged and answered what went wrong; the framework raises it once more.
            with contextlib.suppress(Exception):
                await self._app(scope, _bounded(receive, limit, seconds), send)

    @contextlib.asynccontextmanager
    async def _turn(self, origin: Origin, request: tuple[str, str]) -> AsyncIterator[None]:
        """Have a host wait while as many of its requests are at work as may be: each takes a thread for some time."""
        if origin.audience is not Audience.HOSTS or request == _HELLO:
            yield
            return
        turn = self._turns.setdefault(origin.share, asyncio.Semaphore(HOST_AT_WORK))
        async with turn, self._hosts:
            yield

    def _require_same_site(self, scope: Scope) -> None:
        """Refuse what a browser sends for a page of another site, with or without a body.

        A browser shows a ticket (RFC 4559) without asking anybody, and sends a form or an empty POST anywhere; it says
        so in headers that no page can change (Fetch Metadata; RFC 6454, 7).

        Raises:
            AccessError: cross-site.
        """
        if scope["method"] in _SAFE:
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value.lower() for name, value in headers if name == "host"]
        for name, value in headers:
            fetched = name == "sec-fetch-site" and value.strip().lower() not in ("same-origin", "none")
            foreign = name == "origin" and value.strip().lower() not in [f"https://{host}" for host in hosts]
            if fetched or foreign:
                raise AccessError(codes.CROSS_SITE, host=self._host, why=f"{name}: {printable(value, 200)}")

    async def _known(self, scope: Scope, request: tuple[str, str]) -> Origin:
        """Return who calls: a stranger who shows a token or a ticket is none any more.

        Raises:
            AccessError: the token is wrong, or has ended.
        """
        origin: Origin = scope["state"]["origin"]
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        stranger = origin.stranger()
        if stranger is None or not shown or request in (_PAIRING, *_SIGN_INS):
            return origin
        scheme, _, word = shown[0].decode("latin-1").partition(" ")
        if scheme.lower() == "negotiate" and len(shown) == 1:
            return await run_in_threadpool(self._ticket, stranger, word.strip())
        if request == _VERSION:
            return origin
        if scheme.lower() != "bearer" or len(shown) > 1:
            raise AccessError(codes.API_TOKEN_WRONG, host=self._host)
        row = await run_in_threadpool(tokens.proved, self._tokens, word.strip(), self._host)
        scope["state"]["caller"] = tokens.caller(row.name, self._host)  # for the audit, if it has ended
        tokens.alive(row, self._tokens.clock(), self._host)
        return TokenUser(row.name, row.role, origin.address)

    def _ticket(self, stranger: Stranger, word: str) -> DomainUser:
        """Accept a ticket (RFC 4559).

        Raises:
            AccessError: it is not accepted.
        """
        try:
            token = base64.b64decode(word, validate=True)
        except binascii.Error as error:
            raise AccessError(codes.TICKET_REFUSED, host=self._host, why="it is not base64") from error
        return DomainUser(self._keys.accept(token, stranger.binding, acting=True), stranger.address)

    def _require(self, origin: Origin, request: tuple[str, str]) -> None:
        """Require that this caller can reach that path.

        Raises:
            AccessError: they cannot.
        """
        for_hosts = request[1].startswith(f"{API}/peer/")
        match origin.audience:
            case Audience.PEOPLE if not for_hosts and request not in (_PAIRING, *_SIGN_INS):
                return
            case Audience.HOSTS if for_hosts:
                return
            case Audience.STRANGERS if request in _OPEN:
                return
        raise AccessError(codes.NOT_PAIRED if for_hosts else codes.NOT_AUTHENTICATED, host=self._host)


def _answering(send: Send, headers: Sequence[tuple[bytes, bytes]]) -> Send:
    """Add headers to a response."""

    async def answering(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *headers]}
        await send(message)

    return answering


def _bounded(receive: Receive, limit: int, seconds: float) -> Receive:
    """Hold a body to a size, and all of it to a time: no part of it wins any."""
    left = limit
    reading = True
    until = asyncio.get_running_loop().time() + seconds

    async def bounded() -> Message:
        nonlocal left, reading
        if not reading:  # the application waits for the caller to go away
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), until - asyncio.get_running_loop().time())
        except TimeoutError as error:
            raise UsageError(codes.BAD_REQUEST, detail="the body did not arrive in time") from error
        left -= len(message.get("body", b""))
        if left < 0:
            raise UsageError(codes.BAD_REQUEST, detail=f"the body is longer than {limit} bytes")
        reading = bool(message.get("more_body", False))
        return message

    return bounded
