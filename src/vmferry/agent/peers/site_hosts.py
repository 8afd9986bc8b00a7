"""Hosts that this one is not paired with and knows all the same: the site's authority vouches for them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import AccessError, UnreachableError, UsageError
from vmferry.core.hostport import bracketed, host_port
from vmferry.core.redaction import is_secret, redacted
from vmferry.identity import site
from vmferry.identity.origin import SiteHost
from vmferry.identity.peer import PeerClient
from vmferry.identity.site import Certificate, Trust
from vmferry.store.peers import Peer, PeerKind, Peers

PORT = 6601  # where a host is unless something else is said


@dataclass(frozen=True, slots=True)
class SiteHosts:
    """Finds hosts of the site and lets them in. Every method blocks and may raise a VmferryError.

    Arguments:
        clock: gives Unix time.
    """

    config: Config
    peers: Peers
    clock: Callable[[], float] = time.time

    def find(self, place: str) -> Peer:
        """Go to a host that this one is not paired with: it is of the site, or it is refused.

        Arguments:
            place: HOST or HOST:PORT, a name or an address that its certificate has; or the name of one that was met.
        """
        trusted = site.trust(self.config)
        if trusted is None or is_secret(place):  # a token is nothing to ask a name server for
            raise UsageError(codes.HOST_UNKNOWN, host=redacted(place), local=self.config.name)
        met = self.peers.get(place)
        if met is not None:
            try:
                return self._greet(trusted, met.name, met.address, met.port)
            except UnreachableError:
                if met.address == met.name:
                    raise
        name, port = host_port(place, PORT)  # it may have moved
        return self._greet(trusted, name, name, port)

    def _greet(self, trusted: Trust, name: str, address: str, port: int) -> Peer:
        client = PeerClient(self.config, self._peer(trusted, name, address, port, ""))
        client.hello()
        return self._met(trusted, site.check(client.shown, name), address, port)

    def by_fingerprint(self, fingerprint: str) -> Peer | None:
        """Return the paired host that has a certificate; None if there is none."""
        return self.peers.by_fingerprint(fingerprint)

    def admit(self, origin: SiteHost, reach: str) -> Peer:
        """Return the host of the site that calls.

        Arguments:
            reach: where it says that it is reached, ADDRESS:PORT; without an address, where it calls from.
        """
        trusted = site.trust(self.config)
        if trusted is None or trusted.digest != origin.trust:  # changed since the connection was made
            raise AccessError(codes.NOT_PAIRED, host=self.config.name)
        found = site.check(origin.certificate, origin.address)
        here = bracketed(origin.address)
        address, port = host_port(here + reach if reach.startswith(":") else reach or here, PORT)
        return self._met(trusted, found, address, port)

    def _met(self, trusted: Trust, found: Certificate, address: str, port: int) -> Peer:
        site.require_admitted(trusted, found)
        mine = site.installed(self.config)
        if found.name == self.config.name and (mine is None or found.fingerprint != mine.fingerprint):
            raise UsageError(codes.PEER_NAME_TAKEN, local=self.config.name, host=found.name)
        peer = self._peer(trusted, found.name, address, port, found.fingerprint)
        return replace(self.peers.meet(peer, self.config.name), callers=trusted.callers)

    def _peer(self, trusted: Trust, name: str, address: str, port: int, fingerprint: str) -> Peer:
        return Peer(name, address, port, "", fingerprint, trusted.callers, self.clock(), trusted.set_by, PeerKind.SITE)
