"""The events of a job, as the API streams them."""

from collections.abc import Iterator
from dataclasses import dataclass

from vmferry.core.job import Progress
from vmferry.core.message import load
from vmferry.core.messages.api import Job, PhaseEvent, StateEvent

Event = PhaseEvent | Progress | StateEvent | Job
"""An event of a job: a phase has started, progress, or a new state. The last event is the Job, which has ended."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One server-sent event, before its data is parsed."""

    event: str
    data: str


def messages(lines: Iterator[str]) -> Iterator[ServerSentEvent | None]:
    """Yield the events of a text/event-stream (HTML standard, 9.2.6), and None for each comment."""
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
    """Return the event in a message; None for a kind of event that only newer daemons send.

    Raises:
        ValueError: the data is not JSON, or not of the kind that the message names.
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
