"""The try of the way between two hosts, as vmferryd takes part in it: it listens for others, and asks them to."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import PreflightError, VmferryError
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.probe import ProbeOpening, ProbeRequest
from vmferry.core.policy.settings import keeps_to, listening, require_network, routes_to
from vmferry.identity.peer import PeerClient
from vmferry.net import interfaces
from vmferry.preflight import case, checks
from vmferry.preflight.case import End
from vmferry.preflight.host.reach import Reachability
from vmferry.store.peers import Peer
from vmferry.store.settings import Settings
from vmferry.transfer.measure import reachability

AT_ONCE = 16  # listeners; each has a data port for two seconds

Reacher = Callable[[PeerClient, End, str], list[Finding]]
"""Tries the way to a paired host, as `reach` does."""

log = logging.getLogger("vmferry.agent")


@dataclass(frozen=True, slots=True)
class ReachabilityTests:
    """Listens for paired hosts that want to know whether they reach this one (agent/services.py: Probes)."""

    config: Config
    settings: Settings
    quiet: Callable[[], bool]
    places: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE))

    def listen(self, request: ProbeRequest, peer: Peer) -> ProbeOpening:
        """Listen on a data port for a moment, where a move from that host would.

        Raises:
            PreflightError: migration-network-missing; probe-busy.
            InternalError: ports-taken.
        """
        config, settings, addresses = self.config, self.settings.host(), interfaces.addresses()
        require_network(settings, addresses, config.name)
        if not self.places.acquire(blocking=False):
            raise PreflightError(codes.PROBE_BUSY, host=config.name)
        try:
            here = listening(settings, addresses, request.networks, config.address)
            listener = reachability.Listener(here, config.data_ports)
        except BaseException:
            self.places.release()
            raise
        log.info("%s tries whether it reaches this host", peer.name)
        threading.Thread(target=self._serve, args=(listener,), name="probes", daemon=True).start()
        return listener.opening.model_copy(update={"busy": not self.quiet()})

    def _serve(self, listener: reachability.Listener) -> None:
        try:
            listener.serve()
        finally:
            self.places.release()


def reach(client: PeerClient, end: End, there: str, quiet: Callable[[], bool] = lambda: True) -> list[Finding]:
    """Try the ways that a move to a paired host would take, for two seconds at most.

    Arguments:
        client: of that host.
        end: this one.
        there: that one's name.
        quiet: whether no move runs on this host.
    """
    try:
        opening = client.probe(ProbeRequest(networks=keeps_to(end.settings, end.addresses)))
        theirs = [(address.host, address.port) for address in opening.addresses]
        routes = routes_to(end.settings, end.addresses, theirs, end.name, there)
    except VmferryError as error:
        if error.code.name in (codes.MIGRATION_NETWORK_MISSING.name, codes.MIGRATION_NETWORK_NOT_COMMON.name):
            return []  # there is no way to try, as other checks have found
        why = error.reason.rstrip(".")
        return [Finding.warns(codes.PROBE_UNTRIED, ("", why), host=there, why=why)]
    return case.run(
        checks.OF_REACH, Reachability(end.name, there, reachability.reach(routes, opening), opening.busy or not quiet())
    )
