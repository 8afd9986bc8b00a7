"""What vmferryd asks of vmferry-supervisor, and what that answers: one JSON object a line each.

`{"do": "start", "job": JOB}` and `{"do": "status"}`. The supervisor outlives updates of vmferryd, so that the two need
not be of the same release: what the reader does not know is passed over. The standard library is enough here, as it is
for the supervisor.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

EXPECTED = 'expected {"do": "start", "job": JOB} or {"do": "status"}'
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class ChildState(StrEnum):
    """Where a program stands that is kept running."""

    WAITING = "waiting"  # to be started again
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class StartRequest:
    """Start the worker of a job, unless it runs."""

    job: str

    def wire(self) -> dict[str, str]:
        """Return it as it is sent."""
        return {"do": "start", "job": self.job}


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """How all programs stand."""

    def wire(self) -> dict[str, str]:
        """Return it as it is sent."""
        return {"do": "status"}


SupervisorRequest = StartRequest | StatusRequest


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """How one program stands.

    Arguments:
        pid: of its process; None: it has none now.
        starts: how often it was started.
    """

    state: ChildState
    pid: int | None
    starts: int

    def wire(self) -> dict[str, Any]:
        """Return it as it is sent, in the answer to a start."""
        return {"ok": True, **asdict(self)}


@dataclass(frozen=True, slots=True)
class SupervisorStatus:
    """How all programs stand."""

    vmferryd: ChildStatus
    workers: dict[str, ChildStatus] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """Return it as it is sent."""
        return {"ok": True, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is not carried out."""

    error: str = EXPECTED

    def wire(self) -> dict[str, Any]:
        """Return it as it is sent."""
        return {"ok": False, "error": self.error}


SupervisorAnswer = ChildStatus | SupervisorStatus | Refused


def read(line: bytes) -> SupervisorRequest:
    """Read a request.

    Raises:
        ValueError: it is none.
    """
    try:
        said = json.loads(line)
    except RecursionError as error:
        raise ValueError(EXPECTED) from error
    match said:
        case {"do": "start", "job": str(job)} if _JOB.fullmatch(job):
            return StartRequest(job)
        case {"do": "status"}:
            return StatusRequest()
    raise ValueError(EXPECTED)


def write(message: SupervisorRequest | SupervisorAnswer) -> bytes:
    """Return a request or an answer as it is sent."""
    return json.dumps(message.wire()).encode() + b"\n"


def is_kept(answer: dict[str, Any], pid: int) -> bool:
    """Return whether a process is the supervisor's vmferryd, by the answer to a StatusRequest; also if it is silent."""
    daemon = answer.get("vmferryd")
    return not isinstance(daemon, dict) or daemon.get("pid") == pid
