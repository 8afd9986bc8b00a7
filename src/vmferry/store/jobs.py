"""Jobs and their journal: the record of every move, written by the daemon and by the transfer processes."""

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vmferry.core import codes
from vmferry.core.errors import InternalError, PreflightError, UsageError
from vmferry.core.job import Phase, Role, State, Summary
from vmferry.core.kinds import MoveKind
from vmferry.core.messages.offer import Caller
from vmferry.core.move import phases
from vmferry.store.database import BUSY, Database, Row


@dataclass(frozen=True, slots=True)
class JournalStep:
    """One line of the journal; `seq` counts from 1 in each job, `at` is Unix time."""

    job: str
    seq: int
    at: float
    phase: Phase
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobRow:
    """The state of a job. Times are Unix times.

    Arguments:
        peer: the other host's name.
        reason: why it is in its state, for a person; None if there is nothing to say.
        error: RFC 9457 problem of a job that failed or was cancelled.
        position: of a job that waits to leave this host, among those for the same destination, from 1; else None.
    """

    id: str
    role: Role
    vm: str
    peer: str
    caller: Caller
    options: dict[str, Any]
    state: State
    phase: Phase
    reason: str | None
    error: dict[str, Any] | None
    summary: Summary | None
    created_at: float
    updated_at: float
    ended_at: float | None
    position: int | None = None
    kind: MoveKind = MoveKind.LIVE


_SELECT = """
    SELECT jobs.*, CASE WHEN state = 'waiting' AND role = 'source' THEN (
        SELECT COUNT(*) FROM jobs AS other WHERE other.state = 'waiting' AND other.role = 'source'
        AND other.peer = jobs.peer AND (other.created_at, other.id) <= (jobs.created_at, jobs.id)
    ) END AS position FROM jobs
"""


class Jobs:
    """The tables `jobs` and `journal`.

    Arguments:
        host: this host's name, for errors.
        clock: gives Unix time.
    """

    def __init__(self, database: Database, host: str = "this host", clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._host = host
        self._clock = clock

    def create(
        self,
        job: str,
        role: Role,
        vm: str,
        peer: str,
        caller: Caller,
        options: dict[str, Any],
        state: State = State.RUNNING,
        *,
        kind: MoveKind = MoveKind.LIVE,
    ) -> None:
        """Record a new job, with the step `offered` as the first of its journal.

        Raises:
            PreflightError: a job that has not ended moves this VM already, or the same host offers it (VM_BUSY).
        """
        now = self._clock()
        with self._database.transaction() as connection:
            offers = role is Role.DESTINATION and state is State.WAITING
            same = (row for row in self.offered(peer) if offers and row.vm == vm)
            busy = self.active_for(vm) or next(same, None)
            if busy is not None:
                raise PreflightError(codes.VM_BUSY, vm=vm, job=busy.id)
            connection.execute(
                "INSERT INTO jobs (id, role, kind, vm, peer, caller, options, state, phase, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job,
                    role,
                    kind,
                    vm,
                    peer,
                    caller.model_dump_json(),
                    json.dumps(options),
                    state,
                    Phase.OFFERED,
                    now,
                    now,
                ),
            )
            _write(connection, job, now, Phase.OFFERED, {})

    def find(self, job: str) -> JobRow | None:
        """Return a job, or None."""
        row = self._database.row(f"{_SELECT} WHERE id = ?", (job,))
        return _job(row) if row else None

    def get(self, job: str) -> JobRow:
        """Return a job.

        Raises:
            UsageError: job-unknown.
        """
        found = self.find(job)
        if found is None:
            raise UsageError(codes.JOB_UNKNOWN, job=job, host=self._host)
        return found

    def list(self) -> Sequence[JobRow]:
        """Return every job, the oldest first."""
        return [_job(row) for row in self._database.rows(f"{_SELECT} ORDER BY created_at, id")]

    def active(self) -> Sequence[JobRow]:
        """Return the jobs that have not ended, the oldest first."""
        rows = self._database.rows(f"{_SELECT} WHERE ended_at IS NULL ORDER BY created_at, id")
        return [_job(row) for row in rows]

    def waiting(self) -> Sequence[JobRow]:
        """Return the jobs that wait to leave this host, the oldest first."""
        return [row for row in self.active() if row.state is State.WAITING and row.role is Role.SOURCE]

    def active_for(self, vm: str) -> JobRow | None:
        """Return the job that moves this VM now, in either direction; a mere offer of another host does not count."""
        offered = "role = 'destination' AND state = 'waiting'"
        row = self._database.row(f"{_SELECT} WHERE ended_at IS NULL AND vm = ? AND NOT ({offered})", (vm,))
        return _job(row) if row else None

    def offered(self, peer: str) -> Sequence[JobRow]:
        """Return the jobs that wait to come here from another host, the oldest first."""
        return [
            row
            for row in self.active()
            if row.state is State.WAITING and row.role is Role.DESTINATION and row.peer == peer
        ]

    def count(self, peer: str, role: Role, since: float) -> int:
        """Return how many jobs with a host were begun since a time, whether they have ended or not.

        Arguments:
            role: of this host in them.
            since: Unix time.
        """
        query = "SELECT count(*) AS jobs FROM jobs WHERE peer = ? AND role = ? AND created_at >= ?"
        row = self._database.row(query, (peer, role, since))
        return int(row["jobs"]) if row else 0

    def active_with(self, peer: str) -> JobRow | None:
        """Return a job in which this peer takes part now."""
        row = self._database.row(f"{_SELECT} WHERE ended_at IS NULL AND peer = ? LIMIT 1", (peer,))
        return _job(row) if row else None

    def step(self, job: str, phase: Phase, wait: float = BUSY, **detail: Any) -> None:
        """Append to the journal and make it the job's phase; on disk when this returns.

        Arguments:
            wait: seconds to wait for others who write to the database.

        Raises:
            UsageError: the job has ended, or there is none: its journal is closed (JOB_ENDED, JOB_UNKNOWN).
            InternalError: DATABASE_FAILED, or PHASE_REFUSED: that phase may not follow (core/move/phases.py).
        """
        with self._database.transaction(wait) as connection:
            self._require(job, phase)
            _append(connection, job, self._clock(), phase, detail)

    def note(self, job: str, wait: float = BUSY, **detail: Any) -> None:
        """Add detail to the phase that the job has reached: the newest step is repeated with it; else as `step`."""
        with self._database.transaction(wait) as connection:
            newest = self.steps(job)[-1:]
            phase = newest[0].phase if newest else Phase.OFFERED
            self._require(job, phase)
            _append(connection, job, self._clock(), phase, {**newest[0].detail, **detail})

    def _require(self, job: str, then: Phase) -> None:
        """See that the journal is open and that a phase may follow."""
        row = self.get(job)
        if row.ended_at is not None:
            raise UsageError(codes.JOB_ENDED, job=job, state=row.state.value)
        told = [step.phase for step in self.steps(job)]
        if not phases.may_follow(row.role, told, then):
            reached = phases.reached(row.role, told)
            raise InternalError(
                codes.PHASE_REFUSED, job=job, host=self._host, role=row.role.value, phase=reached.value, then=then.value
            )

    def steps(self, job: str, after: int = 0) -> Sequence[JournalStep]:
        """Return the journal after the step with that number."""
        rows = self._database.rows("SELECT * FROM journal WHERE job = ? AND seq > ? ORDER BY seq", (job, after))
        return [_step(row) for row in rows]

    def last(self, job: str, phase: Phase) -> JournalStep | None:
        """Return the newest step of that phase."""
        row = self._database.row(
            "SELECT * FROM journal WHERE job = ? AND phase = ? ORDER BY seq DESC LIMIT 1", (job, phase)
        )
        return _step(row) if row else None

    def mark(self, job: str, state: State, reason: str | None, wait: float = BUSY) -> bool:
        """Set a state that is not an end, such as in-doubt, with its reason; a job that has ended is not changed.

        Arguments:
            wait: seconds to wait for others who write to the database.

        Returns:
            Whether the job has not ended.
        """
        assert not state.ended, "use end()"
        with self._database.transaction(wait) as connection:
            changed = connection.execute(
                "UPDATE jobs SET state = ?, reason = ?, updated_at = ? WHERE id = ? AND ended_at IS NULL",
                (state, reason, self._clock(), job),
            )
            return changed.rowcount > 0

    def end(
        self,
        job: str,
        state: State,
        error: dict[str, Any] | None = None,
        summary: Summary | None = None,
        *,
        only: State | None = None,
    ) -> bool:
        """Close the job and its journal, with the step `ended`; the row keeps the phase in which it ended.

        Arguments:
            only: the state that it must be in; None: any.

        Returns:
            Whether this call ended it; the first one wins.

        Raises:
            InternalError: DATABASE_FAILED, or PHASE_REFUSED: whose the VM is, is being decided.
        """
        assert state.ended, "use mark()"
        now = self._clock()
        with self._database.transaction() as connection:
            row = self.find(job)
            if row is None or row.ended_at is not None or only not in (None, row.state):
                return False
            self._require(job, Phase.ENDED)
            connection.execute(
                "UPDATE jobs SET state = ?, reason = ?, error = ?, summary = ?, updated_at = ?, ended_at = ?"
                " WHERE id = ?",
                (
                    state,
                    error.get("detail") if error else None,
                    json.dumps(error) if error else None,
                    summary.model_dump_json() if summary else None,
                    now,
                    now,
                    job,
                ),
            )
            _write(connection, job, now, Phase.ENDED, {"state": state})
            return True

    def prune(self, before: float, keep: Sequence[str] = ()) -> int:
        """Remove the jobs that ended before a time, with their journals; returns how many.

        Arguments:
            before: Unix time.
            keep: jobs that stay all the same.
        """
        marks = ", ".join("?" * len(keep))
        with self._database.transaction() as connection:
            query = f"DELETE FROM jobs WHERE ended_at < ? AND id NOT IN ({marks})"  # noqa: S608 (question marks)
            return connection.execute(query, (before, *keep)).rowcount


def _append(connection: sqlite3.Connection, job: str, at: float, phase: Phase, detail: dict[str, Any]) -> None:
    """Write a step of a job that goes on."""
    connection.execute("UPDATE jobs SET phase = ?, updated_at = ? WHERE id = ?", (phase, at, job))
    _write(connection, job, at, phase, detail)


def _write(connection: sqlite3.Connection, job: str, at: float, phase: Phase, detail: dict[str, Any]) -> None:
    connection.execute(
        "INSERT INTO journal (job, seq, at, phase, detail)"
        " SELECT ?, COALESCE(MAX(seq), 0) + 1, ?, ?, ? FROM journal WHERE job = ?",
        (job, at, phase, json.dumps(detail), job),
    )


def _job(row: Row) -> JobRow:
    return JobRow(
        id=row["id"],
        role=Role(row["role"]),
        vm=row["vm"],
        peer=row["peer"],
        caller=Caller.model_validate_json(row["caller"]),
        options=json.loads(row["options"]),
        state=State(row["state"]),
        phase=Phase(row["phase"]),
        reason=row["reason"],
        error=json.loads(row["error"]) if row["error"] else None,
        summary=Summary.model_validate_json(row["summary"]) if row["summary"] else None,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        ended_at=row["ended_at"],
        position=row["position"],
        kind=MoveKind(row["kind"]),
    )


def _step(row: Row) -> JournalStep:
    return JournalStep(
        job=row["job"],
        seq=row["seq"],
        at=row["at"],
        phase=Phase(row["phase"]),
        detail=json.loads(row["detail"]),
    )
