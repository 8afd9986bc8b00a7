"""The slots of this host's limits, and what is booked with them."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from vmferry.core.policy.admission import HOLD, MoveLimits, QueueEntry, refusal
from vmferry.store.database import Database, Row


class Admissions:
    """The table `admissions`: one row for each move that has a slot on this host, or waits for one.

    Arguments:
        host: this host's name, for sentences.
        clock: returns Unix time.
    """

    def __init__(self, database: Database, host: str, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._host = host
        self._clock = clock

    def refusal(self, job: str, *, storage: bool, limits: MoveLimits, since: float | None = None) -> str | None:
        """Return why a job would have no slot now, and change nothing; the arguments are those of ask()."""
        return self._judge(job, storage, limits, since)[1]

    def ask(self, job: str, *, storage: bool, limits: MoveLimits, since: float | None = None) -> str | None:
        """Take a slot for HOLD seconds, with nothing booked yet, or return why there is none.

        Arguments:
            storage: whether the move copies storage.
            since: for an outgoing move: when it was created. It is queued by that time, and does not hold up others
                while the
                other host has no slot for it; else two hosts could each let the other's move wait behind one of their
                own.
                None: it is queued by when it first asks.

        Returns:
            Why it has no slot; None if it has one, and keep() makes it permanent.
        """
        with self._database.transaction() as connection:
            wanted, reason = self._judge(job, storage, limits, since)
            granted = reason is None
            if granted and wanted.has_slot(wanted.seen_at):
                return None  # the answer to the first question was lost
            until = wanted.seen_at + HOLD if granted else None
            if granted or since is None:
                connection.execute(
                    "INSERT INTO admissions (job, storage, memory, space, asked_at, seen_at, granted, expires_at)"
                    " VALUES (?, ?, 0, '{}', ?, ?, ?, ?) ON CONFLICT (job) DO UPDATE"
                    " SET seen_at = excluded.seen_at, granted = excluded.granted, expires_at = excluded.expires_at,"
                    " memory = 0, space = '{}'",  # what was booked with an earlier place may be another's by now
                    (job, storage, wanted.asked_at, wanted.seen_at, granted, until),
                )
            return reason

    def book(self, job: str, memory: int, space: Mapping[str, int]) -> None:
        """Book memory and space, in bytes, with a job's slot."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE admissions SET memory = ?, space = ? WHERE job = ?", (memory, json.dumps(dict(space)), job)
            )

    def keep(self, job: str) -> None:
        """Let a job keep its slot until its end."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE admissions SET expires_at = NULL WHERE job = ? AND granted", (job,))

    def release(self, job: str) -> None:
        """Release a job's slot and its bookings; the job keeps its position in the queue while it keeps asking."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE admissions SET granted = 0, expires_at = NULL, memory = 0, space = '{}' WHERE job = ?", (job,)
            )

    def entries(self) -> list[QueueEntry]:
        """Return the entries of moves that have not ended."""
        rows = self._database.rows(
            "SELECT admissions.* FROM admissions JOIN jobs ON jobs.id = admissions.job WHERE jobs.ended_at IS NULL"
        )
        return [_entry(row) for row in rows]

    def _judge(self, job: str, storage: bool, limits: MoveLimits, since: float | None) -> tuple[QueueEntry, str | None]:
        now = self._clock()
        entries = self.entries()
        known = next((entry for entry in entries if entry.job == job), None)
        if known is not None:
            wanted = replace(known, seen_at=now)
            return wanted, None if known.has_slot(now) else refusal(entries, wanted, limits, now, self._host)
        wanted = QueueEntry(job, storage, since if since is not None else now, now)
        return wanted, refusal(entries, wanted, limits, now, self._host)


def _entry(row: Row) -> QueueEntry:
    return QueueEntry(
        job=row["job"],
        storage=bool(row["storage"]),
        asked_at=row["asked_at"],
        seen_at=row["seen_at"],
        granted=bool(row["granted"]),
        expires_at=row["expires_at"],
        memory=row["memory"],
        space=json.loads(row["space"]),
    )
