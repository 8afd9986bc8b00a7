"""The first thing a request meets: what each kind of caller can reach at all, and how much she may send."""

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmferry.agent import problems
from vmferry.agent.origin import CertifiedHost, Origin, Stranger
from vmferry.core import codes
from vmferry.core.errors import AccessError, UsageError, VmferryError
from vmferry.identity.access import UnixUser

API = "/api/v1"
BODY_LIMIT = 4 << 20  # bytes; an offer holds two XML documents
STRANGER_LIMIT = 16 << 10
BODY_TIME = 15.0  # seconds between two parts of a body
_VERSION = ("GET", f"{API}/version")
_PAIRING = ("POST", f"{API}/pairing")


class Gate:
    """ASGI middleware around everything else, so that no route can be forgotten.

    Arguments:
        host: this host's name, for errors.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        origin: Origin = scope["state"]["origin"]
        refusal = self._refusal(origin, (scope["method"], scope["path"]))
        if refusal is not None:
            await problems.response(refusal)(scope, receive, send)
            return
        limit = STRANGER_LIMIT if isinstance(origin, Stranger) else BODY_LIMIT
        # problems.py has logged and answered what went wrong; the framework raises it once more.
        with contextlib.suppress(Exception):
            await self._app(scope, _bounded(receive, limit), send)

    def _refusal(self, origin: Origin, request: tuple[str, str]) -> VmferryError | None:
        """Say why this caller cannot come to that path; None where she can."""
        for_hosts = request[1].startswith(f"{API}/peer/")
        match origin:
            case UnixUser() if not for_hosts and request != _PAIRING:
                return None
            case CertifiedHost() if for_hosts:
                return None
            case Stranger() if request in (_VERSION, _PAIRING):
                return None
        return AccessError(codes.NOT_PAIRED if for_hosts else codes.NOT_AUTHENTICATED, host=self._host)


def _bounded(receive: Receive, limit: int) -> Receive:
    """Hold a body to a size, and to coming at all."""
    left = limit
    reading = True

    async def bounded() -> Message:
        nonlocal left, reading
        if not reading:  # the application waits for the caller to go away
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), BODY_TIME)
        except TimeoutError as error:
            raise UsageError(codes.BAD_REQUEST, detail="the body did not arrive in time") from error
        left -= len(message.get("body", b""))
        if left < 0:
            raise UsageError(codes.BAD_REQUEST, detail=f"the body is longer than {limit} bytes")
        reading = bool(message.get("more_body", False))
        return message

    return bounded
