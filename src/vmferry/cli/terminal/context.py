"""What all commands share: the global options, the client, messages and confirmations.

The global options may come before or after the command: `vmferry --output json vm list` and
`vmferry vm list --output json` are equivalent.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from vmferry import config
from vmferry.cli.terminal import colour, logins
from vmferry.client import Client
from vmferry.core import codes
from vmferry.core.errors import AccessError, UsageError, VmferryError
from vmferry.core.hostport import host_port
from vmferry.identity import kerberos

PORT = 6601  # of vmferryd, if --host names no other
ALIASES = {"ls": "list", "migrate": "move"}
INTERRUPTED = 130  # exit code of Ctrl-C, as in shells; not 0, so that `vmferry vm move ... && next` stops


def connect() -> Client:
    """Return a client of this host's daemon. The tests replace this function."""
    return Client.local(config.load())


@dataclass
class CommandLine:
    """The global options of one command line, and what every command does with them."""

    output: str = "table"
    host: str | None = None
    yes: bool = False
    quiet: bool = False
    verbose: bool = False
    no_headers: bool = False

    @property
    def json(self) -> bool:
        """Whether the output is JSON, messages included."""
        return self.output == "json"

    @property
    def names(self) -> bool:
        """Whether only names are printed, for a shell script."""
        return self.output == "name"

    def client(self) -> Client:
        """Return a client of the daemon, which is closed when the command ends.

        Raises:
            AccessError: there is neither a token nor a ticket for the host that --host names.
        """
        made = click.get_current_context().with_resource(self.open_client())
        made.tell = self._tell if self.verbose else None
        return made

    def open_client(self) -> Client:
        """Return a client: of this host over its unix socket, of another host with a token or a Kerberos ticket."""
        host = self.host or os.environ.get("VMFERRY_HOST") or "localhost"
        if host == "localhost":
            return connect()
        login = logins.load().get(host)
        if login is not None:
            return login.client()
        if kerberos.has_ticket():
            name, port = host_port(host, PORT)
            return Client.with_ticket(name, port)
        if not _is_this_host(host):
            raise AccessError(codes.LOGIN_MISSING, host=host, path=str(logins.path()))
        return connect()

    def message(self, text: str) -> None:
        """Print a message on stderr, unless --quiet was given."""
        if not self.quiet:
            click.echo(json.dumps({"message": text}) if self.json else text, err=True)

    def _tell(self, request: str) -> None:
        click.echo(json.dumps({"request": request}) if self.json else request, err=True)

    def confirm(self, question: str) -> None:
        """Ask for confirmation of an action that cannot be undone.

        Raises:
            UsageError: there is no terminal to ask on, and --yes was not given.
            click.Abort: the user answered no.
        """
        if self.yes:
            return
        if self.json or not sys.stdin.isatty():
            raise UsageError(codes.CONFIRMATION_NEEDED, question=question)
        click.confirm(question, abort=True, err=True)


def _is_this_host(name: str) -> bool:
    try:
        with connect() as client:
            return client.host().name == name
    except VmferryError:  # no daemon runs here, as on a workstation
        return False


pass_command_line = click.make_pass_decorator(CommandLine, ensure=True)


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        cli = ctx.ensure_object(CommandLine)
        if value:  # given here; otherwise the value that was given before the command stays
            setattr(cli, name, value)

    return callback


def _choose_colour(_ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value:
        colour.choose(value)


def _complete_host(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    try:
        return [name for name in logins.load() if name.startswith(incomplete)]
    except VmferryError:
        return []


def global_options() -> list[click.Parameter]:
    """Return the options that the top-level command and every command accept."""
    return [
        click.Option(
            ["-o", "--output"],
            type=click.Choice(["table", "wide", "name", "json"]),
            expose_value=False,
            is_eager=True,
            callback=_keep("output"),
            help="Output format. table is the default; wide adds columns and wraps no lines; name prints only names or "
            "identifiers, one per line; json is for programs: docs/json.md.",
        ),
        _flag(["--no-headers"], "no_headers", "Print no headings above tables."),
        click.Option(
            ["--host"],
            metavar="NAME",
            expose_value=False,
            callback=_keep("host"),
            shell_complete=_complete_host,
            help="Host to manage. Default: $VMFERRY_HOST, or this host. Another host requires a token "
            "(`vmferry host login`) or a Kerberos ticket.",
        ),
        _flag(["--yes"], "yes", "Do not ask for confirmation."),
        _flag(["-q", "--quiet"], "quiet", "Print only data and errors, no messages and no progress."),
        _flag(
            ["-v", "--verbose"],
            "verbose",
            "Print each request to vmferryd on stderr, with the status of the answer and the time it took.",
        ),
        click.Option(
            ["--color"],
            type=click.Choice(["auto", "always", "never"]),
            expose_value=False,
            is_eager=True,
            callback=_choose_colour,
            help="When to use colours. Default: auto, which is on a terminal unless $NO_COLOR is set.",
        ),
    ]


def _flag(names: list[str], setting: str, help_: str) -> click.Option:
    return click.Option(names, is_flag=True, expose_value=False, callback=_keep(setting), help=help_)


class Command(click.Command):
    """A command that accepts the global options and ends its help with an example."""

    def __init__(self, name: str | None, *, example: str, **settings: Any) -> None:
        lines = "\n".join(f"  {line}" for line in example.strip().splitlines())
        super().__init__(name, epilog=f"\b\nExample:\n{lines}", **settings)
        self.params += global_options()


class Group(click.Group):
    """A group whose commands accept the global options. Names that other programs use are aliases."""

    command_class = Command
    group_class = type

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name or alias."""
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))


def add_global_options(group: click.Group) -> None:
    """Add the global options to a group."""
    group.params += global_options()
