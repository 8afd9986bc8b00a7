"""The two TLS set-ups of the HTTPS port: one for paired hosts, one for everybody else."""

import ssl
import threading

from vmferry.agent import clienthello
from vmferry.identity.certificates import Identity
from vmferry.identity.peer import ALPN
from vmferry.store.peers import Peers


class Contexts:
    """Chooses the SSL context for a connection.

    Paired hosts are asked for a certificate, and exactly the paired ones are accepted; nobody else is asked.
    """

    def __init__(self, identity: Identity, peers: Peers) -> None:
        self._identity = identity
        self._peers = peers
        self._lock = threading.Lock()
        self.public = self._context("http/1.1")
        self.refresh()

    def refresh(self) -> None:
        """Learn who is paired now; must be called whenever that changes. Any thread may."""
        context = self._context(ALPN)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        with self._lock:  # so that the last to look is the last to say
            certificates = "".join(peer.certificate for peer in self._peers.all())
            if certificates:
                context.load_verify_locations(cadata=certificates)
            self._peer = context

    def choose(self, record: bytes) -> ssl.SSLContext:
        """Give the context for a client that began with this record."""
        return self._peer if ALPN in clienthello.protocols(record) else self.public

    def _context(self, protocol: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self._identity.certificate_file, self._identity.key_file)
        context.set_alpn_protocols([protocol])
        context.num_tickets = 0  # a resumed session would not be checked against the pairings of today
        return context
