"""What every command has in common: the global options, the client, messages and questions.

The global options may stand before or after the command: `vmferry --output json vm list` and
`vmferry vm list --output json` are the same.
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

PORT = 6601  # of vmferryd, where --host names no other
ALIASES = {"ls": "list", "migrate": "move"}
INTERRUPTED = 130  # exit code of Ctrl-C, as shells have it; not 0, so that `vmferry vm move ... && next` stops


def connect() -> Client:
    """Reach the daemon of this host; the tests put another in its place."""
    return Client.local(config.load())


@dataclass
class CommandLine:
    """The global options as they were given."""

    output: str = "table"
    host: str | None = None
    yes: bool = False
    quiet: bool = False
    verbose: bool = False
    no_headers: bool = False

    @property
    def json(self) -> bool:
        """Whether a program reads all of the output."""
        return self.output == "json"

    @property
    def names(self) -> bool:
        """Whether names alone are printed, for a shell script."""
        return self.output == "name"

    def client(self) -> Client:
        """Reach the daemon, for as long as the command runs.

        Raises:
            AccessError: --host names a host for which there is no token here.
        """
        made = click.get_current_context().with_resource(self.reach())
        made.tell = self._tell if self.verbose else None
        return made

    def reach(self) -> Client:
        """Reach the daemon: of this host over its unix socket, of another over the network with a token."""
        host = self.host or os.environ.get("VMFERRY_HOST") or "localhost"
        if host == "localhost":
            return connect()
        login = logins.load().get(host)
        if login is not None:
            return login.client()
        if kerberos.has_ticket():
            name, port = host_port(host, PORT)
            return Client.with_ticket(name, port)
        if not _is_here(host):
            raise AccessError(codes.LOGIN_MISSING, host=host, path=str(logins.path()))
        return connect()

    def message(self, text: str) -> None:
        """Tell the person something that is not data; not with --quiet."""
        if not self.quiet:
            click.echo(json.dumps({"message": text}) if self.json else text, err=True)

    def _tell(self, request: str) -> None:
        click.echo(json.dumps({"request": request}) if self.json else request, err=True)

    def confirm(self, question: str) -> None:
        """Ask before something that cannot be taken back.

        Raises:
            UsageError: nobody can be asked, and --yes was not given.
            click.Abort: the answer is no.
        """
        if self.yes:
            return
        if self.json or not sys.stdin.isatty():
            raise UsageError(codes.CONFIRMATION_NEEDED, question=question)
        click.confirm(question, abort=True, err=True)


def _is_here(name: str) -> bool:
    try:
        with connect() as client:
            return client.host().name == name
    except VmferryError:  # a workstation, where no daemon is
        return False


pass_command_line = click.make_pass_decorator(CommandLine, ensure=True)


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        cli = ctx.ensure_object(CommandLine)
        if value:  # given here; if not, what was given before the command stands
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
    """Make the options that the top and every command take."""
    return [
        click.Option(
            ["-o", "--output"],
            type=click.Choice(["table", "wide", "name", "json"]),
            expose_value=False,
            is_eager=True,
            callback=_keep("output"),
            help="A table (the default); wide: with more columns, and no line is broken; name: only the name or "
            "identifier, one a line; json: for a program, see docs/json.md.",
        ),
        _flag(["--no-headers"], "no_headers", "Print tables without their first line."),
        click.Option(
            ["--host"],
            metavar="NAME",
            expose_value=False,
            callback=_keep("host"),
            shell_complete=_complete_host,
            help="Whose VMs and settings. Default: the host that $VMFERRY_HOST names, else this host; another takes "
            "a token, see `vmferry host login`.",
        ),
        _flag(["--yes"], "yes", "Do not ask for confirmation."),
        _flag(["-q", "--quiet"], "quiet", "Print data and errors only: no messages and no progress."),
        _flag(
            ["-v", "--verbose"],
            "verbose",
            "Print each request to vmferryd on stderr, with its answer's status and the time it took.",
        ),
        click.Option(
            ["--color"],
            type=click.Choice(["auto", "always", "never"]),
            expose_value=False,
            is_eager=True,
            callback=_choose_colour,
            help="Whether output has colours. Default: on a terminal, unless $NO_COLOR is set.",
        ),
    ]


def _flag(names: list[str], setting: str, help_: str) -> click.Option:
    return click.Option(names, is_flag=True, expose_value=False, callback=_keep(setting), help=help_)


class Command(click.Command):
    """A command that takes the global options too, and has an example at the end of its help."""

    def __init__(self, name: str | None, *, example: str, **settings: Any) -> None:
        lines = "\n".join(f"  {line}" for line in example.strip().splitlines())
        super().__init__(name, epilog=f"\b\nExample:\n{lines}", **settings)
        self.params += global_options()


class Group(click.Group):
    """A group whose commands take the global options, and may be called by the words that other programs have."""

    command_class = Command
    group_class = type

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command by its name or an alias."""
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))


def add_global_options(group: click.Group) -> None:
    """Let a group take the global options itself."""
    group.params += global_options()
