"""`vmferry`: the top-level command, its error messages and its exit codes."""

import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from vmferry import __version__
from vmferry.cli.commands.audit import audit
from vmferry.cli.commands.delegation import delegation
from vmferry.cli.commands.doctor import doctor
from vmferry.cli.commands.job import job
from vmferry.cli.commands.migration import migration
from vmferry.cli.commands.network import network
from vmferry.cli.commands.vm import vm
from vmferry.cli.host.host import host
from vmferry.cli.terminal.colour import coloured
from vmferry.cli.terminal.context import INTERRUPTED, CommandLine, Group, add_global_options, pass_command_line
from vmferry.core import codes
from vmferry.core.errors import Exit, UsageError, VmferryError


class Top(Group):
    """The top-level command. It loads `lab` only on demand, because the lab need not be installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return [*super().list_commands(ctx), "lab"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        return _lab() if cmd_name == "lab" else super().get_command(ctx, cmd_name)


def _lab() -> click.Command:
    try:
        found = importlib.import_module("vmferry.cli.commands.lab").lab
    except ModuleNotFoundError as error:
        missing = error.name or "a module"

        def explain() -> None:
            raise UsageError(codes.LAB_MISSING, module=missing)

        return click.Command(
            "lab",
            callback=explain,
            help="Run test hosts on this machine (not installed here).",
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
            add_help_option=False,
        )
    assert isinstance(found, click.Command)
    return found


@click.group(
    cls=Top,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 success, 1 failure, 2 usage error, 3 a check found a problem, 4 access denied, "
    "5 a host does not answer, 6 cancelled, 130 interrupted by Ctrl-C. Error codes: docs/errors.md.",
)
@click.version_option(__version__, prog_name="vmferry", message="%(prog)s %(version)s")
@pass_command_line
def top(_cli: CommandLine) -> None:
    """Move running virtual machines between standalone KVM hosts."""


add_global_options(top)


@top.command("version", example="vmferry version")
def version() -> None:
    """Print the version. This is the same as --version."""
    click.echo(f"vmferry {__version__}")


@top.command("help", example="vmferry help vm move\nvmferry help --man")
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.option("--man", is_flag=True, help="Print the manual page in the format of man(1).")
def help_(words: tuple[str, ...], man: bool) -> int:
    """Print the help of a command. This is the same as --help."""
    if man:
        click.echo(importlib.import_module("vmferry.cli.manual").page(), nl=False)
        return int(Exit.DONE)
    return run([*words, "--help"])


for noun in (host, migration, network, vm, job, delegation, doctor, audit):
    top.add_command(noun)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    try:
        result: Any = top.main(list(arguments), prog_name="vmferry", standalone_mode=False)
        sys.stdout.flush()
    except VmferryError as error:
        _complain(error, arguments)
        return int(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return int(Exit.USAGE)
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "vmferry"
        _complain(UsageError(codes.COMMAND_LINE, detail=_sentence(error), command=command), arguments)
        return int(Exit.USAGE)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:  # `vmferry vm list | head`: the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.FAILED)
    return result if isinstance(result, int) else int(Exit.DONE)


def main() -> None:
    """Run `vmferry`."""
    sys.exit(run(sys.argv[1:]))


def _sentence(error: click.ClickException) -> str:
    said = error.format_message().strip().replace("\n", " ")
    return said if said.endswith((".", "?", "?)")) else f"{said}."


def _complain(error: VmferryError, arguments: Sequence[str]) -> None:
    """Print an error: its reason and remedy, or a problem document (RFC 9457) with --output json."""
    if _wants_json(arguments):
        click.echo(json.dumps({"problem": error.problem()}), err=True)
    else:
        head = click.style("Error:", fg="red")
        text = f"{head} {error.reason}\n{error.remedy} ({error.code.name})"
        click.echo(text, err=True, color=coloured(sys.stderr))


def _wants_json(arguments: Sequence[str]) -> bool:
    """Return whether the arguments ask for JSON. Click may have failed to parse them, so they are read here."""
    chosen = "table"
    for number, argument in enumerate(arguments):
        if argument in ("-o", "--output") and number + 1 < len(arguments):
            chosen = arguments[number + 1]
        elif argument.startswith("--output="):
            chosen = argument.partition("=")[2]
        elif argument.startswith("-o") and not argument.startswith("--"):
            chosen = argument[2:]
        elif argument == "--":
            break
    return chosen == "json"


if __name__ == "__main__":
    main()
