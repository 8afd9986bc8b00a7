"""The site's authority as vmferryd works with it: trusting it, and this host's certificate of it."""

import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives import hashes, serialization

from vmferry import safefiles
from vmferry.agent.services import Stores
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import AccessError, UsageError
from vmferry.core.messages.siteapi import Authority, CertificateRequest, HostCertificate, TrustAnswer, TrustRequest
from vmferry.identity import certificates, site
from vmferry.identity.certificates import HostIdentity
from vmferry.identity.site import Certificate, Trust
from vmferry.net import tls
from vmferry.store.peers import PeerKind

log = logging.getLogger("vmferry.agent")


class Site:
    """What a host has to do with its site's authority. Every method blocks and may raise a VmferryError.

    Arguments:
        changed: called when other certificates are to be shown or accepted.
        clock: gives Unix time.
    """

    def __init__(
        self,
        config: Config,
        identity: HostIdentity,
        stores: Stores,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._identity = identity
        self._stores = stores
        self._changed = changed
        self._clock = clock

    # --- trust --------------------------------------------------------------------------------------------------

    def trust(self, request: TrustRequest, by: str) -> TrustAnswer:
        """Trust these authorities, in place of those before."""
        found = site.authorities(request.certificates)
        self._must_be_idle()
        plain = "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in found)
        wanted = Trust(
            authorities=plain,
            callers=tuple(request.callers),
            names=tuple(request.names),
            set_at=self._clock(),
            set_by=by,
        )
        site.set_trust(self._config, wanted)
        self._forget()
        self._changed()
        log.info("%s trusts %s", by, ", ".join(one.subject.rfc4514_string() for one in found))
        return self.trusted()

    def distrust(self, by: str) -> None:
        """Trust no authority any more; paired hosts stay paired."""
        self._must_be_idle()
        site.set_trust(self._config, None)
        self._forget()
        self._changed()
        log.info("%s trusts no authority any more", by)

    def _forget(self) -> None:
        """Forget the hosts that were met under another trust; those of this one will be met again."""
        for peer in self._stores.peers.all():
            if peer.kind is PeerKind.SITE:
                self._stores.peers.remove(peer.name)

    def trusted(self) -> TrustAnswer:
        """Say whom this host trusts, and what is still missing."""
        found = site.trust(self._config)
        if found is None:
            return TrustAnswer(authorities=[], callers=[], names=[], set_by=None, notes=[])
        return TrustAnswer(
            authorities=[
                Authority(
                    subject=one.subject.rfc4514_string(),
                    fingerprint=one.fingerprint(hashes.SHA256()).hex(),
                    not_after=one.not_valid_after_utc,
                )
                for one in certificates.parsed_all(found.authorities.encode())
            ],
            callers=list(found.callers),
            names=list(found.names),
            set_by=found.set_by,
            notes=self._missing(found),
        )

    def _missing(self, trusted: Trust) -> list[str]:
        try:
            site.own(self._config)
            self._prove(trusted)
        except AccessError as error:
            return [f"{error.reason} {error.remedy}"]
        return []

    # --- this host's certificate --------------------------------------------------------------------------------

    def request(self, names: Sequence[str]) -> CertificateRequest:
        """Make a request for a certificate of this host's key.

        Arguments:
            names: what it is to name; none: what this host is called.
        """
        wanted = list(dict.fromkeys(names or self._names()))
        return CertificateRequest(request=site.request(self._identity.key_file, wanted), names=wanted)

    def install(self, chain: str, by: str) -> HostCertificate:
        """Show this certificate from now on, to hosts of the site and to clients that know it by an authority."""
        try:
            leaf = certificates.parsed_all(chain.encode("ascii"))[0]
        except ValueError as error:
            raise UsageError(codes.BAD_REQUEST, detail="that is no PEM certificate") from error
        host, encoding = self._config.name, serialization.Encoding.DER
        ours = certificates.parsed(self._identity.certificate.encode())
        if leaf.public_key() != ours.public_key():
            raise AccessError(codes.SITE_KEY, host=host)
        found = site.check(leaf.public_bytes(encoding), host)
        self._must_be_idle()
        trusted = site.trust(self._config)
        if trusted is not None:
            self._prove(trusted, chain)
        safefiles.write(site.chain_file(self._config), chain)
        self._changed()
        log.info("%s installed the certificate %s of %s", by, found.fingerprint, found.issuer)
        return _shown(found)

    def certificate(self) -> HostCertificate:
        """Show this host's certificate of the site.

        Raises:
            AccessError: it has none (SITE_MISSING).
        """
        found = site.installed(self._config)
        if found is None:
            raise AccessError(codes.SITE_MISSING, host=self._config.name)
        return _shown(found)

    def _names(self) -> list[str]:
        names = [socket.getfqdn(self._config.name), self._config.name, self._config.address]
        return [name for name in names if name and not name.startswith("localhost")]

    def _prove(self, trusted: Trust, chain: str | None = None) -> None:
        """See that a certificate would be accepted, by a handshake with ourselves.

        Arguments:
            chain: PEM; None: the installed one.

        Raises:
            AccessError: why not.
        """
        file = site.chain_file(self._config)
        if chain is not None:
            file = file.with_name("site.pem.new")
            safefiles.write(file, chain)
        try:
            client, server = (
                site.prepare(made(trusted.authorities), file, self._identity.key_file)
                for made in (tls.client, tls.server)
            )
            found = certificates.parsed_all(file.read_bytes())[0]
            name = site.check(found.public_bytes(serialization.Encoding.DER), self._config.name).name
            _shake(client, server, name)
        except ssl.SSLCertVerificationError as error:
            raise site.refusal(error, self._config.name) from error
        except ssl.SSLError as error:
            raise AccessError(codes.SITE_ISSUER, host=self._config.name, why=str(error)) from error
        finally:
            if chain is not None:
                file.unlink()

    def _must_be_idle(self) -> None:
        """See that no job is known by what is to be changed: its proofs are bound to the certificates."""
        for row in self._stores.jobs.active():
            peer = self._stores.peers.get(row.peer)
            if peer is not None and peer.kind is PeerKind.SITE:
                raise UsageError(codes.SITE_BUSY, job=row.id, host=peer.name)


def _shown(found: Certificate) -> HostCertificate:
    return HostCertificate(
        name=found.name,
        names=list(found.names),
        fingerprint=found.fingerprint,
        issuer=found.issuer,
        not_before=found.not_before,
        not_after=found.not_after,
    )


def _shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """Let two TLS sides greet each other in memory.

    Raises:
        ssl.SSLError: one does not accept the other.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while sides:
        for side in list(sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            sides.remove(side)
