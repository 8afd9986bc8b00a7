"""The end of a move on the word of an administrator of this host, whatever the other host does or leaves undone."""

import logging
import time
from dataclasses import dataclass

from vmferry.agent.moves import workers
from vmferry.agent.services import LauncherService, OutgoingMovesService
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import CancelledError, InternalError, UsageError
from vmferry.core.job import Phase, Role, State
from vmferry.core.messages.offer import Caller
from vmferry.jobs import spec
from vmferry.jobs.requests import CancelRequest
from vmferry.store.jobs import JobRow, Jobs

PATIENCE = workers.PATIENCE  # seconds for a worker to hear the word, and again to end by it
_LOOK = 0.05  # seconds between two looks

# From these on the VM may belong to the other host: only the source's journal knows.
_DECIDED = {
    Role.SOURCE: (Phase.COMMITTING, Phase.GOING),
    Role.DESTINATION: (Phase.FINISHING, Phase.GOING),
}

log = logging.getLogger("vmferry.agent")


@dataclass(frozen=True, slots=True)
class Endings:
    """Ends moves that have not reached their verdict."""

    config: Config
    jobs: Jobs
    outgoing: OutgoingMovesService
    launcher: LauncherService
    patience: float = PATIENCE

    def force(self, job: str, caller: Caller) -> None:
        """End a job: its worker gives the move up by itself, and asks the other host for nothing.

        Raises:
            UsageError: job-unknown, job-ended, or past-force: whose the VM is, is decided, or is being decided.
        """
        row = self.jobs.get(job)
        if row.state is State.WAITING or row.state.ended:
            self.outgoing.cancel(job, caller)
            return
        self._require_undecided(row)
        log.warning("job %s: %s ends it, whatever %s does", job, caller.name, row.peer)
        request = CancelRequest(caller=caller.name, force=True)
        if workers.tell(self.config, self.jobs, self.launcher, job, request, patience=self.patience):
            return
        row = self.jobs.get(job)
        if row.state.ended:
            return
        self._require_undecided(row)
        # No worker lives, so that nobody can take a further step: the closed journal sees to that.
        error = CancelledError(codes.CANCELLED, job=job, caller=caller.name, vm=row.vm, host=self._source(row))
        self.jobs.end(job, State.CANCELLED, error.problem(), None)
        if row.role is Role.DESTINATION:
            spec.note_left(self.config.state_folder, job)
        spec.forget(self.config.state_folder, job, key=False)
        log.error("job %s was ended without its worker, which does not start: what it made may be left", job)

    def force_all(self, peer: str, caller: Caller) -> None:
        """End all jobs with another host, and wait until they have ended.

        Raises:
            UsageError: past-force; those before it have ended.
            InternalError: a job has not ended in time.
        """
        for row in [row for row in self.jobs.active() if row.peer == peer]:
            try:
                self.force(row.id, caller)
            except UsageError as error:
                if error.code.name != codes.JOB_ENDED.name:  # by itself, meanwhile
                    raise
        limit = time.monotonic() + self.patience
        while (busy := self.jobs.active_with(peer)) is not None:
            if time.monotonic() > limit:
                why = f"job {busy.id} with {peer} does not end; see the log of vmferry-transfer@{busy.id}"
                raise InternalError(codes.INTERNAL, why=why)
            time.sleep(_LOOK)

    def _require_undecided(self, row: JobRow) -> None:
        phases = {step.phase for step in self.jobs.steps(row.id)}
        if Phase.UNDOING not in phases and phases & set(_DECIDED[row.role]):
            raise UsageError(codes.PAST_FORCE, job=row.id, vm=row.vm, peer=row.peer)

    def _source(self, row: JobRow) -> str:
        return self.config.name if row.role is Role.SOURCE else row.peer
