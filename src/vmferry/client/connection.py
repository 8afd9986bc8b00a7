"""The connection to one vmferryd: over its unix socket, or over HTTPS with a token or a ticket; its errors are ours."""

import os
import socket
import ssl
import time
import traceback
from collections.abc import Callable
from typing import Any, Self, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from vmferry.client.ticket import Ticket
from vmferry.client.tls import certified, pinned
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import AccessError, InternalError, UnreachableError, VmferryError
from vmferry.core.hostport import bracketed
from vmferry.core.message import fault, load
from vmferry.core.redaction import redacted_path
from vmferry.net import localsockets, tls

TIMEOUT = httpx2.Timeout(60.0, connect=5.0)  # seconds; a move is answered once the destination has admitted it

Kind = TypeVar("Kind", bound=BaseModel)


class ApiConnection:
    """One vmferryd, over its unix socket or over HTTPS. Every method may raise a VmferryError.

    Arguments:
        transport: carries the requests.
        url: of the daemon.
        address: name of the daemon in errors.
        token: an API token to send.
        auth: other authentication of each request.
    """

    def __init__(
        self,
        transport: httpx2.BaseTransport,
        url: str,
        address: str,
        token: str | None = None,
        auth: httpx2.Auth | None = None,
    ) -> None:
        self._address = address
        self.tell: Callable[[str], None] | None = None  # called with a line for each request that was answered
        self._http = httpx2.Client(
            transport=transport,
            base_url=f"{url}/api/v1",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            auth=auth,
            timeout=TIMEOUT,
            trust_env=False,
        )

    @classmethod
    def local(cls, config: Config) -> Self:
        """Speak to this host's daemon."""
        unused = tls.client()  # spares the search for the system's authorities
        transport = httpx2.HTTPTransport(uds=str(config.socket), verify=unused)
        made = cls(transport, "http://vmferryd", str(config.socket))
        made._http.event_hooks = {"request": [_watch_connect]}
        return made

    @classmethod
    def remote(
        cls,
        address: str,
        port: int,
        fingerprint: str | None = None,
        *,
        authorities: str | None = None,
        token: str | None = None,
    ) -> Self:
        """Return a client of another host's daemon, which sends nothing before the host has proven its identity.

        Arguments:
            fingerprint: SHA-256 (hex) of the only certificate that is accepted.
            authorities: PEM of authorities that may certify the host instead; the certificate must name the address.
            token: an API token.

        Raises:
            AccessError: raised by the methods: the host shows another certificate (SERVER_CERTIFICATE).
            ssl.SSLError: the authorities are not certificates.
        """
        context = pinned(fingerprint) if fingerprint is not None else certified(authorities or "")
        transport = httpx2.HTTPTransport(verify=context)
        return cls(transport, f"https://{bracketed(address)}:{port}", f"{address} port {port}", token)

    @classmethod
    def with_ticket(cls, address: str, port: int) -> Self:
        """Return a client of another host's daemon that uses the Kerberos ticket of this process's user.

        Raises:
            AccessError: ticket-missing, ticket-expired.
            UnreachableError: host-unreachable.
        """
        ticket = Ticket(address, port)
        transport = httpx2.HTTPTransport(verify=pinned(ticket.fingerprint))
        return cls(transport, f"https://{bracketed(address)}:{port}", f"{address} port {port}", auth=ticket)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        began = time.monotonic()
        try:
            response = self._http.request(method, path, json=body)
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error
        self._told(method, path, response, began)
        if response.status_code >= 400:
            raise self._error(response)
        try:
            return load(response.content) if response.content else None
        except ValueError as error:
            raise self._strange(f"with data that cannot be read ({error})") from error

    def _told(self, method: str, path: str, response: httpx2.Response, began: float) -> None:
        if self.tell is not None:
            took = f"{(time.monotonic() - began) * 1000:.0f} ms"
            self.tell(f"{method} {redacted_path(path)} at {self._address}: {response.status_code}, {took}")

    def _ask(self, kind: type[Kind], method: str, path: str, body: Any = None) -> Kind:
        return self._read(kind, self._call(method, path, body))

    def _list(self, kind: type[Kind], method: str, path: str) -> list[Kind]:
        found = self._call(method, path)
        if not isinstance(found, list):
            raise self._strange(f"with something other than a list of {kind.__name__}s")
        return [self._read(kind, one) for one in found]

    def _read(self, kind: type[Kind], value: Any) -> Kind:
        """Return the value in an answer of the daemon.

        Raises:
            InternalError: the answer is not such a value.
        """
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            why = f"{kind.__name__} {fault(error)}"
            raise self._strange(f"with data that cannot be read ({why})") from error

    def _strange(self, what: str) -> InternalError:
        return InternalError(codes.INTERNAL, why=f"{self._address} answered {what}, which vmferryd does not do")

    def _unreachable(self, error: Exception) -> VmferryError:
        cause: BaseException = error
        while cause.__cause__ is not None or cause.__context__ is not None:
            cause = cause.__cause__ or cause.__context__ or cause
        _close_socket(cause)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return AccessError(codes.SERVER_CERTIFICATE, address=self._address, why=cause.verify_message)
        why = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error) or "no answer"
        return UnreachableError(codes.DAEMON_UNREACHABLE, address=self._address, why=why)

    def _error(self, response: httpx2.Response) -> VmferryError:
        try:
            problem = load(response.content)
        except ValueError:
            problem = None
        if not isinstance(problem, dict) or "code" not in problem:
            return self._strange(str(response.status_code))
        return VmferryError.from_problem(problem)


def _watch_connect(request: httpx2.Request) -> None:
    request.extensions["trace"] = _require_vmferryd


def _require_vmferryd(event: str, info: dict[str, Any]) -> None:
    """Require that root or this process's user listens at a unix socket, as soon as the connection exists."""
    if event != "connection.connect_unix_socket.complete":
        return
    stream = info["return_value"]
    try:
        localsockets.require(stream.get_extra_info("socket"), (0, os.geteuid()))
    except OSError as error:
        stream.close()
        raise httpx2.ConnectError(str(error)) from error


def _close_socket(error: BaseException) -> None:
    """Close the socket of a connection that failed. httpcore2 leaves a unix socket to the garbage collector.

    Arguments:
        error: the exception from `connect`; only the frames that it passed know the socket.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for value in frame.f_locals.values():
            if isinstance(value, socket.socket):
                value.close()
