"""`vmferry job`: list, watch, cancel and settle moves."""

import time
from collections.abc import Callable, Sequence

import click
from rich.console import Console
from rich.live import Live

from vmferry.cli.commands.resolve import EXAMPLE, resolve
from vmferry.cli.terminal import complete
from vmferry.cli.terminal.context import INTERRUPTED, CommandLine, Group, pass_command_line
from vmferry.cli.terminal.follow import Detached, conclude, detach, follow
from vmferry.cli.terminal.output import ago, moment, show_job, show_lines, show_list, table
from vmferry.cli.terminal.pick import newest_first, pick, short
from vmferry.cli.terminal.progress import words
from vmferry.cli.terminal.units import duration, parse_span, parsed, size
from vmferry.client import Client
from vmferry.core import codes
from vmferry.core.errors import VmferryError
from vmferry.core.job import State
from vmferry.core.messages.api import Job

LIMIT = 20  # jobs in a table by default
GLANCE = 1.0  # seconds between two requests for the jobs

_job = click.argument("word", metavar="JOB", shell_complete=complete.jobs)


@click.group(cls=Group)
def job() -> None:
    """List, watch and cancel moves.

    JOB is the identifier of a job or the beginning of it, the name of a VM (its newest job), or `last`.
    """


@job.command(
    "list",
    example="vmferry job list --state failed --vm web01 --limit 5\nvmferry job list --state running -o name",
)
@click.option(
    "--state",
    "states",
    type=click.Choice([state.value for state in State]),
    multiple=True,
    help="Only jobs in this state; may be repeated.",
)
@click.option("--vm", "vm", metavar="VM", shell_complete=complete.vms, help="Only moves of this VM.")
@click.option(
    "--limit",
    type=click.IntRange(0),
    metavar="N",
    help=f"Only the newest N; 0 for all. Default: {LIMIT} in a table, otherwise all.",
)
@click.option("--watch", is_flag=True, help="Keep the list up to date on the terminal until Ctrl-C.")
@pass_command_line
@click.pass_context
def list_(
    ctx: click.Context, cli: CommandLine, states: Sequence[str], vm: str | None, limit: int | None, watch: bool
) -> None:
    """List the moves from and to this host, newest first."""
    if watch and (cli.json or not Console().is_terminal):
        raise click.UsageError("--watch requires a terminal. In a program, use `vmferry job watch JOB --output json`.")
    client = cli.client()
    program = cli.json or cli.names
    most = limit if limit is not None else 0 if program else LIMIT

    def wanted(jobs: Sequence[Job]) -> list[Job]:
        found = [one for one in jobs if (not states or one.state.value in states) and (vm is None or one.vm == vm)]
        return newest_first(found)

    if watch:
        _draw(client, lambda jobs: wanted(jobs)[: most or None])
        ctx.exit(INTERRUPTED)
    jobs = client.jobs()
    found = wanted(jobs)
    shown = found[: most or None]
    show_list(cli, shown, _columns(short(jobs)), more=_MORE, name=lambda job: job.id)
    if len(found) > len(shown) and not program:
        cli.message(f"Showing the newest {len(shown)} of {len(found)} moves; `--limit 0` shows all.")


@job.command("show", example="vmferry job show 7f3a9c\nvmferry job show web01")
@_job
@pass_command_line
def show(cli: CommandLine, word: str) -> None:
    """Show a move: its progress, or its result."""
    client = cli.client()
    show_job(cli, client.job(pick(client, word).id))


@job.command("watch", example="vmferry job watch 7f3a9c\nvmferry job watch last")
@_job
@pass_command_line
@click.pass_context
def watch(ctx: click.Context, cli: CommandLine, word: str) -> None:
    """Watch a move until it ends.

    Ctrl-C stops watching; the move continues. The exit code is that of the move.
    """
    client = cli.client()
    found = pick(client, word, running=True)
    try:
        follow(cli, client, found)
    except Detached:
        detach(cli, found)
        ctx.exit(INTERRUPTED)


@job.command("logs", example="vmferry job logs 7f3a9c\nvmferry job logs web01 --host kvm2")
@_job
@pass_command_line
def logs(cli: CommandLine, word: str) -> None:
    """Print the log of a move that this host's transfer process wrote.

    It has a line for each phase and each problem. The other host has its own log.
    """
    client = cli.client()
    found = client.job_log(pick(client, word).id)
    show_lines(cli, found, found.lines)
    if not found.lines:
        cli.message(
            f"Host {found.host} has no log of job {found.job}: the job has not started, or its log was removed."
        )


@job.command("wait", example="vmferry job wait web01 db01 --timeout 30m")
@click.argument("words", metavar="JOB...", nargs=-1, required=True, shell_complete=complete.running_jobs)
@click.option(
    "--timeout", metavar="TIME", callback=parsed(parse_span), help="Stop waiting after this time: 90s, 10m, 2h."
)
@pass_command_line
def wait(cli: CommandLine, words: Sequence[str], timeout: float | None) -> None:
    """Wait until moves have ended, without showing their progress.

    The exit code is that of the first move that did not succeed. The moves continue after a timeout.
    """
    client = cli.client()
    limit = None if timeout is None else time.monotonic() + timeout
    jobs = [pick(client, word, running=True) for word in words]
    ended = [_wait(client, one, limit, timeout or 0.0) for one in jobs]
    for one in sorted(ended, key=lambda one: one.state is not State.DONE):
        conclude(cli, one)


@job.command("cancel", example="vmferry job cancel 7f3a9c\nvmferry job cancel web01 --force")
@click.argument("word", metavar="JOB", shell_complete=complete.running_jobs)
@click.option(
    "--force", is_flag=True, help="Cancel it on this host even if the other host does not respond (administrators)."
)
@pass_command_line
def cancel(cli: CommandLine, word: str, force: bool) -> None:
    """Cancel a move. The VM continues to run on its source, and what was created for the move is removed.

    A move that has passed its commit cannot be cancelled. Let it finish, then move the VM back.
    """
    client = cli.client()
    found = pick(client, word, running=True)
    client.cancel(found.id, force=force)
    cli.message(
        f"Job {found.id} ({found.vm} to {found.destination}) is being cancelled; "
        f"`vmferry job watch {found.id}` shows when it has ended."
    )


job.command("resolve", example=EXAMPLE)(resolve)


def _wait(client: Client, job: Job, limit: float | None, timeout: float) -> Job:
    while not (found := client.job(job.id)).state.ended:
        if limit is not None and time.monotonic() > limit:
            raise VmferryError(codes.WAIT_OVER, job=job.id, vm=job.vm, time=duration(timeout), state=found.state.value)
        time.sleep(GLANCE / 2)
    return found


def _draw(client: Client, wanted: Callable[[Sequence[Job]], Sequence[Job]]) -> None:
    """Show the list until Ctrl-C."""
    with Live(console=Console(), auto_refresh=False) as live:
        try:
            while True:
                jobs = client.jobs()
                live.update(table(wanted(jobs), _columns(short(jobs))), refresh=True)
                time.sleep(GLANCE)
        except KeyboardInterrupt:
            pass


def _columns(length: int) -> dict[str, Callable[[Job], str]]:
    """Return the columns of the list, with so many characters of each identifier."""
    return {
        "id": lambda job: job.id[:length],
        "vm": lambda job: job.vm,
        "from": lambda job: job.source,
        "to": lambda job: job.destination,
        "state": _status,
        "started": lambda job: ago(job.created_at),
        "took": lambda job: duration((job.ended_at - job.created_at).total_seconds()) if job.ended_at else "-",
    }


_MORE: dict[str, Callable[[Job], str]] = {
    "by": lambda job: f"{job.caller.name} on {job.caller.host}",
    "at": lambda job: moment(job.created_at),
    "pause": lambda job: duration(job.summary.downtime) if job.summary and job.summary.downtime is not None else "-",
    "wire": lambda job: size(job.summary.wire_bytes) if job.summary else "-",
    "error": lambda job: job.error.code if job.error else "-",
}


def _status(job: Job) -> str:
    """Return the phase of a running job, or the state of any other."""
    if job.position is not None:
        return f"waiting, number {job.position}"
    if job.state is not State.RUNNING:
        return job.state.value
    if job.progress and job.progress.percent is not None:
        return f"{words(job.phase)} {job.progress.percent:.0f} %"
    return words(job.phase)
