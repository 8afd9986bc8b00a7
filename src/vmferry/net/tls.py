"""The one place where TLS contexts are made: TLS 1.3 and nothing below (RFC 8446).

A context verifies what the other end shows against authorities, or nothing: then whoever uses it must check the
certificate itself before anything is sent.
"""

import ssl
from typing import TypeVar

Context = TypeVar("Context", bound=ssl.SSLContext)


def client(authorities: str | None = None, *, names: bool = True) -> ssl.SSLContext:
    """Make the context of a client.

    Arguments:
        authorities: PEM of the certificates that are trusted; None: nothing is verified, the caller must check what
            the server shows.
        names: whether the server's certificate must have the name under which it is asked for.

    Raises:
        ssl.SSLError: that is no certificate.
    """
    return client_of(ssl.SSLContext, authorities, names=names)


def client_of(kind: type[Context], authorities: str | None = None, *, names: bool = True) -> Context:
    """Make a context of a class of the caller's; arguments as for `client`."""
    made = _begun(kind, ssl.PROTOCOL_TLS_CLIENT)
    if authorities is None:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    else:
        made.check_hostname = names
        _verify(made, authorities)
    return made


def server(authorities: str | None = None) -> ssl.SSLContext:
    """Make the context of a server.

    No session is resumed: it would not be verified anew, and a ticket would lie unread on a connection of one way.

    Arguments:
        authorities: PEM of the certificates by which clients are known, and no others are let in; None: no client is
            asked for one.

    Raises:
        ssl.SSLError: that is no certificate.
    """
    return server_of(ssl.SSLContext, authorities)


def server_of(kind: type[Context], authorities: str | None = None) -> Context:
    """Make a context of a class of the caller's; arguments as for `server`."""
    made = _begun(kind, ssl.PROTOCOL_TLS_SERVER)
    made.num_tickets = 0
    if authorities is not None:
        _verify(made, authorities)
    return made


def _begun(kind: type[Context], protocol: int) -> Context:
    made = kind(protocol)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    return made


def _verify(made: ssl.SSLContext, authorities: str) -> None:
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an authority need not be a root
    if authorities:  # without any, nobody is let in
        made.load_verify_locations(cadata=authorities)
