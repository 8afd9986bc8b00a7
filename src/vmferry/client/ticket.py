"""Send a Kerberos ticket with each request (RFC 4559), bound to the TLS connection."""

import base64
import ssl
from collections.abc import Generator

import httpx2

from vmferry.client.tls import seen
from vmferry.core import codes
from vmferry.core.errors import AccessError, UnreachableError
from vmferry.identity import kerberos

CONNECT = 5.0  # seconds
_SCHEME = "Negotiate "


class Ticket(httpx2.Auth):
    """The Kerberos ticket of this process's user, for one host.

    Only Kerberos proves that the certificate is the host's: the answer to a first request, which contains nothing
    secret, has the proof. Only then is the actual request sent.

    Arguments:
        host: the name of the host in the domain.

    Raises:
        AccessError: ticket-missing, ticket-expired.
        UnreachableError: host-unreachable.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        kerberos.own()
        try:
            certificate, self.fingerprint = seen(host, port, CONNECT)
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or str(error)
            address = f"{host} port {port}"
            raise UnreachableError(codes.HOST_UNREACHABLE, host=host, address=address, why=why) from error
        self._bound = kerberos.binding(certificate)
        self._proven = False

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send the ticket, and verify that the host is the right one."""
        if not self._proven:
            first = httpx2.Request("GET", request.url.copy_with(path="/api/v1/version", query=None))
            self._proven = yield from self._shown(first)
            if not self._proven:
                return  # the caller gets the refusal
        yield from self._shown(request)

    def _shown(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, bool]:
        """Send a request. Return whether the host proved its identity."""
        begun = kerberos.initiate(kerberos.own(), kerberos.API, self._host, self._bound, spnego=True)
        request.headers["Authorization"] = _SCHEME + base64.b64encode(begun.token).decode()
        response = yield request
        shown = [one for one in response.headers.get_list("www-authenticate") if one.startswith(_SCHEME)]
        if shown:
            begun.finish(base64.b64decode(shown[0].removeprefix(_SCHEME)), self._host)
        elif response.is_success:
            raise AccessError(codes.TICKET_REFUSED, host=self._host, why="it did not prove its identity")
        return bool(shown)
