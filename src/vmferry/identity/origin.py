"""Where a request comes from, as the listener knows it: nothing here is the caller's own word."""

from dataclasses import dataclass

from vmferry.identity.access import UnixUser
from vmferry.identity.kerberos import Accepted


@dataclass(frozen=True, slots=True)
class CertifiedHost:
    """A host that showed one of the paired certificates in the TLS handshake.

    Arguments:
        fingerprint: SHA-256 of the certificate's DER form, hex.
        address: the remote address.
    """

    fingerprint: str
    address: str


@dataclass(frozen=True, slots=True)
class SiteHost:
    """A host that showed a certificate of an authority that this host trusts.

    Arguments:
        certificate: DER; its chain and time are verified, its names and usages are not.
        trust: which trust it was verified by (identity/site.py: Trust.digest).
        address: the remote address.
    """

    certificate: bytes
    trust: str
    address: str


@dataclass(frozen=True, slots=True)
class Stranger:
    """Anybody who reaches the HTTPS port without a certificate.

    Arguments:
        binding: channel binding of the certificate that this host showed.
    """

    address: str
    binding: bytes = b""


@dataclass(frozen=True, slots=True)
class DomainUser:
    """Somebody who showed a Kerberos ticket.

    Arguments:
        ticket: what it says.
        address: the remote address.
    """

    ticket: Accepted
    address: str


@dataclass(frozen=True, slots=True)
class TokenUser:
    """Somebody who showed one of this host's API tokens, seen to be right and in its time (agent/http/gate.py).

    Arguments:
        name: the token's.
        role: the token's.
        address: the remote address.
    """

    name: str
    role: str
    address: str


Origin = UnixUser | CertifiedHost | SiteHost | Stranger | TokenUser | DomainUser
