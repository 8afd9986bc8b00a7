"""Shows a Kerberos ticket with each request (RFC 4559), bound to the TLS connection."""

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
    """The ticket of who runs this process, for one host.

    Nobody vouches for the host's certificate but Kerberos: a first request that says nothing is answered with a proof
    that the certificate is the host's. Only then the rest is sent.

    Arguments:
        host: the name by which the domain knows it.

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
        """Show the ticket, and see that the host is the right one."""
        if not self._proven:
            first = httpx2.Request("GET", request.url.copy_with(path="/api/v1/version", query=None))
            self._proven = yield from self._shown(first)
            if not self._proven:
                return  # its refusal is all that is told
        yield from self._shown(request)

    def _shown(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, bool]:
        """Send a request; gives whether the host showed who it is."""
        begun = kerberos.initiate(kerberos.own(), kerberos.API, self._host, self._bound, spnego=True)
        request.headers["Authorization"] = _SCHEME + base64.b64encode(begun.token).decode()
        response = yield request
        shown = [one for one in response.headers.get_list("www-authenticate") if one.startswith(_SCHEME)]
        if shown:
            begun.finish(base64.b64decode(shown[0].removeprefix(_SCHEME)), self._host)
        elif response.is_success:
            raise AccessError(codes.TICKET_REFUSED, host=self._host, why="it did not show who it is")
        return bool(shown)
