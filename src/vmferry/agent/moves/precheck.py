"""Looks at a move before it begins: where it goes, what both hosts' checks say, what it would be like."""

import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from vmferry.agent.measure import reachability
from vmferry.agent.measure.reachability import Reacher
from vmferry.agent.moves import nonces
from vmferry.agent.moves.prediction import Forecasts
from vmferry.agent.peers.outgoing_signin import Enter, Entry
from vmferry.config import Config
from vmferry.core import codes, identifiers
from vmferry.core.errors import UsageError, VmferryError
from vmferry.core.libvirt import domainxml
from vmferry.core.messages.finding import Finding, ordered, require_none
from vmferry.core.messages.offer import Artifact, ArtifactPlan, Caller, MoveOptions, Proposal, Report
from vmferry.core.messages.vm import VmSnapshot
from vmferry.core.policy.settings import keeps_to, require_built
from vmferry.hypervisor.inventory import Inventory
from vmferry.hypervisor.snapshot import Snapshots
from vmferry.identity import site
from vmferry.identity.peer import PeerClient
from vmferry.net import interfaces
from vmferry.preflight import case, checks
from vmferry.preflight.case import DataRoute, End, FreeSlot
from vmferry.preflight.vm.sharing import Leaving
from vmferry.store.admissions import Admissions
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer, PeerKind, Peers
from vmferry.store.settings import Settings


@dataclass(frozen=True, slots=True)
class Precheck:
    """Looks at moves of this host's VMs to other hosts (agent/services.py: Preview).

    Arguments:
        find: goes to a host that this one is not paired with (agent/peers/site_hosts.py).
        sign_in: signs in there for a user (agent/peers/outgoing_signin.py).
    """

    config: Config
    jobs: Jobs
    admissions: Admissions
    peers: Peers
    settings: Settings
    inventory: Inventory
    snapshots: Snapshots
    fingerprint: str
    forecasts: Forecasts
    client: Callable[[Config, Peer], PeerClient] = PeerClient
    find: Callable[[str], Peer] | None = None
    sign_in: Enter | None = None
    reach: Reacher = reachability.reach

    def check(
        self,
        vm: str,
        destination: str,
        options: MoveOptions,
        caller: Caller,
        *,
        predict: bool = False,
        credential: Any = None,
    ) -> Report:
        """Say whether a move would work, and how the VM would be there; nothing is changed on either host.

        Arguments:
            predict: also say what the move would be like; what needs that is always foretold.
            credential: with which this host may act for the caller; None: they showed no ticket.

        Raises:
            VmferryError: the request is wrong, or a host does not answer.
        """
        began = time.time()
        entry = self.enter(vm, destination, options, caller, credential)
        peer = entry.peer
        end, found, findings = self.look(vm, options)
        limits = end.settings.limits
        refusal = self.admissions.refusal("", storage=options.include_storage, limits=limits)
        findings += case.run(checks.OF_SLOT, FreeSlot(self.config.name, source=True, refusal=refusal))
        record = nonces.records(self.config.state_folder) / secrets.token_hex(6)
        client = self.client(self.config, peer)
        disks = self.marked(found, record.name, options, client)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reach") as pool:
            reached = pool.submit(self.reach, client, end, peer.name)  # takes its two seconds beside the other checks
            try:
                report = client.check(self.proposal(found, disks, options, end, peer, entry.caller), entry.secret)
            finally:
                nonces.remove(disks, record)
        findings += report.findings + self.leaving(found, report.disks, options, peer.name)
        if codes.MIGRATION_NETWORK_MISSING.name not in [finding.code for finding in findings]:
            findings += case.run(checks.OF_ROUTE, DataRoute(end, peer.name, report.addresses)) + reached.result()
        report = report.model_copy(update={"findings": ordered(findings)})
        if predict or options.needs_prediction:
            return self.forecasts.add(report, found, end, peer, client, options, began)
        return report

    def enter(self, vm: str, destination: str, options: MoveOptions, caller: Caller, credential: Any) -> Entry:
        """Find the destination, and sign in there for the caller where that is how hosts trust each other.

        Raises:
            VmferryError: it is unknown, does not answer, or does not let them in.
        """
        if destination == self.config.name:
            raise UsageError(codes.SAME_HOST, vm=vm, host=destination)
        entry = self.sign_in(destination, options, caller, credential) if self.sign_in is not None else None
        return entry or Entry(self.peer(vm, destination), caller)

    def look(self, vm: str, options: MoveOptions, job: str | None = None) -> tuple[End, VmSnapshot, list[Finding]]:
        """Look at this host and the VM, and run this host's half of the checks.

        Arguments:
            job: that moves the VM; None: none does yet.

        Raises:
            VmferryError: the request is wrong, or libvirt does not answer.
        """
        require_built(options.performance)
        if not options.include_storage and (options.storage_path or options.disk_paths):
            raise UsageError(codes.STORAGE_PATH_NEEDS_STORAGE)
        end = End(self.config.name, self.settings.host(), interfaces.addresses(), options.encryption, source=True)
        found = self._describe(vm, options, job)
        return end, found, case.run(checks.OF_HOST, end) + case.run(checks.OF_VM, found)

    def leaving(self, vm: VmSnapshot, plans: list[ArtifactPlan], options: MoveOptions, there: str) -> list[Finding]:
        """Judge what would become of the disks' files here, now that the destination has said which it sees."""
        return case.run(checks.OF_LEAVING, Leaving(vm, plans, options, there))

    def foretell(
        self, vm: str, destination: str, options: MoveOptions, caller: Caller, credential: Any
    ) -> list[Finding]:
        """Refuse a move that cannot be done as it is asked for; gives what the prediction warns of.

        Raises:
            VmferryError: deadline-missed, or whatever else is in the way.
        """
        report = self.check(vm, destination, options, caller, credential=credential)
        require_none(report.findings)
        foretold = [code.name for check in checks.OF_FORECAST for code in check.causes]
        return [finding for finding in report.findings if finding.code in foretold]

    def marked(self, vm: VmSnapshot, job: str, options: MoveOptions, client: PeerClient) -> list[Artifact]:
        """Write a proof beside each disk that the destination may see too; returns the disks with it.

        Raises:
            VmferryError: the destination does not answer.
        """
        if options.storage_path or all(disk.target in options.disk_paths for disk in vm.disks):
            return vm.disks  # all are to be elsewhere there
        try:
            nonce = client.challenge(vm.uuid)
        except VmferryError as error:
            if error.code.name != codes.NOT_FOUND.name:
                raise
            nonce = secrets.token_hex(16)  # an older release, which takes the source's own
        return nonces.write(vm.disks, job, nonce, nonces.records(self.config.state_folder) / job)

    def peer(self, vm: str, destination: str) -> Peer:
        """Find the destination.

        Raises:
            UsageError: host-unknown, same-host.
        """
        peer = self.peers.get(destination)
        if (peer is None or peer.kind is PeerKind.SITE) and self.find is not None:
            peer = self.find(destination)
        if peer is None:
            raise UsageError(codes.HOST_UNKNOWN, host=destination, local=self.config.name)
        if peer.fingerprint == self.known_as(peer)[1]:
            raise UsageError(codes.SAME_HOST, vm=vm, host=destination)
        return peer

    def known_as(self, peer: Peer) -> tuple[str, str]:
        """Give the name and the certificate's fingerprint by which a peer knows this host."""
        return site.known_as(self.config, self.fingerprint, peer)

    def proposal(
        self, vm: VmSnapshot, disks: list[Artifact], options: MoveOptions, end: End, peer: Peer, caller: Caller
    ) -> Proposal:
        """Put together what the destination is told of the VM, to judge whether and how it may come."""
        return Proposal(
            vm=vm.name,
            uuid=vm.uuid,
            caller=caller,
            source=self.known_as(peer)[0],
            host=self.snapshots.source(),
            live_xml=vm.live_xml,
            persistent_xml=vm.persistent_xml,
            persistent=vm.persistent,
            definition=vm.definition,
            autostart=vm.autostart,
            memory=vm.memory,
            artifacts=[*disks, *([vm.variables] if vm.variables else [])],
            options=options,
            networks=keeps_to(end.settings, end.addresses),
        )

    def _describe(self, vm: str, options: MoveOptions, job: str | None) -> VmSnapshot:
        found = self.inventory.describe(vm)
        identifiers.require_name(found.name)
        targets = [disk.target for disk in found.disks] + list(found.unmovable)
        for target in options.disk_paths:
            if found.state == "running" and target not in targets:
                raise UsageError(codes.DISK_UNKNOWN, vm=vm, disk=target, disks=", ".join(targets) or "none")
        networks = list(dict.fromkeys(domainxml.places(found.live_xml) + domainxml.places(found.persistent_xml)))
        for network in options.map_networks:
            if network not in networks:
                raise UsageError(
                    codes.VM_NETWORK_UNKNOWN, vm=vm, network=network, networks=", ".join(networks) or "none"
                )
        if options.include_storage:
            found = found.model_copy(update={"around": self.inventory.around(found)})
        active = self.jobs.active_for(vm)
        return found.model_copy(update={"moved_by": active.id}) if active and active.id != job else found
