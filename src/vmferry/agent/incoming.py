"""A move into this host, as far as vmferryd takes it: authorise, plan, grant, start the worker, pass words on."""

import re
import time
from dataclasses import dataclass

from vmferry.agent.services import Launcher
from vmferry.config import Config
from vmferry.core import codes, jobkey
from vmferry.core.api import Outcome
from vmferry.core.errors import InternalError, UsageError, VmferryError
from vmferry.core.finding import blocker, ordered, require_none
from vmferry.core.job import Role, State
from vmferry.core.offer import Address, Admission, Grant, Offer, Proposal, Report
from vmferry.core.settings import listening, require_enabled
from vmferry.hypervisor.snapshot import Snapshots
from vmferry.identity import certificates
from vmferry.preflight import case, checks, plan
from vmferry.preflight.case import Case, End
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer
from vmferry.store.settings import Settings
from vmferry.transfer import control, interfaces, spec
from vmferry.transfer.spec import Spec

_JOB = re.compile(r"[0-9a-f]{12}")
_WORKER_LIMIT = 12.0  # less than the source's patience with this call


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Takes VMs in from paired hosts (agent/services.py: Incoming)."""

    config: Config
    jobs: Jobs
    settings: Settings
    snapshots: Snapshots
    launcher: Launcher
    fingerprint: str

    def check(self, vm: Proposal, peer: Peer) -> Report:
        """Say whether and how a VM could come here; nothing is made.

        Raises:
            VmferryError: the proposal itself is wrong, or libvirt does not answer.
        """
        if vm.source != peer.name:
            raise UsageError(codes.BAD_REQUEST, detail="the proposal is not from the host that sends it")
        return self._judge(vm)

    def offer(self, offer: Offer, peer: Peer) -> Grant:
        """Authorise an offer, or say why not; nothing is made yet but the job's record.

        Raises:
            VmferryError: why the VM cannot come here.
        """
        if offer.source != peer.name or not _JOB.fullmatch(offer.job) or self.jobs.find(offer.job):
            raise UsageError(codes.BAD_REQUEST, detail="the offer is not from the host that sends it, or not new")
        report = self._judge(offer)
        require_none(report.findings)
        certificate, private_key = certificates.create(f"{self.config.name} job {offer.job}")
        grant = Grant(
            job_key=jobkey.new(),
            live_xml=report.live_xml,
            persistent_xml=report.persistent_xml,
            disks=report.disks,
            findings=report.findings,
            certificate=certificate,
            addresses=report.addresses,
            socket_folder=str(self.config.run_folder / "jobs" / offer.job),
        )
        options = offer.options.model_dump(mode="json", exclude_defaults=True)
        with self.settings.held() as settings:  # whoever disables migration now sees the job, or the job sees it
            require_enabled(settings, self.config.name)
            self.jobs.create(offer.job, Role.DESTINATION, offer.vm, peer.name, offer.caller, options)
        spec.save(
            self.config.state_folder,
            Spec(
                role=Role.DESTINATION,
                offer=offer,
                grant=grant,
                private_key=private_key,
                peer=peer.name,
                source_fingerprint=peer.fingerprint,
                destination_fingerprint=self.fingerprint,
                requested_at=time.time(),
            ),
        )
        return grant

    def key(self, job: str) -> str:
        """Give the job's key, to check a proof with.

        Raises:
            AccessError: job-key-wrong; there is no such job, or it has ended.
        """
        return spec.key(self.config.state_folder, job)

    def admit(self, job: str) -> Admission:
        """Start the worker, which makes the disks and listens; returns where.

        Raises:
            VmferryError: what the worker could not do.
        """
        self.launcher.start(job)
        limit = time.monotonic() + _WORKER_LIMIT
        while True:
            try:
                answer = control.call(self.config.run_folder, job, "addresses", timeout=_WORKER_LIMIT)
            except OSError as error:
                row = self.jobs.get(job)
                if row.error is not None:
                    raise VmferryError.from_problem(row.error) from error
                if time.monotonic() > limit:
                    raise InternalError(codes.INTERNAL, why=f"the worker of job {job} did not start") from error
                time.sleep(0.01)  # until its socket is there
            else:
                return Admission(addresses=[Address(**address) for address in answer["addresses"]])

    def abort(self, job: str, reason: str) -> None:
        """Pass on that the source gave the move up."""
        row = self.jobs.get(job)
        if not row.state.ended and not self._tell(job, "abort", why=reason):
            error = VmferryError(
                codes.MOVE_FAILED, vm=row.vm, phase=row.phase.value, why=reason, host=row.peer, advice=""
            )
            if row.phase.value == "offered":  # never admitted: there is no worker, and nothing was made
                self.jobs.end(job, State.FAILED, error.problem(), None)
                spec.forget(self.config.state_folder, job, key=True)

    def go(self, job: str) -> Outcome:
        """Pass on that the VM is this host's; says whether it runs here and is defined, or why not."""
        row = self.jobs.get(job)
        if not row.state.ended:
            self._tell(job, "go")
            row = self.jobs.get(job)
        return Outcome(ended=row.state.ended, problem=row.error)

    # --- parts ------------------------------------------------------------------------------------------------

    def _tell(self, job: str, do: str, **fields: str) -> bool:
        try:
            control.call(self.config.run_folder, job, do, timeout=14.0, **fields)
        except OSError:
            if self.jobs.get(job).phase.value != "offered":
                self.launcher.start(job)  # it died; started again, it asks the source itself
            return False
        return True

    def _judge(self, vm: Proposal) -> Report:
        """Plan how a VM would be here, and check whether it can."""
        config, settings, addresses = self.config, self.settings.host(), interfaces.addresses()
        end = End(config.name, settings, addresses, vm.options.encryption, source=False)
        here = self.snapshots.destination(vm, plan.paths(vm))
        planned = plan.make(vm, here)
        findings = case.run(checks.OF_MOVE, Case(vm, here, planned))
        if blocker(findings) is None:
            # Only what this host's own policy takes is shown to libvirt.
            refusal = self.snapshots.refusal(planned.live_xml, planned.persistent_xml)
            findings = case.run(checks.OF_MOVE, Case(vm, here, planned, refusal)) if refusal else findings
        return Report(
            vm=vm.vm,
            source=vm.source,
            destination=config.name,
            findings=ordered(case.run(checks.OF_HOST, end) + findings),
            disks=planned.disks,
            addresses=[local.address for local in listening(settings, addresses, vm.networks, config.address)],
            live_xml=planned.live_xml,
            persistent_xml=planned.persistent_xml,
        )
