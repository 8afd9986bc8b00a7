"""The events of a job, as the API streams them."""

from collections.abc import Iterator
from dataclasses import dataclass

from vmferry.core.job import Progress
from vmferry.core.message import load
from vmferry.core.messages.api import Job, PhaseEvent, StateEvent

Event = PhaseEvent | Progress | StateEvent | Job
"""What happens to a job: a phase begins, progress, its state changes; a Job is the last, ended."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One message, before its data is read."""

    event: str
    data: str


def messages(lines: Iterator[str]) -> Iterator[ServerSentEvent | None]:
    """Take a text/event-stream apart (HTML standard, 9.2.6); None for a comment."""
    event, data = "message", list[str]()
    for line in lines:
        if not line:
            if data:
                yield ServerSentEvent(event, "\n".join(data))
            event, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "":
            yield None
        elif field == "event":
            event = value
        elif field == "data":
            data.append(value)


def event(message: ServerSentEvent) -> Event | None:
    """Read a message's data; None for one of a newer daemon.

    Raises:
        ValueError: it is no JSON, or not of the kind that the message says.
    """
    data = load(message.data)
    match message.event:
        case "phase":
            return PhaseEvent.model_validate(data)
        case "progress":
            return Progress.model_validate(data)
        case "state":
            return StateEvent.model_validate(data)
        case "end":
            return Job.model_validate(data)
    return None
