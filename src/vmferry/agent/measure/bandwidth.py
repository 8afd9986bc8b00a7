"""The measurement of the way to another host, as vmferryd takes part in it at either end."""

import logging
import secrets
import threading
from dataclasses import dataclass

from vmferry.agent.measure.lock import MeasurementLock
from vmferry.config import Config
from vmferry.core import codes, jobkey
from vmferry.core.errors import UsageError
from vmferry.core.messages.bandwidth import BandwidthOpening, BandwidthRequest, MeasuredRoute
from vmferry.core.messages.offer import Address
from vmferry.core.policy.settings import (
    keeps_to,
    listening,
    require_enabled,
    require_encryption,
    require_network,
    routes_to,
)
from vmferry.identity import certificates, site
from vmferry.identity.peer import PeerClient
from vmferry.net import interfaces
from vmferry.preflight.case import End
from vmferry.store.peers import Peer
from vmferry.store.settings import Settings
from vmferry.transfer.measure import bandwidth
from vmferry.transfer.transport.tls import Credentials

log = logging.getLogger("vmferry.agent")


@dataclass(frozen=True, slots=True)
class Bandwidths:
    """Measures the way to paired hosts, and lets them measure the way here."""

    config: Config
    settings: Settings
    quiet: MeasurementLock
    fingerprint: str

    def open(self, request: BandwidthRequest, peer: Peer) -> BandwidthOpening:
        """Listen for a moment as for a move from that host, and swallow what it sends.

        Raises:
            PreflightError: what forbids a move, or bandwidth-unmeasured: something else uses the network now.
            InternalError: ports-taken.
        """
        config, settings, addresses = self.config, self.settings.host(), interfaces.addresses()
        require_enabled(settings, config.name)
        require_encryption(settings, request.encryption, config.name)
        require_network(settings, addresses, config.name)
        try:
            theirs = certificates.checked(request.certificate)
        except ValueError as error:
            raise UsageError(codes.BAD_REQUEST, detail=f"its certificate cannot be used ({error})") from error
        name, key = secrets.token_hex(6), jobkey.new()
        certificate, private_key = certificates.create(f"{config.name} measurement {name}")
        credentials = Credentials(
            job=name,
            key=key,
            source_fingerprint=peer.fingerprint,
            destination_fingerprint=site.known_as(config, self.fingerprint, peer)[1],
            certificate=certificate,
            private_key=private_key,
            peer_certificate=theirs,
            encryption=request.encryption.value == "required",
            peer=peer.name,
        )
        self.quiet.take(peer.name, config.name)
        try:
            here = listening(settings, addresses, request.networks, config.address)
            sink = bandwidth.Sink(here, config.data_ports, credentials)
        except BaseException:
            self.quiet.give()
            raise
        log.info("%s measures the way to this host", peer.name)
        threading.Thread(target=self._serve, args=(sink,), name="bandwidth", daemon=True).start()
        told = [Address(host=host, port=port) for host, port in sink.addresses]
        return BandwidthOpening(id=name, key=key, certificate=certificate, addresses=told)

    def _serve(self, sink: bandwidth.Sink) -> None:
        try:
            sink.serve(self.quiet)
        finally:
            self.quiet.give()

    def measure(self, end: End, peer: Peer, client: PeerClient) -> MeasuredRoute:
        """Measure the way to a paired host as a move would take it; takes about a second.

        Arguments:
            end: this host, with what the move asks for.

        Raises:
            PreflightError: bandwidth-unmeasured, or what forbids a move.
            VmferryError: the other host, or its data ports, do not answer.
        """
        with self.quiet.kept(end.name, peer.name):
            certificate, private_key = certificates.create(f"{end.name} measurement")
            networks = keeps_to(end.settings, end.addresses)
            request = BandwidthRequest(certificate=certificate, encryption=end.encryption, networks=networks)
            opening = client.measure(request)
            credentials = Credentials(
                job=opening.id,
                key=opening.key,
                source_fingerprint=site.known_as(self.config, self.fingerprint, peer)[1],
                destination_fingerprint=peer.fingerprint,
                certificate=certificate,
                private_key=private_key,
                peer_certificate=opening.certificate,
                encryption=end.encryption.value == "required",
                peer=peer.name,
            )
            theirs = [(address.host, address.port) for address in opening.addresses]
            routes = routes_to(end.settings, end.addresses, theirs, end.name, peer.name)
            return bandwidth.measure(routes, credentials, self.config.connections, self.quiet, end.name)
