"""A move out of this host, as far as vmferryd takes it: offer, wait, be admitted, start the worker."""

import logging
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from vmferry.agent.auditlog.log import AuditLog
from vmferry.agent.moves import nonces, workers
from vmferry.agent.moves.precheck import Precheck
from vmferry.agent.moves.resolutions import settled
from vmferry.agent.services import LauncherService
from vmferry.config import Config
from vmferry.core import codes, jobkey
from vmferry.core.errors import (
    CancelledError,
    InternalError,
    PreflightError,
    UnreachableError,
    UsageError,
    VmferryError,
)
from vmferry.core.job import Phase, Role, State
from vmferry.core.messages.api import KnownVerdict, VerdictAnswer
from vmferry.core.messages.finding import Finding, require_none
from vmferry.core.messages.offer import Artifact, Caller, Grant, MoveOptions, Offer
from vmferry.core.move import phases
from vmferry.core.policy.settings import require_enabled
from vmferry.core.resolution import Owner
from vmferry.identity import certificates
from vmferry.identity.peer import PROOF_PURPOSE
from vmferry.jobs import control, decision, spec
from vmferry.jobs.persist import pauses, why
from vmferry.jobs.requests import CancelRequest
from vmferry.jobs.spec import Spec
from vmferry.preflight import case, checks
from vmferry.preflight.case import DataRoute
from vmferry.preflight.granted import require_asked
from vmferry.store.admissions import Admissions
from vmferry.store.jobs import JobRow, Jobs
from vmferry.store.settings import Settings

_ENDINGS = 12  # tries to write an end down, each of which waits for the database

log = logging.getLogger("vmferry.agent")


@dataclass(frozen=True, slots=True)
class OutgoingMoves:
    """Starts moves of this host's VMs to other hosts (agent/services.py: Outgoing)."""

    config: Config
    jobs: Jobs
    admissions: Admissions
    settings: Settings
    launcher: LauncherService
    prospects: Precheck
    trail: AuditLog | None = None
    patience: float = workers.PATIENCE
    turns: dict[str, threading.Lock] = field(default_factory=dict)

    def move(
        self,
        vm: str,
        destination: str,
        options: MoveOptions,
        caller: Caller,
        *,
        wait: bool = True,
        credential: Any = None,
    ) -> tuple[str, list[Finding]]:
        """Start a move, or let it wait until both hosts have a place for it.

        Arguments:
            wait: false: fail when a host has none now.
            credential: as for `check`.

        Returns:
            The job, which the destination has authorised, and what the checks warn of.

        Raises:
            VmferryError: why it cannot be; nothing is changed on either host then.
        """
        requested_at = time.time()
        warnings = (
            self.prospects.foretell(vm, destination, options, caller, credential) if options.needs_prediction else []
        )
        entry = self.prospects.enter(vm, destination, options, caller, credential)
        peer = entry.peer
        end, found, findings = self.prospects.look(vm, options)
        require_none(findings)
        job = secrets.token_hex(6)
        asked = options.model_dump(mode="json", exclude_defaults=True)
        with spec.negotiating(self.config.state_folder, job):  # before the job is on record: a worker may be started
            with self.settings.held() as settings:  # whoever disables migration now sees the job, or the job sees it
                require_enabled(settings, self.config.name)
                self.jobs.create(job, Role.SOURCE, vm, peer.name, entry.caller, asked)
            disks, work = found.disks, None
            try:
                row = self.jobs.get(job)
                refusal = self._refusal(row, storage=options.include_storage)
                if refusal is None:
                    self.launcher.start(job)  # it takes as long to start as the hosts to agree: it waits for the spec
                certificate, private_key = certificates.create(f"{self.config.name} job {job}")
                client = self.prospects.client(self.config, peer)
                disks = self.prospects.marked(found, job, options, client)
                offer = Offer(
                    **dict(self.prospects.proposal(found, disks, options, end, peer, entry.caller)),
                    job=job,
                    memory_channels=self.config.memory_channels,
                    certificate=certificate,
                    place=refusal is None,
                    audit_head=self.trail.head() if self.trail else None,
                )
                grant = client.offer(offer, entry.secret)
                # From here on the destination holds a job of ours: whatever happens, it is told.
                work = Spec(
                    role=Role.SOURCE,
                    offer=offer,
                    grant=grant,
                    private_key=private_key,
                    peer=peer.name,
                    source_fingerprint=self.prospects.known_as(peer)[1],
                    destination_fingerprint=peer.fingerprint,
                    requested_at=requested_at,
                )
                if self.trail:
                    self.trail.keep(peer, entry.caller, job, self.config.name, grant.audit_head)
                spec.save(self.config.state_folder, work)
                self._check_grant(offer, grant, peer.name)
                require_none(case.run(checks.OF_ROUTE, DataRoute(end, peer.name, grant.addresses)))
                leaving = self.prospects.leaving(found, grant.disks, options, peer.name)
                require_none(leaving)
                refusal = refusal or grant.refusal
                with self._turn(peer.name):
                    self.jobs.mark(job, State.WAITING, refusal)
                    refusal = refusal or self._begin(row, work)
                    if refusal is not None and not wait:
                        raise PreflightError(codes.LIMIT_REACHED, reason=refusal, host=peer.name)
                    if refusal is not None:
                        self.jobs.mark(job, State.WAITING, refusal)
            except Exception as error:  # of any kind: the job would stay as it is, and the VM with it
                self._abandon(job, error, disks, work)
                raise
        return job, warnings + findings + grant.findings + leaving

    def begin(self, job: str) -> bool:
        """Begin a move that waits, if it is its turn and both hosts have a place for it.

        Returns:
            Whether it waits no more: it has begun, or it has failed since it cannot be any more.
        """
        peer = self.jobs.get(job).peer
        with self._turn(peer):
            row = self.jobs.get(job)
            if row.state is not State.WAITING:
                return True
            with spec.negotiating(self.config.state_folder, job):
                try:
                    work = self._agreed(job)
                    if work.late:
                        raise work.deadline_error()
                    reason = self._refusal(row, storage=work.copies_storage) or self._begin_anew(row, work)
                except UnreachableError as error:
                    reason = error.reason
                    self.admissions.release(job)
                except VmferryError as error:
                    log.warning("job %s: %s", job, error)
                    self._give_up(job, error)
                    return True
            if reason is not None and reason != row.reason:
                self.jobs.mark(job, State.WAITING, reason)
            return reason is None

    def cancel(self, job: str, caller: Caller) -> None:
        """Give a job that waits up, or ask a job's worker to.

        Raises:
            UsageError: job-unknown, job-ended, or too-late.
        """
        row = self.jobs.get(job)
        if row.state is State.WAITING:
            with self._turn(row.peer):
                row = self.jobs.get(job)
                if row.state is State.WAITING:
                    at = self.config.name if row.role is Role.SOURCE else row.peer
                    error = CancelledError(codes.CANCELLED, job=job, caller=caller.name, vm=row.vm, host=at)
                    self._give_up(job, error, State.CANCELLED)
                    return
        if row.state.ended:
            raise UsageError(codes.JOB_ENDED, job=job, state=row.state.value)
        # A worker that died gives the move up by itself once it is started again; one that starts has yet to listen.
        request = CancelRequest(caller=caller.name)
        if not workers.tell(self.config, self.jobs, self.launcher, job, request, patience=self.patience):
            row = self.jobs.get(job)
            if row.state.ended:
                raise UsageError(codes.JOB_ENDED, job=job, state=row.state.value)
            raise InternalError(codes.INTERNAL, why=f"the worker of job {job} does not answer")

    def key(self, job: str) -> str:
        """Give the job's key, to check a proof with.

        Raises:
            AccessError: job-key-wrong; there is no such job, or it has ended.
        """
        return spec.key(self.config.state_folder, job)

    def verdict(self, job: str) -> VerdictAnswer:
        """Return what this host's journal says of a job, for the destination.

        `committing` alone is no answer: the worker is finding out, and journals what it finds.
        """
        row = self.jobs.get(job)
        owner = settled(self.jobs, job)
        if owner is not None:  # an administrator has had the last word
            return VerdictAnswer(verdict=KnownVerdict.ABORT if owner is Owner.HERE else KnownVerdict.GO)
        steps = self.jobs.steps(job)
        said = phases.verdict(row.role, [step.phase for step in steps])
        if said.final:
            return VerdictAnswer(verdict=KnownVerdict(said.value), suspended=decision.suspended(steps))
        if row.state.ended:
            return VerdictAnswer(verdict=KnownVerdict.ABORT)
        if row.state is not State.WAITING:
            self.launcher.start(job)
        return VerdictAnswer(verdict=KnownVerdict.UNDECIDED)

    def _agreed(self, job: str) -> Spec:
        """Return what the hosts have agreed on for a job that waits.

        Raises:
            InternalError: nothing: its request failed, and that could not be written down.
        """
        try:
            return spec.load(self.config.state_folder, job)
        except FileNotFoundError as error:
            raise InternalError(codes.INTERNAL, why=f"the request for job {job} failed before it began") from error

    # --- places -------------------------------------------------------------------------------------------------

    def _turn(self, destination: str) -> threading.Lock:
        """Give the lock under which moves to one destination are begun, so that they are in their order."""
        return self.turns.setdefault(destination, threading.Lock())

    def _refusal(self, row: JobRow, *, storage: bool) -> str | None:
        """Say why a move should not even ask the destination for a place."""
        before = [other for other in self.jobs.waiting() if other.peer == row.peer and _order(other) < _order(row)]
        if before:
            return f"earlier moves to {row.peer} wait too"
        limits = self.settings.host().limits
        return self.admissions.refusal(row.id, storage=storage, limits=limits, since=row.created_at)

    def _begin_anew(self, row: JobRow, work: Spec) -> str | None:
        """Ask the destination for a place and, with one, begin a move that has waited; gives why it has to wait on.

        Raises:
            UnreachableError: the destination does not answer.
            VmferryError: why it cannot be any more.
        """
        peer = self.prospects.peer(row.vm, row.peer)
        client = self.prospects.client(self.config, peer)
        held = client.hold(row.id, self._proof(work))
        if held.refusal is not None:
            return held.refusal
        if held.admitted:  # its worker works by the plan that was made then
            return self._begin(row, work)
        # The VM and both hosts may have changed since the offer: all is looked at again.
        end, found, findings = self.prospects.look(row.vm, work.offer.options, row.id)
        require_none(findings)
        nonces.remove(work.offer.disks)
        disks = self.prospects.marked(found, row.id, work.offer.options, client)
        proposal = self.prospects.proposal(found, disks, work.offer.options, end, peer, work.offer.caller)
        offer = work.offer.model_copy(update=dict(proposal))
        grant = client.renew(row.id, self._proof(work), offer)
        self._check_grant(offer, grant, peer.name)
        require_none(case.run(checks.OF_ROUTE, DataRoute(end, peer.name, grant.addresses)))
        require_none(self.prospects.leaving(found, grant.disks, offer.options, peer.name))
        work = work.model_copy(update={"offer": offer, "grant": grant})
        spec.save(self.config.state_folder, work)  # before it is admitted: the answer may be lost, and the daemon end
        return self._begin(row, work)

    def _begin(self, row: JobRow, work: Spec) -> str | None:
        """Begin a move for which the destination keeps a place, if there is one here too; gives why not."""
        client = self.prospects.client(self.config, self.prospects.peer(row.vm, row.peer))
        limits = self.settings.host().limits
        refusal = self.admissions.ask(row.id, storage=work.copies_storage, limits=limits, since=row.created_at)
        if refusal is not None:
            client.release(row.id, self._proof(work))  # never keep a place there while waiting for one here
            return refusal
        self.launcher.start(row.id)
        try:
            admission = client.admit(row.id, self._proof(work))
        except PreflightError as error:
            if error.code.name != codes.LIMIT_REACHED.name:
                raise
            self.admissions.release(row.id)  # it took too long: the place there has gone to another
            return str(error.fields.get("reason", error.reason))
        spec.save(self.config.state_folder, work.model_copy(update={"addresses": admission.addresses}))
        with self.settings.held():  # all at once
            self.jobs.step(row.id, Phase.ADMITTED)
            self.jobs.mark(row.id, State.RUNNING, None)
            self.admissions.keep(row.id)
        return None

    def _abandon(self, job: str, error: Exception, disks: list[Artifact], work: Spec | None) -> None:
        """End a job that did not come to wait or to begin.

        Arguments:
            disks: the VM's, with the files that prove that they are shared.
            work: None: the destination has not granted it.
        """
        known = error if isinstance(error, VmferryError) else InternalError(codes.INTERNAL, why=why(error))
        with suppress(OSError):
            spec.forget(self.config.state_folder, job)  # nobody begins it any more, even if its end is not on record
        for pause in islice(pauses(), _ENDINGS):
            try:
                self.jobs.end(job, State.FAILED, known.problem(), None)
                break
            except VmferryError as failed:
                log.warning("job %s has failed, and that cannot be written down yet: %s", job, failed.reason)
                time.sleep(pause)
        self._clear(job, known, work)
        if work is None:
            nonces.remove(disks)

    def _give_up(self, job: str, error: VmferryError, state: State = State.FAILED) -> None:
        """End a job that has not begun, on both hosts."""
        try:
            work = spec.load(self.config.state_folder, job)
        except FileNotFoundError:
            work = None  # it was abandoned, and that could not be written down
        self.jobs.end(job, state, error.problem(), None)
        self._clear(job, error, work)

    def _clear(self, job: str, error: VmferryError, work: Spec | None) -> None:
        """Tell the other host that a job has ended, if it knows of it, and remove what was made for it here."""
        told = work is None
        if work is not None and work.role is Role.SOURCE:
            nonces.remove(work.offer.disks)
            try:
                peer = self.prospects.peer(work.offer.vm, work.peer)
                by = str(error.fields["caller"]) if isinstance(error, CancelledError) else ""
                self.prospects.client(self.config, peer).abort(job, self._proof(work), error.reason, by)
                told = True
            except VmferryError:
                pass  # it asks for the verdict when it answers again, or when the VM is offered anew
        with suppress(OSError):  # vmferryd's sweep removes it
            spec.forget(self.config.state_folder, job, key=told)

    def _check_grant(self, offer: Offer, grant: Grant, host: str) -> None:
        folder = control.folder(self.config.run_folder, offer.job)
        require_asked(offer, grant, folder=str(folder), local=self.config.name, host=host)

    def _proof(self, work: Spec) -> str:
        ends = work.source_fingerprint, work.destination_fingerprint
        return jobkey.proof(work.grant.job_key, work.job, *ends, PROOF_PURPOSE)


def _order(row: JobRow) -> tuple[float, str]:
    return row.created_at, row.id
