"""The one HTTP client that speaks to other hosts' daemons: JSON over one TLS connection."""

import http.client
import json
import ssl
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Self

from vmferry.core import codes
from vmferry.core.errors import UnreachableError, VmferryError
from vmferry.core.message import load
from vmferry.net.deadline import deadline
from vmferry.net.dial import dial

CONNECT_TIMEOUT = 5.0  # seconds
READ_TIMEOUT = 15.0
LARGEST = 4 << 20  # bytes of an answer
FAILURES = (OSError, http.client.HTTPException, ValueError)  # what comes of a connection that does not work


class ClosedError(ConnectionError):
    """The host took the connection and closed it without an answer."""


class HostConnection:
    """One connection to another host's daemon. Not thread-safe.

    Arguments:
        context: for TLS; what it does not verify, the caller must check in `certificate` before the first request.
        server_name: what to ask for in the TLS handshake (RFC 6066, 3).
        timeout: seconds to wait for each part of an answer.
        largest: bytes of an answer.

    Raises:
        OSError: no connection; ssl.SSLCertVerificationError: TLS does not accept the host.
    """

    def __init__(
        self,
        address: str,
        port: int,
        context: ssl.SSLContext,
        server_name: str | None,
        *,
        timeout: float = READ_TIMEOUT,
        largest: int = LARGEST,
    ) -> None:
        self._largest = largest
        plain = dial(address, port, CONNECT_TIMEOUT)
        try:
            self.socket = context.wrap_socket(plain, server_hostname=server_name)
        except BaseException:
            plain.close()
            raise
        self.socket.settimeout(timeout)
        self._http = http.client.HTTPConnection(address, port)
        self._http.sock = self.socket
        self._http.auto_open = 0  # it would connect anew, without TLS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def certificate(self) -> bytes:
        """The certificate that the host showed, DER; empty if it showed none."""
        return self.socket.getpeercert(binary_form=True) or b""

    @property
    def protocol(self) -> str | None:
        """The protocol that both agreed on (ALPN, RFC 7301)."""
        return self.socket.selected_alpn_protocol()

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, Any]:
        """Ask, and return the answer's JSON object; an empty one if it has no body.

        Arguments:
            path: below /api/v1.
            body: a JSON value; None: no body.

        Raises:
            VmferryError: what the host answered.
            ClosedError: the host closed the connection in place of an answer.
            OSError, http.client.HTTPException, ValueError: no answer, or one that cannot be read (FAILURES).
        """
        data = None if body is None else json.dumps(body).encode()
        with deadline(self.socket):
            try:
                self._http.request(method, f"/api/v1{path}", data, {"Content-Type": "application/json", **headers})
                response = self._http.getresponse()
            except (ConnectionError, ssl.SSLError) as error:
                raise ClosedError("it closed the connection without an answer") from error
            text = response.read(self._largest + 1)
        if len(text) > self._largest:
            raise ValueError("its answer is too long")
        answer = load(text) if text else {}
        if not isinstance(answer, dict):
            raise ValueError("its answer is not an object")
        if response.status >= 400:
            raise VmferryError.from_problem(answer)
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._http.close()
        self.socket.close()


def unreachable(host: str, address: str, port: int, error: Exception) -> UnreachableError:
    """Return what an error of a connection means (HOST_UNREACHABLE).

    Arguments:
        host: what to call the host.
        error: one of FAILURES.
    """
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, TimeoutError):
        why = "no answer in time"
    return UnreachableError(codes.HOST_UNREACHABLE, host=host, address=f"{address} port {port}", why=why)
