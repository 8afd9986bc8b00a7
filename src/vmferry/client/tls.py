"""How a client makes sure that it speaks to the right host, before it shows a token there."""

import hashlib
import hmac
import socket
import ssl
from typing import Any

from vmferry.core.messages.api import PINNED
from vmferry.net import tls


class _Pinned(ssl.SSLContext):
    """Accepts one certificate; it is compared before anything is sent."""

    fingerprint: str

    def wrap_socket(self, sock: socket.socket, *rest: Any, **more: Any) -> ssl.SSLSocket:
        """Connect, and look at the certificate.

        Raises:
            ssl.SSLCertVerificationError: it is another one.
        """
        # The server name asks for the host's own certificate, where it has one of a site's authority besides.
        made = super().wrap_socket(sock, *rest, **more | {"server_hostname": PINNED})
        shown = hashlib.sha256(made.getpeercert(binary_form=True) or b"").hexdigest()
        if not hmac.compare_digest(shown, self.fingerprint):
            made.close()
            error = ssl.SSLCertVerificationError("another certificate")
            error.verify_message = f"its SHA-256 is {shown}"
            raise error
        return made


def pinned(fingerprint: str) -> ssl.SSLContext:
    """Accept one certificate, whoever signed it and whatever it says.

    Arguments:
        fingerprint: SHA-256 of the certificate's DER form, hex.
    """
    made = tls.client_of(_Pinned)
    made.fingerprint = fingerprint.lower()
    return made


def certified(authorities: str) -> ssl.SSLContext:
    """Accept certificates of these authorities that name the address and allow to serve.

    Arguments:
        authorities: PEM.

    Raises:
        ssl.SSLError: that is no certificate.
    """
    return tls.client(authorities)


def seen(host: str, port: int, seconds: float) -> tuple[bytes, str]:
    """Look at a host's own certificate, whatever it is.

    Arguments:
        seconds: for the connection.

    Returns:
        Its DER form, and the SHA-256 of that in hex.

    Raises:
        OSError: the host does not answer, or not by TLS.
    """
    with (
        socket.create_connection((host, port), seconds) as plain,
        tls.client().wrap_socket(plain, server_hostname=PINNED) as secure,
    ):
        shown = secure.getpeercert(binary_form=True) or b""
    return shown, hashlib.sha256(shown).hexdigest()
