"""Reads the journals of both hosts from outside, whatever state their programs are in."""

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from vmferry.lab.host import LabHost


@dataclass(frozen=True, slots=True)
class Record:
    """What a host has on record of a job."""

    job: str
    state: str
    phases: tuple[str, ...]
    error: str
    ended: bool


def read(host: LabHost, vm: str, since: float) -> Record | None:
    """Return what a host has on record of the newest move of a VM.

    Arguments:
        since: Unix time; an older job does not count.
    """
    file = host.home / "vmferry" / "vmferry.db"
    return _read(file, vm, since) if file.exists() else None


def _read(file: Path, vm: str, since: float) -> Record | None:
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=2.0)) as database:
            row = database.execute(
                "SELECT id, state, coalesce(error, reason, ''), ended_at FROM jobs WHERE vm = ? AND created_at >= ?"
                " ORDER BY created_at DESC LIMIT 1",
                (vm, since),
            ).fetchone()
            if row is None:
                return None
            phases = database.execute("SELECT phase FROM journal WHERE job = ? ORDER BY seq", (row[0],)).fetchall()
    except sqlite3.OperationalError:
        return None  # locked by a fault, or being made
    return Record(row[0], row[1], tuple(phase for (phase,) in phases), str(row[2]), row[3] is not None)


def await_step(host: LabHost, vm: str, since: float, phase: str, limit: float) -> bool:
    """Wait until a step is in a host's journal; return whether it came within `limit` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = read(host, vm, since)
        if found and phase in found.phases:
            return True
        if found and found.ended:
            return False
        time.sleep(0.001)  # SQLite tells nobody that something was written
    return False
