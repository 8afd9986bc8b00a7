"""TLS 1.3 between two workers: each trusts exactly one certificate, the one that came with the offer or the grant."""

import hmac
import os
import ssl
from dataclasses import dataclass, field

from vmferry.core import codes
from vmferry.core.errors import AccessError
from vmferry.net import tls


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one worker shows, and what it wants to see.

    Arguments:
        job: the job's identifier.
        key: the job key, hex.
        source_fingerprint: of the source host's paired certificate, hex.
        destination_fingerprint: of the destination host's paired certificate, hex.
        certificate: PEM; this worker's, for this job.
        private_key: PEM.
        peer_certificate: PEM; the other worker's, for this job.
        encryption: False lets everything cross in the clear; both sides must say so.
        peer: what messages call the other host.
    """

    job: str
    key: str = field(repr=False)
    source_fingerprint: str
    destination_fingerprint: str
    certificate: str
    private_key: str = field(repr=False)
    peer_certificate: str
    encryption: bool = True
    peer: str = "the other host"


def context(credentials: Credentials, *, server: bool) -> ssl.SSLContext:
    """Make the context of one side.

    Raises:
        ssl.SSLError: a certificate or the key is none.
    """
    # The peer's certificate is the trust anchor itself, whether or not it says that it may sign others.
    peer = credentials.peer_certificate
    made = tls.server(peer) if server else tls.client(peer, names=False)
    _load(made, credentials)
    return made


def _load(made: ssl.SSLContext, credentials: Credentials) -> None:
    """Load certificate and key; OpenSSL takes them from a file only, so from one that is nowhere on disk."""
    handle = os.memfd_create("vmferry-key", os.MFD_CLOEXEC)
    try:
        os.write(handle, f"{credentials.certificate}\n{credentials.private_key}\n".encode())
        made.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def check(shown: bytes, credentials: Credentials) -> None:
    """Make sure that the peer showed exactly the certificate that was exchanged.

    Arguments:
        shown: what it showed, DER.
        credentials: what was exchanged.

    Raises:
        AccessError: worker-certificate-wrong.
    """
    if not hmac.compare_digest(shown, ssl.PEM_cert_to_DER_cert(credentials.peer_certificate)):
        raise wrong(credentials)


def wrong(credentials: Credentials) -> AccessError:
    """Make the error of a peer with another certificate."""
    return AccessError(codes.WORKER_CERTIFICATE, host=credentials.peer, job=credentials.job)
