"""A job: its identifier, its phases, and how it can end."""

import re
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from vmferry.core import codes
from vmferry.core.errors import UsageError

# What may be the name of a job's folders. Where a job comes in, its identifier is held to a closer pattern.
_FOLDER_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")


def folder_name(job: str) -> str:
    """Return the name of a job's own folders: its identifier, once checked.

    Raises:
        UsageError: bad-request; the identifier would lead to another folder.
    """
    if not _FOLDER_NAME.fullmatch(job):
        raise UsageError(codes.BAD_REQUEST, detail=f"{job[:64]!r} is no job's identifier")
    return job


class Role(StrEnum):
    """Which end of the move this host is."""

    SOURCE = "source"
    DESTINATION = "destination"


class State(StrEnum):
    """Where a job stands as a whole."""

    WAITING = "waiting"  # agreed on by both hosts, which have no place for it yet
    RUNNING = "running"
    IN_DOUBT = "in-doubt"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


class Phase(StrEnum):
    """The steps of a job; each is journaled before it is taken. core/move/phases.py has their order and meaning."""

    OFFERED = "offered"
    ADMITTED = "admitted"
    CONNECTING = "connecting"
    COPYING_FILES = "copying-files"
    COPYING = "copying"
    FINISHING = "finishing"
    COMMITTING = "committing"
    GOING = "going"
    SETTLING = "settling"
    UNDOING = "undoing"
    RESOLVING = "resolving"
    ENDED = "ended"


class Progress(BaseModel):
    """What a person sees while a job runs. Sizes in bytes, times in seconds, rates in bytes a second."""

    model_config = ConfigDict(frozen=True)

    phase: Phase
    percent: float | None = None
    disk_total: int = 0
    disk_done: int = 0
    memory_total: int = 0
    memory_done: int = 0
    remaining: int = 0
    rate: float = 0.0
    dirty_rate: float | None = None
    wire_bytes: int = 0
    elapsed: float = 0.0
    estimated: float | None = None
    iteration: int = 0


class Summary(BaseModel):
    """The result of a move that has ended, as far as it came if it failed. Times in seconds, sizes in bytes."""

    model_config = ConfigDict(frozen=True)

    total_time: float
    downtime: float | None = None  # as the hosts saw it: source stopped -> destination resumed
    wire_bytes: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    overhead_before: float | None = None  # from the request to the first byte
    overhead_after: float | None = None  # from the resume to the end of the job
    connections: list[str] = []  # "10.77.1.1 -> 10.77.1.2:6610 (TLS)"
    interface: str | None = None  # of this host, that carried them
    left: list[str] = []  # what stays on this host though the VM has gone, and why
    unanswered: list[str] = []  # addresses of the destination that came before the one that was used, and why not
