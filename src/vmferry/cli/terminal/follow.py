"""Watch a job until it ends, and print its result."""

import sys

import click

from vmferry.cli.terminal.context import CommandLine
from vmferry.cli.terminal.output import show, summary
from vmferry.cli.terminal.progress import ProgressView, view
from vmferry.client import Client, Event
from vmferry.core import codes
from vmferry.core.errors import InternalError, VmferryError
from vmferry.core.job import Progress, State
from vmferry.core.messages.api import Job, PhaseEvent, StateEvent


class Detached(Exception):  # noqa: N818 (not an error: the user asked for it)
    """The user pressed Ctrl-C while watching; the job continues."""


def follow(cli: CommandLine, client: Client, job: Job) -> None:
    """Show the progress of a job until it ends, then its result.

    Raises:
        VmferryError: the job failed or was cancelled, or the daemon no longer answers.
        Detached: Ctrl-C.
    """
    display = view(sys.stderr, f"{job.vm} to {job.destination}", as_json=cli.json, quiet=cli.quiet)
    ended = None
    try:
        for event in client.events(job.id):
            ended = _take(display, event)
    except KeyboardInterrupt:
        raise Detached from None
    finally:
        display.close()
    conclude(cli, ended or client.job(job.id))


def conclude(cli: CommandLine, job: Job) -> None:
    """Print the result of a job.

    Raises:
        VmferryError: the job failed or was cancelled.
    """
    if job.state is State.DONE:
        if not cli.json and not cli.names:
            click.echo(f"{job.vm} runs on {job.destination}.")
        show(cli, job, summary(job))
        return
    if cli.json:
        show(cli, job, {})
    if job.error is None:
        raise InternalError(codes.INTERNAL, why=job.reason or f"job {job.id} ended as {job.state}")
    raise VmferryError.from_problem(job.error.model_dump())


def detach(cli: CommandLine, job: Job) -> None:
    """Print how to return to a job."""
    cli.message(
        f"Job {job.id} continues in the background. Watch it with `vmferry job watch {job.id}`, "
        f"cancel it with `vmferry job cancel {job.id}`."
    )


def _take(display: ProgressView, event: Event) -> Job | None:
    if isinstance(event, PhaseEvent):
        display.phase(event.phase)
    elif isinstance(event, Progress):
        display.progress(event)
    elif isinstance(event, StateEvent):
        display.message(f"{event.state.value}: {event.reason}" if event.reason else event.state.value)
    return event if isinstance(event, Job) else None
