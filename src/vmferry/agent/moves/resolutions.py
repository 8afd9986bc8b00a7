"""Ends a move whose verdict cannot be carried out since the other host is gone for good, on an administrator's word."""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from vmferry.agent.moves import nonces
from vmferry.agent.services import DomainsService, IncomingMovesService
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import AccessError, InternalError, PreflightError, UnreachableError, UsageError, VmferryError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.job import Phase, Role, State
from vmferry.core.messages.offer import Caller
from vmferry.core.resolution import Owner, Resolution, ResolveChoice, Standing, outcomes, refusals
from vmferry.identity.peer import PeerClient
from vmferry.jobs import spec, startlock
from vmferry.jobs.decision import suspended
from vmferry.jobs.spec import Spec
from vmferry.store.database import Database
from vmferry.store.jobs import JobRow, Jobs
from vmferry.store.peers import Peer, Peers
from vmferry.transfer.worker.owncopy import left

PATIENCE = 30.0  # seconds for a worker to hear a verdict, or to end
_LOOK = 0.1  # seconds between two looks

log = logging.getLogger("vmferry.agent")


def _work(config: Config, job: str) -> int:
    from vmferry.transfer.worker.main import work

    return work(config, job)


@dataclass(frozen=True, slots=True)
class Resolutions:
    """Settles moves by hand."""

    config: Config
    database: Database
    jobs: Jobs
    peers: Peers
    incoming: IncomingMovesService
    domains: Callable[[], DomainsService]
    client: Callable[[Config, Peer], PeerClient] = PeerClient
    patience: float = PATIENCE
    work: Callable[[Config, str], int] = _work

    def look(self, job: str) -> Resolution:
        """Return both ways to settle a move, and what stands against each.

        Raises:
            UsageError: job-unknown, or job-ended.
        """
        row = self.jobs.get(job)
        lock = self._lock(row)
        if row.state.ended and (row.role is Role.DESTINATION or lock is None):
            raise UsageError(codes.JOB_ENDED, job=job, state=row.state.value)
        standing = Standing(
            role=row.role,
            phases={step.phase for step in self.jobs.steps(job)},
            presence=self._presence(row),
            answers=self._answers(row.peer),
            vm=row.vm,
            host=self.config.name,
            peer=row.peer,
            settled=settled(self.jobs, job),
        )
        against, words = refusals(standing), outcomes(standing)
        return Resolution(
            job=job,
            role=row.role,
            vm=row.vm,
            host=self.config.name,
            peer=row.peer,
            presence=standing.presence,
            answers=standing.answers,
            keep=ResolveChoice(outcome=words[Owner.HERE], refusal=against.get(Owner.HERE)),
            give_up=ResolveChoice(outcome=words[Owner.THERE], refusal=against.get(Owner.THERE)),
        )

    def resolve(self, job: str, owner: Owner, caller: Caller) -> None:
        """Settle a move.

        Raises:
            UsageError: job-unknown, or job-ended.
            PreflightError: resolve-refused; that way is not safe.
            InternalError: the worker does not hear it, or has not ended yet.
        """
        found = self.look(job)
        way = found.keep if owner is Owner.HERE else found.give_up
        if way.refusal is not None:
            raise PreflightError(codes.RESOLVE_REFUSED, job=job, vm=found.vm, why=way.refusal)
        row = self.jobs.get(job)
        log.warning("job %s: %s settles it: %s is of the host %s", job, caller.name, row.vm, self._name(row, owner))
        if row.role is Role.DESTINATION:
            self.jobs.step(row.id, Phase.RESOLVING, owner=owner.value, caller=caller.name)
            self._pass_verdict(row, owner, caller)
            return
        if not row.state.ended:
            self._close(row, owner, caller)
        if not self.carry_out(row, owner):
            why = f"job {job} has ended, and what is left of it here is settled as soon as libvirt and its worker let"
            raise InternalError(codes.INTERNAL, why=why)

    def carry_out(self, row: JobRow, owner: Owner | None = None) -> bool:
        """Do on the source what its journal says was settled; False: not now. Idempotent.

        Arguments:
            owner: None: as the journal has it.
        """
        if row.role is Role.DESTINATION:
            return True  # its worker does, or has done, all of it
        owner = owner or settled(self.jobs, row.id)
        if owner is None or not self._worker_gone(row.id):
            return owner is None
        work = _load(self.config, row.id)
        lock = self._lock(row)
        uuid = work.offer.uuid if work else lock.uuid if lock else None
        if uuid is not None:
            try:
                steps = self.jobs.steps(row.id)
                was = {"autostart": bool(work and work.offer.autostart), "suspended": suspended(steps)}
                self._take(left(steps, uuid, row.vm), owner, **was)
            except VmferryError as error:
                log.warning("job %s: %s", row.id, error.reason)
                return False
            startlock.of(self.config.state_folder, uuid).lift()
        if work is not None:
            nonces.remove(work.offer.disks)
        spec.forget(self.config.state_folder, row.id)
        return True

    # --- the source -----------------------------------------------------------------------------------------------

    def _close(self, row: JobRow, owner: Owner, caller: Caller) -> None:
        """Write the word down and close the journal at once: the worker takes no further step."""
        names = {"vm": row.vm, "host": self._name(row, owner), "caller": caller.name}
        error = VmferryError(codes.SETTLED_BY_HAND, job=row.id, **names)
        with self.database.transaction():
            self.jobs.step(row.id, Phase.RESOLVING, owner=owner.value, caller=caller.name)
            self.jobs.end(row.id, State.FAILED, error.problem(), None)

    def _take(self, vm: VmIdentity, owner: Owner, *, autostart: bool, suspended: bool) -> None:
        domains = self.domains()
        try:
            presence = domains.presence(vm.uuid)
            if owner is Owner.THERE:
                if presence in ("paused", "busy"):
                    domains.destroy(vm)  # what is left of the copy that was handed over
                domains.forget(vm)
                return
            if autostart:
                domains.autostart(vm, on=True)
            if presence == "paused" and not suspended:
                domains.resume(replace(vm, id=None))  # an administrator says so, also of one started anew
        finally:
            domains.close()

    def _worker_gone(self, job: str) -> bool:
        """Wait until no worker carries the job any more: a closed journal ends it at its next step."""
        try:
            handle = os.open(spec.folder(self.config.state_folder, job) / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        limit = time.monotonic() + self.patience
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > limit:
                        return False
                    time.sleep(_LOOK)
                else:
                    return True
        finally:
            os.close(handle)

    def _lock(self, row: JobRow) -> startlock.StartLock | None:
        held = startlock.locks(self.config.state_folder)
        return next((lock for lock in held if lock.holder() == row.id), None)

    # --- the destination --------------------------------------------------------------------------------------------

    def _pass_verdict(self, row: JobRow, owner: Owner, caller: Caller) -> None:
        """Let the worker hear the verdict that the source cannot give any more; it journals it before it acts.

        One that does not start is stood in for: the journal has the verdict, and this process follows it as the worker
        would, under the same lock.
        """
        began = time.monotonic()
        stand_in: threading.Thread | None = None
        while True:
            try:
                if owner is Owner.HERE:
                    self.incoming.go(row.id)
                else:
                    self.incoming.abort(row.id, f"{caller.name} settled the move by hand", caller.name)
            except VmferryError as error:
                log.warning("job %s: %s", row.id, error.reason)
            if self.jobs.get(row.id).state.ended:
                return
            waited = time.monotonic() - began
            if stand_in is None and waited > self.patience / 3:
                stand_in = threading.Thread(target=self._stand_in, args=(row.id,), name="stand-in", daemon=True)
                stand_in.start()
            if waited > self.patience:
                why = f"the worker of job {row.id} has not ended; see the log of vmferry-transfer@{row.id}"
                raise InternalError(codes.INTERNAL, why=why)
            time.sleep(_LOOK)

    def _stand_in(self, job: str) -> None:
        log.warning("job %s: its worker does not start, so vmferryd settles the move itself", job)
        try:
            self.work(self.config, job)
        except Exception:
            log.exception("job %s cannot be settled here either", job)

    # --- what is known ------------------------------------------------------------------------------------------------

    def _presence(self, row: JobRow) -> str | None:
        work, lock = _load(self.config, row.id), self._lock(row)
        uuid = work.offer.uuid if work else lock.uuid if lock else None
        if uuid is None:
            return None
        domains = self.domains()
        try:
            return str(domains.presence(uuid))
        except VmferryError:
            return None
        finally:
            domains.close()

    def _answers(self, name: str) -> bool:
        peer = self.peers.get(name)
        if peer is None:
            return False
        try:
            self.client(self.config, peer).hello()
        except (UnreachableError, AccessError):
            return False  # away, set up anew, or it has forgotten this host
        except VmferryError:
            pass
        return True

    def _name(self, row: JobRow, owner: Owner) -> str:
        return self.config.name if owner is Owner.HERE else row.peer


def settled(jobs: Jobs, job: str) -> Owner | None:
    """Return whose a VM is by an administrator's word, as the journal has it."""
    step = jobs.last(job, Phase.RESOLVING)
    return Owner(step.detail["owner"]) if step else None


def _load(config: Config, job: str) -> Spec | None:
    try:
        return spec.load(config.state_folder, job)
    except (FileNotFoundError, ValueError):
        return None
