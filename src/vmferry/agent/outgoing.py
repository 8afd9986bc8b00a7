"""A move out of this host, as far as vmferryd takes it: describe, offer, be admitted, start the worker."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vmferry.agent.services import Launcher
from vmferry.config import Config
from vmferry.core import codes, domainxml, jobkey
from vmferry.core.errors import InternalError, UsageError, VmferryError
from vmferry.core.finding import Finding, ordered, require_none
from vmferry.core.job import Phase, Role, State
from vmferry.core.offer import Caller, Disk, Grant, MoveOptions, Offer, Proposal, Report
from vmferry.core.settings import keeps_to, require_built, require_enabled
from vmferry.core.vm import VmSnapshot
from vmferry.hypervisor.inventory import Inventory
from vmferry.hypervisor.snapshot import Snapshots
from vmferry.identity import certificates
from vmferry.identity.peer import PeerClient
from vmferry.preflight import case, checks
from vmferry.preflight.case import End, Way
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer, Peers
from vmferry.store.settings import Settings
from vmferry.transfer import control, decision, interfaces, spec
from vmferry.transfer.spec import Spec


@dataclass(frozen=True, slots=True)
class Moves:
    """Starts moves of this host's VMs to other hosts (agent/services.py: Outgoing)."""

    config: Config
    jobs: Jobs
    peers: Peers
    settings: Settings
    inventory: Inventory
    snapshots: Snapshots
    launcher: Launcher
    fingerprint: str
    client: Callable[[Config, Peer], PeerClient] = PeerClient

    def check(self, vm: str, destination: str, options: MoveOptions, caller: Caller) -> Report:
        """Say whether a move would work, and how the VM would be there; nothing is changed on either host.

        Raises:
            VmferryError: the request is wrong, or a host does not answer.
        """
        end, peer, found, findings = self._look(vm, destination, options)
        with _nonces(found.disks, secrets.token_hex(6)) as disks:
            report = self.client(self.config, peer).check(self._proposal(found, disks, options, end, caller))
        findings += report.findings
        if codes.MIGRATION_NETWORK_MISSING.name not in [finding.code for finding in findings]:
            findings += case.run(checks.OF_WAY, Way(end, peer.name, report.addresses))
        return report.model_copy(update={"findings": ordered(findings)})

    def move(self, vm: str, destination: str, options: MoveOptions, caller: Caller) -> tuple[str, list[Finding]]:
        """Start a move; returns the job's identifier once the destination has admitted it, and what it warns of.

        Raises:
            VmferryError: why it cannot be; nothing is changed on either host then.
        """
        requested_at = time.time()
        end, peer, found, findings = self._look(vm, destination, options)
        require_none(findings)
        job = secrets.token_hex(6)
        asked = options.model_dump(mode="json", exclude_defaults=True)
        with self.settings.held() as settings:  # whoever disables migration now sees the job, or the job sees it
            require_enabled(settings, self.config.name)
            self.jobs.create(job, Role.SOURCE, vm, peer.name, caller, asked)
        with spec.negotiating(self.config.state_folder, job):
            self.launcher.start(job)  # it takes as long to start as the hosts to agree: it waits for what to do
            certificate, private_key = certificates.create(f"{self.config.name} job {job}")
            disks = _with_nonces(found.disks, job)
            try:
                offer = Offer(
                    **dict(self._proposal(found, disks, options, end, caller)),
                    job=job,
                    memory_channels=self.config.memory_channels,
                    certificate=certificate,
                )
                findings += self._start(offer, peer, end, private_key, requested_at)
            except VmferryError as error:
                self.jobs.end(job, State.FAILED, error.problem(), None)
                spec.forget(self.config.state_folder, job, key=True)
                _remove_nonces(disks)
                raise
        return job, findings

    def cancel(self, job: str, caller: Caller) -> None:
        """Ask a job's worker to give the move up.

        Raises:
            UsageError: job-unknown, or too-late.
        """
        row = self.jobs.get(job)
        if row.state.ended:
            raise UsageError(codes.TOO_LATE, job=job)
        try:
            control.call(self.config.run_folder, job, "cancel", caller=caller.name)
        except OSError as error:
            self.launcher.start(job)  # its worker died: started again, it gives the move up by itself
            raise InternalError(codes.INTERNAL, why=f"the worker of job {job} does not answer") from error

    def key(self, job: str) -> str:
        """Give the job's key, to check a proof with.

        Raises:
            AccessError: job-key-wrong; there is no such job, or it has ended.
        """
        return spec.key(self.config.state_folder, job)

    def verdict(self, job: str) -> str:
        """Tell the destination what this host's journal says of a job: `go`, `abort`, or `undecided`.

        `committing` alone is no answer: the worker is finding out, and journals what it finds.
        """
        row = self.jobs.get(job)
        said = decision.from_journal([step.phase for step in self.jobs.steps(job)])
        if said in (decision.Verdict.GO, decision.Verdict.ABORT):
            return said.value
        if row.state.ended:
            return decision.Verdict.ABORT.value
        self.launcher.start(job)
        return "undecided"

    # --- steps of a move ---------------------------------------------------------------------------------------

    def _look(self, vm: str, destination: str, options: MoveOptions) -> tuple[End, Peer, VmSnapshot, list[Finding]]:
        """Look at this host, the other one's pairing and the VM, and run this host's half of the checks.

        Raises:
            VmferryError: the request is wrong, or libvirt does not answer.
        """
        require_built(options.performance)
        if not options.include_storage and (options.storage_path or options.disk_paths):
            raise UsageError(codes.STORAGE_PATH_NEEDS_STORAGE)
        end = End(self.config.name, self.settings.host(), interfaces.addresses(), options.encryption, source=True)
        peer = self._peer(vm, destination)
        found = self._describe(vm, options)
        return end, peer, found, case.run(checks.OF_HOST, end) + case.run(checks.OF_VM, found)

    def _peer(self, vm: str, destination: str) -> Peer:
        if destination == self.config.name:
            raise UsageError(codes.SAME_HOST, vm=vm, host=destination)
        peer = self.peers.get(destination)
        if peer is None:
            raise UsageError(codes.HOST_UNKNOWN, host=destination, local=self.config.name)
        if peer.fingerprint == self.fingerprint:
            raise UsageError(codes.SAME_HOST, vm=vm, host=destination)
        return peer

    def _describe(self, vm: str, options: MoveOptions) -> VmSnapshot:
        found = self.inventory.describe(vm)
        targets = [disk.target for disk in found.disks] + list(found.unmovable)
        for target in options.disk_paths:
            if found.state == "running" and target not in targets:
                raise UsageError(codes.DISK_UNKNOWN, vm=vm, disk=target, disks=", ".join(targets) or "none")
        networks = domainxml.networks(found.live_xml)
        for network in options.map_networks:
            if network not in networks:
                raise UsageError(
                    codes.VM_NETWORK_UNKNOWN, vm=vm, network=network, networks=", ".join(networks) or "none"
                )
        active = self.jobs.active_for(vm)
        return found.model_copy(update={"moved_by": active.id}) if active else found

    def _proposal(self, vm: VmSnapshot, disks: list[Disk], options: MoveOptions, end: End, caller: Caller) -> Proposal:
        return Proposal(
            vm=vm.name,
            uuid=vm.uuid,
            caller=caller,
            source=self.config.name,
            host=self.snapshots.source(),
            live_xml=vm.live_xml,
            persistent_xml=vm.persistent_xml,
            autostart=vm.autostart,
            memory=vm.memory,
            disks=disks,
            options=options,
            networks=keeps_to(end.settings, end.addresses),
        )

    def _start(self, offer: Offer, peer: Peer, end: End, private_key: str, requested_at: float) -> list[Finding]:
        client = self.client(self.config, peer)
        grant = client.offer(offer)
        work = Spec(
            role=Role.SOURCE,
            offer=offer,
            grant=grant,
            private_key=private_key,
            peer=peer.name,
            source_fingerprint=self.fingerprint,
            destination_fingerprint=peer.fingerprint,
            requested_at=requested_at,
        )
        proof = jobkey.proof(grant.job_key, offer.job, self.fingerprint, peer.fingerprint, "control")
        # From here on the destination holds a job of ours: whatever happens, it is told.
        spec.save(self.config.state_folder, work)
        try:
            _check_grant(offer, grant)
            require_none(case.run(checks.OF_WAY, Way(end, peer.name, grant.addresses)))
            admission = client.admit(offer.job, proof)
            self.jobs.step(offer.job, Phase.ADMITTED)
            spec.save(self.config.state_folder, work.model_copy(update={"addresses": admission.addresses}))
        except VmferryError as error:
            try:
                client.abort(offer.job, proof, error.reason)
            except VmferryError:
                pass  # its worker asks for the verdict, or gives up when nobody connects
            raise
        return grant.findings


def _check_grant(offer: Offer, grant: Grant) -> None:
    """See that the destination answered for the disks that it was asked about, and no others."""
    if {plan.target for plan in grant.disks} != {disk.target for disk in offer.disks}:
        raise InternalError(codes.PROTOCOL, why="the destination's plan is for other disks than the VM has")


@contextmanager
def _nonces(disks: list[Disk], job: str) -> Iterator[list[Disk]]:
    marked = _with_nonces(disks, job)
    try:
        yield marked
    finally:
        _remove_nonces(marked)


def _with_nonces(disks: list[Disk], job: str) -> list[Disk]:
    """Write a nonce file beside each disk: a host that can read it back sees the same storage."""
    marked = []
    for disk in disks:
        nonce = secrets.token_hex(16)
        place = Path(disk.path).parent / f".vmferry-{job}-{disk.target}"
        try:
            place.write_text(nonce)
        except OSError:
            marked.append(disk)  # a folder that cannot be written holds no disk that could be shared for writing
        else:
            marked.append(disk.model_copy(update={"nonce_file": str(place), "nonce": nonce}))
    return marked


def _remove_nonces(disks: list[Disk]) -> None:
    for disk in disks:
        if disk.nonce_file:
            Path(disk.nonce_file).unlink(missing_ok=True)
