"""What vmferryd asks of a worker on its control socket, what the worker answers, and what it reports to who watches.

Each is one line of JSON. Both are of this host, and yet need not be of the same release, since a worker outlives the
update of vmferryd: the rules are those of core/message.py. The source's word on the verdict, which comes by way of
vmferryd where the session is gone, is the same as between the workers (core/move/messages.py).
"""

import json
import logging
from collections.abc import Callable
from typing import Any, get_args

from pydantic import Field, StrictBool, ValidationError

from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.job import Phase, Progress
from vmferry.core.message import Line, Message, Named, fault, load
from vmferry.core.messages.offer import Address
from vmferry.core.move.messages import Abort, Go
from vmferry.core.text import printable

log = logging.getLogger("vmferry.transfer")

_SHOWN = 100  # characters of a name that nobody knows


class WatchRequest(Named):
    """Report what happens, until the worker ends. It is answered by reports alone."""

    do = "watch"


class AddressesRequest(Named):
    """Where the worker listens."""

    do = "addresses"


class CancelRequest(Named):
    """Give the move up."""

    do = "cancel"
    caller: Line = Field(default="somebody", description="who wants that")
    force: StrictBool = Field(default=False, description="on this host's own word; the other host is not asked")


WorkerRequest = WatchRequest | AddressesRequest | CancelRequest | Go | Abort

_KINDS: dict[str, type[WorkerRequest]] = {kind.do: kind for kind in get_args(WorkerRequest)}


class Listening(Message):
    """Where a worker listens."""

    addresses: list[Address]


class RequestTaken(Message):
    """A worker has heard what it was told."""

    ended: StrictBool = Field(default=False, description="whether its job has ended by now")


WorkerAnswer = Listening | RequestTaken
WorkerReport = Phase | Progress
"""What a worker tells those who watch: the phase that begins, or how far it is."""

_REPORTS: dict[str, Callable[[Any], WorkerReport]] = {"progress": Progress.model_validate, "phase": Phase}


def read(said: object) -> WorkerRequest:
    """Read a request.

    Raises:
        ValueError: it is no JSON object.
        UsageError: bad-request; no worker of this release can do that.
    """
    if not isinstance(said, dict):
        raise ValueError("a request is an object")
    name = said.get("do")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise cannot(str(name))
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        raise UsageError(codes.BAD_REQUEST, detail=f"{name}: {fault(error)}") from error


def cannot(name: str) -> UsageError:
    """Return the error of a request that a worker, or one of this end of a move, does not know."""
    return UsageError(codes.BAD_REQUEST, detail=f"a worker cannot {printable(name, _SHOWN)}")


def kind_of(report: WorkerReport) -> str:
    """Return what kind of report it is; who begins to watch hears the last one of each."""
    return "progress" if isinstance(report, Progress) else "phase"


def write_report(report: WorkerReport) -> bytes:
    """Return a report as it is sent."""
    value = report.model_dump(mode="json") if isinstance(report, Progress) else report.value
    return json.dumps({kind_of(report): value}).encode() + b"\n"


def read_report(line: bytes) -> WorkerReport | None:
    """Read a report; None: another release wrote it, and it says nothing here.

    Raises:
        ValueError: it is no JSON.
    """
    said = load(line)
    for kind in _REPORTS if isinstance(said, dict) else ():
        if kind in said:
            try:
                return _REPORTS[kind](said[kind])
            except ValueError as error:
                log.warning("a worker reports its %s in a way unknown here: %s", kind, error)
    return None
