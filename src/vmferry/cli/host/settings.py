"""`vmferry host set` and `vmferry host apply`: change the settings of this host, one by one or from a file."""

import sys
import tomllib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from vmferry.cli.commands.migration import Moves, moves_options, turn_off, wait_for
from vmferry.cli.terminal.context import INTERRUPTED, Command, CommandLine, pass_command_line
from vmferry.cli.terminal.output import show
from vmferry.cli.terminal.units import parsed
from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.message import fault
from vmferry.core.messages.api import Applied, SettingsAnswer
from vmferry.core.options import Performance
from vmferry.core.policy.settings import (
    Authentication,
    Difference,
    HostSettings,
    Protection,
    SettingsChange,
    SettingsFile,
    changed,
    differences,
)

SAME = "No changes: the settings already match."
_LIMIT = click.IntRange(1, 100)


people_options = tuple(
    click.option(
        f"--{role}",
        f"{role}s",
        metavar="USER",
        multiple=True,
        help=f"Who may {may}: a user, or @GROUP; may be repeated. Replaces the previous list; '' is nobody.",
    )
    for role, may in (
        ("administrator", "change settings, like root"),
        ("operator", "move VMs, like the group `vmferry`"),
        ("viewer", "see VMs, moves and settings"),
    )
)


def people(values: dict[str, Any]) -> dict[str, list[str] | None]:
    """Return the values of the options for people; None for an option that was not given."""
    given = {name: values[name] for name in ("administrators", "operators", "viewers")}
    return {name: [one for one in said if one] if said else None for name, said in given.items()}


def _principal(text: str) -> tuple[str, str]:
    user, _, principal = text.partition("=")
    if text and (not user or not principal):
        raise ValueError(f"{text} is not USER=NAME@REALM, such as ann=ann@EXAMPLE.COM")
    return user, principal


def _choice(options: type[StrEnum]) -> click.Choice[str]:
    return click.Choice([option.value for option in options])


@click.command(
    "set",
    cls=Command,
    example="vmferry host set --max-migrations 4\nvmferry host set --only-listed-networks",
)
@click.option(
    "--authentication", type=_choice(Authentication), help="How the other host verifies the user who starts a move."
)
@click.option("--performance", type=_choice(Performance), help="How data is transferred.")
@click.option("--max-migrations", type=_LIMIT, metavar="N", help="Limit of simultaneous moves, in and out together.")
@click.option("--max-storage-migrations", type=_LIMIT, metavar="N", help="Limit of simultaneous moves with storage.")
@click.option(
    "--any-network/--only-listed-networks",
    default=None,
    help="Whether moves may use networks that are not in `vmferry network list`.",
)
@click.option(
    "--encryption",
    type=_choice(Protection),
    help="required: every move is encrypted. optional: a move with `--encryption off` is not, if both hosts allow it.",
)
@people_options[0]
@people_options[1]
@people_options[2]
@click.option(
    "--principal",
    "principals",
    metavar="USER=NAME@REALM",
    multiple=True,
    callback=parsed(_principal),
    help="Domain user as whom a user of this host moves VMs; may be repeated. Replaces the list; '' is nobody.",
)
@pass_command_line
def set_(cli: CommandLine, /, **values: Any) -> None:
    """Change settings of this host. They take effect at once; moves in progress keep the settings they started with."""
    values |= people(values)
    said = values["principals"]
    values["principals"] = dict(pair for pair in said if pair[0]) if said else None
    if all(value is None for value in values.values()):
        raise click.UsageError("Use at least one option for a setting.")
    client = cli.client()
    before = client.settings()
    show_change(cli, before, client.change_settings(SettingsChange(**values)))


@click.command(
    "apply",
    cls=Command,
    example="vmferry host apply /etc/vmferry/settings.toml --dry-run\nvmferry host apply /etc/vmferry/settings.toml",
)
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Show what would change, without changing it.")
@moves_options[0]
@moves_options[1]
@pass_command_line
@click.pass_context
def apply(ctx: click.Context, cli: CommandLine, file: str, dry_run: bool, moves: Moves | None) -> None:
    """Apply the settings in FILE (TOML; -: standard input) to this host, and show what changes.

    Settings that are not in FILE stay as they are. Applied again, it changes nothing. docs/settings.md has an example.
    """
    wanted = _read(file)
    client = cli.client()
    before = client.settings()
    after = changed(before, wanted)
    applied = not dry_run and after != before
    notes: list[str] = []
    jobs: list[str] = []
    if applied:
        if before.migration and not after.migration:
            answer = turn_off(cli, client, moves)  # first: it may be refused, and then nothing has changed
            notes, jobs = answer.notes, answer.jobs
        notes += client.change_settings(SettingsChange(**wanted.model_dump(exclude={"migration"}))).notes
        if after.migration and not before.migration:
            client.enable()
    result = Applied(changes=differences(before, after), applied=applied, notes=notes)
    for note in notes:
        cli.message(note)
    show(cli, result, _words(result.changes))
    if not result.changes:
        cli.message(SAME)
    elif dry_run:
        cli.message("Dry run: nothing was changed.")
    if not wait_for(cli, client, jobs):
        ctx.exit(INTERRUPTED)


def show_change(cli: CommandLine, before: HostSettings, answer: SettingsAnswer, same: str = SAME) -> None:
    """Print what a request has changed, and its notes; or the answer as JSON.

    Arguments:
        before: the settings before the request.
        same: the message if nothing has changed.
    """
    for note in answer.notes:
        cli.message(note)
    changes = differences(before, answer.settings)
    show(cli, answer, _words(changes))
    if not changes and not cli.json:
        cli.message(same)


def _words(changes: Sequence[Difference]) -> dict[str, str]:
    return {one.name: f"{one.before} -> {one.after}" for one in changes}


def lines(settings: HostSettings) -> dict[str, str]:
    """Return the settings of a host for `show`."""
    networks = [f"{network.subnet} (priority {network.priority})" for network in settings.networks]
    if settings.any_network:
        networks.append("any other" if networks else "any")
    return {
        "migration": "enabled" if settings.migration else "disabled",
        "authentication": settings.authentication,
        "encryption": settings.encryption,
        "performance": settings.performance,
        "at once": f"{settings.max_migrations} moves, {settings.max_storage_migrations} of storage",
        "networks": "\n".join(networks) or "none",
        "administrators": ", ".join(["root", *settings.administrators]),
        "operators": ", ".join(settings.operators) or "-",
        "viewers": ", ".join(settings.viewers) or "-",
        "limits": "\n".join(map(str, settings.restrictions)) or "-",
        "principals": ", ".join(f"{user} is {name}" for user, name in settings.principals.items()) or "-",
    }


def _read(file: str) -> SettingsFile:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        return SettingsFile.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise UsageError(codes.SETTINGS_FILE, path=file, why=fault(error)) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        raise UsageError(codes.SETTINGS_FILE, path=file, why=why) from error
