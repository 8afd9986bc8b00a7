"""`vmferry job`: moves, running and ended."""

import click

from vmferry.cli import complete
from vmferry.cli.context import INTERRUPTED, Group, Settings, pass_settings
from vmferry.cli.follow import Detached, detach, follow
from vmferry.cli.output import moment, show_job, show_list
from vmferry.cli.units import duration
from vmferry.core.api import Job


@click.group(cls=Group)
def job() -> None:
    """See, watch and cancel moves."""


@job.command("list", example="vmferry job list")
@pass_settings
def list_(settings: Settings) -> None:
    """List the moves from and to this host, the oldest first."""
    show_list(
        settings,
        settings.client().jobs(),
        {
            "id": lambda job: job.id,
            "vm": lambda job: job.vm,
            "from": lambda job: job.source,
            "to": lambda job: job.destination,
            "state": lambda job: job.state.value,
            "phase": _phase,
            "began": lambda job: moment(job.created_at),
            "took": lambda job: duration((job.ended_at - job.created_at).total_seconds()) if job.ended_at else "-",
        },
    )


@job.command("show", example="vmferry job show 7f3a9c")
@click.argument("job_id", metavar="JOB", shell_complete=complete.jobs)
@pass_settings
def show(settings: Settings, job_id: str) -> None:
    """Show a move: how far it is, or how it ended."""
    show_job(settings, settings.client().job(job_id))


@job.command("watch", example="vmferry job watch 7f3a9c")
@click.argument("job_id", metavar="JOB", shell_complete=complete.jobs)
@pass_settings
@click.pass_context
def watch(ctx: click.Context, settings: Settings, job_id: str) -> None:
    """Watch a move to its end.

    Ctrl-C stops watching; the move goes on. The exit code is that of the move.
    """
    client = settings.client()
    found = client.job(job_id)
    try:
        follow(settings, client, found)
    except Detached:
        detach(settings, found)
        ctx.exit(INTERRUPTED)


@job.command("cancel", example="vmferry job cancel 7f3a9c")
@click.argument("job_id", metavar="JOB", shell_complete=complete.running_jobs)
@pass_settings
def cancel(settings: Settings, job_id: str) -> None:
    """Cancel a move: the VM runs on where it is, and what was made for the move is removed.

    A move that has passed its commit cannot be cancelled: let it finish, then move the VM back.
    """
    settings.client().cancel(job_id)
    settings.message(f"Job {job_id} was asked to end; `vmferry job watch {job_id}` shows when it has.")


def _phase(job: Job) -> str:
    if job.position is not None:
        return f"number {job.position} for {job.destination}"
    if job.progress and job.progress.percent is not None and not job.state.ended:
        return f"{job.phase.value} {job.progress.percent:.0f} %"
    return job.phase.value
