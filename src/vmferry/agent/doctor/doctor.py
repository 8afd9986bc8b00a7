"""`vmferry doctor` as vmferryd does it: looks at this host, meets others, and asks them how they see the rest."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from vmferry.agent.doctor.facts import HostFacts, paired
from vmferry.agent.measure import reachability
from vmferry.agent.measure.reachability import Reacher
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import UnreachableError, UsageError, VmferryError
from vmferry.core.messages.diagnosis import (
    HOSTS,
    Facts,
    FactsRequest,
    HostReport,
    Matrix,
    PairReport,
    View,
    ViewRequest,
)
from vmferry.core.messages.finding import Finding, ordered
from vmferry.core.messages.offer import Caller
from vmferry.core.messages.snapshot import HostSnapshot, version
from vmferry.core.options import Encryption
from vmferry.core.policy.settings import keeps_to, listening
from vmferry.identity.peer import PeerClient
from vmferry.net import interfaces
from vmferry.preflight import case, checks
from vmferry.preflight.case import DataRoute, End
from vmferry.preflight.doctor.health import Meeting
from vmferry.preflight.host.compatibility import Pair
from vmferry.store.peers import Peer, Peers
from vmferry.store.settings import Settings

AT_ONCE = 16  # hosts that are asked at the same time


@dataclass(frozen=True, slots=True)
class Doctor:
    """Examines this host and those that it is paired with (agent/services.py: Doctor). Every method blocks."""

    config: Config
    peers: Peers
    settings: Settings
    look: HostFacts
    client: Callable[[Config, Peer], PeerClient] = PeerClient
    reach: Reacher = reachability.reach

    def examine(self) -> HostReport:
        """Say how this host stands."""
        health = self.look.health()
        host = health.host
        return HostReport(
            name=health.name,
            vmferry=host.vmferry if host else "",
            libvirt=version(host.libvirt) if host else "",
            qemu=version(host.qemu) if host else "",
            migration=health.settings.migration,
            findings=case.run(checks.OF_HEALTH, health),
            untold=list(health.unchecked),
        )

    def facts(self, request: FactsRequest) -> Facts:
        """Say what a move to this host would meet.

        Raises:
            UnreachableError: libvirt-unreachable.
        """
        host = self.look.host()  # first: it takes longest, and the clock in it is to be read when it is sent
        end = self._end(source=False)
        local = listening(end.settings, end.addresses, request.networks, self.config.address)
        return Facts(
            host=host.model_copy(update={"clock": time.time(), "cpu": ""}),
            encryption=end.settings.encryption,
            addresses=[one.address for one in local],
            findings=case.run(checks.OF_HOST, end),
        )

    def view(self, names: Sequence[str]) -> View:
        """Say how this host stands, and how it sees others."""
        with _pool() as pool:
            report = pool.submit(self.examine)
            mine = pool.submit(self._mine)  # libvirt takes its time: it is asked once for all pairs
            pairs = list(pool.map(lambda name: self.meet(name, mine.result), names))
            return View(report=report.result(), pairs=pairs)

    def diagnose(self, names: Sequence[str], caller: Caller) -> Matrix:
        """Examine this host, others, and every way between two of them.

        Arguments:
            names: of paired hosts; none: all of them.
            caller: for whom: each host decides whether to answer them.

        Raises:
            UsageError: host-unknown.
        """
        here = self.config.name
        others = [name for name in dict.fromkeys(names) if name != here]
        chosen = [self._known(name) for name in others] if names else self.peers.all()[:HOSTS]
        every = [here, *(peer.name for peer in chosen)]
        with _pool() as pool:
            own = pool.submit(self.view, every[1:])
            asked = list(pool.map(lambda peer: self._ask(peer, every, caller), chosen))
            views = [own.result(), *asked]
        return Matrix(hosts=[view.report for view in views], pairs=[pair for view in views for pair in view.pairs])

    def meet(self, name: str, mine: Callable[[], HostSnapshot | None]) -> PairReport:
        """Say how a move to another host would fare, as far as this one can see.

        Arguments:
            mine: gives what this host says of itself; None: its libvirt does not answer, and its own report says so.
        """
        here = self.config.name
        peer = self.peers.get(name)
        if peer is None:
            seen = ("not paired", "")
            unknown = Finding.blocks(codes.HOST_UNKNOWN, seen, host=name, local=here)
            return PairReport(source=here, destination=name, findings=[unknown])
        end = self._end(source=True)
        trouble, facts, now = self._ask_facts(peer, end)
        findings = case.run(
            checks.OF_MEETING,
            Meeting(
                source=here,
                destination=name,
                settings=end.settings,
                mine=self.look.certificate(),
                certificate=paired(peer.certificate),
                now=datetime.fromtimestamp(now, UTC),
                trouble=trouble,
                facts=facts,
            ),
        )
        findings += case.run(checks.OF_HOST, end)
        if facts is not None:
            own = mine()
            if own is not None:
                own = own.model_copy(update={"clock": now})
                findings += case.run(checks.OF_PAIR, Pair(here, own, name, facts.host))
            if codes.MIGRATION_NETWORK_MISSING.name not in [finding.code for finding in findings]:
                findings += case.run(checks.OF_ROUTE, DataRoute(end, name, facts.addresses))
            findings += self.reach(self.client(self.config, peer), end, name)
        return PairReport(source=here, destination=name, findings=ordered(findings))

    # --- parts --------------------------------------------------------------------------------------------------

    def _end(self, *, source: bool) -> End:
        settings = self.settings.host()
        return End(self.config.name, settings, interfaces.addresses(), Encryption.REQUIRED, source)

    def _known(self, name: str) -> Peer:
        peer = self.peers.get(name)
        if peer is None:
            raise UsageError(codes.HOST_UNKNOWN, host=name, local=self.config.name)
        return peer

    def _ask_facts(self, peer: Peer, end: End) -> tuple[Finding | None, Facts | None, float]:
        """Ask a host for its facts; gives what stands in the way, or them, and when it was asked for the time."""
        began = time.time()
        try:
            facts = self.client(self.config, peer).facts(FactsRequest(networks=keeps_to(end.settings, end.addresses)))
        except VmferryError as error:
            return Finding.blocks(error.code, ("", error.reason), **error.fields), None, began
        # The clock is read just before the answer is sent, however long it was in the making.
        return None, facts, time.time()

    def _mine(self) -> HostSnapshot | None:
        try:
            return self.look.host()
        except UnreachableError:
            return None

    def _ask(self, peer: Peer, every: Sequence[str], caller: Caller) -> View:
        """Have a host examine itself and the others; what it does not say is found missing."""
        others = [name for name in every if name != peer.name]
        try:
            view = self.client(self.config, peer).view(ViewRequest(hosts=others, caller=caller))
        except VmferryError as error:
            finding = Finding.blocks(error.code, (error.reason, ""), **error.fields)
            return View(report=_silent(peer.name, finding), pairs=self._unknown(peer.name, others, error.reason))
        said = {pair.destination: pair for pair in view.pairs if pair.source == peer.name}
        unsaid = self._unknown(peer.name, [name for name in others if name not in said], "it did not say")
        report = view.report.model_copy(update={"name": peer.name})
        return View(report=report, pairs=[said[name] for name in others if name in said] + unsaid)

    def _unknown(self, source: str, names: Sequence[str], why: str) -> list[PairReport]:
        why = why.rstrip(".")
        return [
            PairReport(
                source=source,
                destination=name,
                findings=[Finding.blocks(codes.VIEW_UNKNOWN, (why, ""), source=source, host=name, why=why)],
            )
            for name in names
        ]


def _silent(name: str, finding: Finding) -> HostReport:
    return HostReport(name=name, vmferry="", libvirt="", qemu="", migration=None, findings=[finding], untold=[])


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="doctor")
