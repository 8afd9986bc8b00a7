"""How a host calls another of its site: each shows a certificate of the authority that both trust."""

import ssl

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import AccessError, InternalError
from vmferry.core.hostport import bracketed
from vmferry.identity import site
from vmferry.net import tls
from vmferry.store.peers import Peer

REACH_HEADER = "VMFerry-Reach"  # where the calling host is reached: ADDRESS:PORT, or :PORT at where it calls from


class SiteTls:
    """Hosts of one site (see `Bond` in identity/peer.py)."""

    def __init__(self, config: Config, peer: Peer) -> None:
        self._config = config
        self._peer = peer
        self.server_name: str | None = peer.name
        self.headers = {REACH_HEADER: f"{bracketed(config.set_address or '')}:{config.port}"}

    def context(self) -> ssl.SSLContext:
        """Make the TLS context of a call.

        Raises:
            AccessError: this host cannot take part (SITE_UNTRUSTED, SITE_MISSING, SITE_EXPIRED, SITE_NOT_YET_VALID).
        """
        trusted = site.trust(self._config)
        if trusted is None:
            raise AccessError(codes.SITE_UNTRUSTED, local=self._config.name, host=self._peer.name)
        site.own(self._config)
        chain, key = site.chain_file(self._config), self._config.state_folder / "host.key"
        try:
            return site.prepare(tls.client(trusted.authorities), chain, key)
        except OSError as error:
            raise InternalError(codes.INTERNAL, why=f"this host's certificate cannot be used ({error})") from error

    def check(self, shown: bytes, protocol: str | None) -> None:
        """See that the host showed a certificate of a host of the site that has its name."""
        if protocol != site.ALPN:  # it trusts no authority, so that it did not ask for our certificate either
            raise self.stranger()
        site.require_name(site.check(shown, self._peer.name), self._peer.name, self._peer.name)

    def refusal(self, error: ssl.SSLCertVerificationError) -> AccessError:
        """Say why TLS did not accept the host."""
        return site.refusal(error, self._peer.name)

    def stranger(self) -> AccessError:
        """Say that the host did not accept this one's certificate."""
        return AccessError(codes.SITE_REFUSED, host=self._peer.name, local=self._config.name)
