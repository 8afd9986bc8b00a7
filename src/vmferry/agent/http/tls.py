"""The TLS set-ups of the HTTPS port: for paired hosts, for hosts of the site, and for everybody else."""

import logging
import ssl
import threading
from pathlib import Path

from vmferry.agent.http import clienthello
from vmferry.config import Config
from vmferry.core.messages.api import PINNED
from vmferry.identity import kerberos, site
from vmferry.identity.certificates import HostIdentity
from vmferry.identity.peer import ALPN
from vmferry.net import tls
from vmferry.store.peers import PeerKind, Peers

log = logging.getLogger("vmferry.agent")


class ServerContext(ssl.SSLContext):
    """A context that knows what it shows: the channel binding of its certificate (RFC 5929)."""

    binding: bytes


class SiteContext(ServerContext):
    """A context for hosts of the site, which knows the trust that it was made of."""

    trust: str


class Contexts:
    """Chooses the SSL context for a connection.

    Paired hosts are asked for a certificate, and exactly the paired ones are accepted; hosts of the site for one of its
    authority; nobody else is asked. Everybody else is shown the certificate of the site where there is one, unless the
    server name says that the client knows this host's own.
    """

    def __init__(self, config: Config, identity: HostIdentity, peers: Peers) -> None:
        self._config = config
        self._identity = identity
        self._peers = peers
        self._lock = threading.Lock()
        self._pinned = self._context("http/1.1", identity.certificate_file)
        self.refresh()

    def refresh(self) -> None:
        """Learn who is known now, and by what; must be called when what the site trusts changes. Any thread may."""
        with self._lock:  # so that the last to look is the last to say
            self._seen = self._peers.changes
            self._peer = self._paired()
            self._site = self._vouched()
            self._public = self._shown()

    def choose(self, record: bytes) -> ssl.SSLContext:
        """Give the context for a client that began with this record."""
        if self._seen != self._peers.changes:  # a host of the domain has been met
            self.refresh()
        hello = clienthello.read(record)
        if ALPN in hello.protocols:
            return self._peer
        if site.ALPN in hello.protocols and self._site is not None:
            return self._site
        return self._pinned if hello.server_name == PINNED else self._public

    def _paired(self) -> ssl.SSLContext:
        certificates = "".join(peer.certificate for peer in self._peers.all() if peer.kind is not PeerKind.SITE)
        return self._context(ALPN, self._identity.certificate_file, certificates)

    def _vouched(self) -> ssl.SSLContext | None:
        trusted, chain = site.trust(self._config), site.chain_file(self._config)
        if trusted is None or not chain.exists():
            return None
        try:
            made = site.prepare(tls.server_of(SiteContext, trusted.authorities), chain, self._identity.key_file)
        except OSError as error:
            log.error("hosts of the site cannot be served: %s cannot be used (%s)", chain, error)
            return None
        made.trust = trusted.digest
        return made

    def _shown(self) -> ssl.SSLContext:
        chain = site.chain_file(self._config)
        try:
            return self._context("http/1.1", chain) if chain.exists() else self._pinned
        except OSError as error:
            log.error("%s cannot be used: %s", chain, error)
            return self._pinned

    def _context(self, protocol: str, certificate: Path, clients: str | None = None) -> ServerContext:
        context = tls.server_of(ServerContext, clients)
        context.load_cert_chain(certificate, self._identity.key_file)
        context.binding = kerberos.binding(ssl.PEM_cert_to_DER_cert(_first(certificate.read_text())))
        context.set_alpn_protocols([protocol])
        return context


def _first(chain: str) -> str:
    """Give the first certificate of a PEM file: the one that is shown as the server's own."""
    end = "-----END CERTIFICATE-----"
    return chain[: chain.index(end) + len(end)]
