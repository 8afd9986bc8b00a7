"""`vmferry migration`: enable or disable moves to and from this host."""

import sys
from typing import Literal

import click

from vmferry.cli.terminal.context import INTERRUPTED, CommandLine, Group, pass_command_line
from vmferry.cli.terminal.output import show
from vmferry.client import Client
from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.messages.api import SettingsAnswer

Moves = Literal["wait", "cancel"]

moves_options = (
    click.option("--wait", "moves", flag_value="wait", help="Wait until moves in progress have ended."),
    click.option(
        "--cancel", "moves", flag_value="cancel", help="Cancel moves in progress that have not passed their commit."
    ),
)


@click.group(cls=Group)
def migration() -> None:
    """Enable or disable moves to and from this host."""


@migration.command("enable", example="vmferry migration enable")
@pass_command_line
def enable(cli: CommandLine) -> None:
    """Enable moves to and from this host. They are disabled on a new host."""
    answer = cli.client().enable()
    _tell(cli, answer, "Migration is enabled." if answer.changed else "Migration is enabled already.")


@migration.command("disable", example="vmferry migration disable\nvmferry migration disable --wait")
@moves_options[0]
@moves_options[1]
@pass_command_line
@click.pass_context
def disable(ctx: click.Context, cli: CommandLine, moves: Moves | None) -> None:
    """Disable moves to and from this host.

    If moves are in progress, the command asks whether to wait for them or to cancel them. It returns when they have
    ended; Ctrl-C stops waiting, and the moves continue.
    """
    client = cli.client()
    answer = turn_off(cli, client, moves)
    _tell(cli, answer, "Migration is disabled." if answer.changed else "Migration is disabled already.")
    if not wait_for(cli, client, answer.jobs):
        ctx.exit(INTERRUPTED)


def turn_off(cli: CommandLine, client: Client, moves: Moves | None) -> SettingsAnswer:
    """Disable migration. Ask about moves in progress, if no option decides and there is a terminal.

    Raises:
        UsageError: moves-in-progress, and there is no terminal to ask on.
        click.Abort: the user chose to do nothing.
    """
    try:
        return client.disable(moves)
    except UsageError as error:
        alone = cli.json or cli.yes or not sys.stdin.isatty()
        if error.code.name != codes.MOVES_IN_PROGRESS.name or alone:
            raise
        cli.message(error.reason)
    choice = click.Choice(["wait", "cancel", "nothing"])
    said = click.prompt("Wait for them, cancel them, or do nothing", type=choice, default="nothing", err=True)
    if said == "nothing":
        raise click.Abort
    return client.disable("wait" if said == "wait" else "cancel")


def wait_for(cli: CommandLine, client: Client, jobs: list[str]) -> bool:
    """Wait until moves have ended. Return False if Ctrl-C stopped the wait."""
    if jobs:
        cli.message(f"Waiting for {', '.join(jobs)} to end.")
    try:
        for job in jobs:
            for _ in client.events(job):
                pass
    except KeyboardInterrupt:
        cli.message("The moves continue; `vmferry job list` shows them.")
        return False
    return True


def _tell(cli: CommandLine, answer: SettingsAnswer, said: str) -> None:
    for note in [said, *answer.notes]:
        cli.message(note)
    if cli.json:
        show(cli, answer, {})
