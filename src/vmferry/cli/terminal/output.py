"""Print data on stdout: tables for users, JSON for programs (docs/json.md)."""

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import click
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from vmferry.cli.terminal.colour import coloured
from vmferry.cli.terminal.context import CommandLine
from vmferry.cli.terminal.units import duration, long_ago, size
from vmferry.core.job import State
from vmferry.core.messages.api import Job

M = TypeVar("M", bound=BaseModel)
_COMMAND = re.compile(r"`[^`]*`")
_GLUE = "\N{NO-BREAK SPACE}"
WIDE = 10_000  # characters; lines that go to a pipe are not wrapped
# Columns whose values are likely to be copied: they are as wide as their longest value.
WHOLE = ("id", "name", "vm", "code", "job", "address")


def show_list(
    cli: CommandLine,
    rows: Sequence[M],
    columns: Mapping[str, Callable[[M], str]],
    *,
    more: Mapping[str, Callable[[M], str]] | None = None,
    name: Callable[[M], str] | None = None,
) -> None:
    """Print values of one kind as a JSON array or as a table.

    Arguments:
        columns: the headings, each with a function that returns the text of a value in that column.
        more: additional columns of a wide table.
        name: returns what `-o name` prints of a value; None for its first column.
    """
    if cli.json:
        click.echo(json.dumps([row.model_dump(mode="json") for row in rows], indent=2))
        return
    if cli.names:
        cell = name or next(iter(columns.values()))
        for row in rows:
            click.echo(cell(row))
        return
    wide = cli.output == "wide"
    shown = {**columns, **(more or {})} if wide else columns
    _print(table(rows, shown, headings=not cli.no_headers), wide=wide)


def table(rows: Sequence[M], columns: Mapping[str, Callable[[M], str]], *, headings: bool = True) -> Table:
    """Return a table that never cuts a value: a long value continues on the next line of its column."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=headings)
    for heading, cell in columns.items():
        whole = heading in WHOLE
        width = max([len(heading) * headings, *(len(cell(row)) for row in rows)]) if whole else None
        made.add_column(heading.upper(), min_width=width, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell(row)) for cell in columns.values()))
    return made


def show(cli: CommandLine, value: BaseModel, lines: Mapping[str, str]) -> None:
    """Print one value: a line for each property, only its name or identifier, or a JSON object.

    On a terminal, text is wrapped between words. A word that is longer than the line, such as a fingerprint, is not
    broken here, so that the terminal copies it in one piece.
    """
    if cli.json:
        click.echo(json.dumps(value.model_dump(mode="json"), indent=2))
        return
    named = getattr(value, "id", None) or getattr(value, "name", None)
    if cli.names and named:
        click.echo(named)
        return
    indent = max((len(name) for name in lines), default=0) + 2
    room = max(shutil.get_terminal_size().columns - indent, 20) if sys.stdout.isatty() else WIDE
    for name, text in lines.items():
        wrapped = [part for line in text.splitlines() or [""] for part in wrap(line, room)]
        head = click.style(name, bold=True) + " " * (indent - len(name))
        for number, part in enumerate(wrapped):
            click.echo(f"{' ' * indent if number else head}{part}".rstrip(), color=coloured(sys.stdout))


def explain(what: str, remedy: str) -> None:
    """Print a problem and its remedy, as sentences below a table."""
    room = shutil.get_terminal_size().columns - 2 if sys.stdout.isatty() else WIDE
    lines = wrap(what, room) + wrap(f"Remedy: {remedy}", room)
    for number, line in enumerate(lines):
        click.echo(f"  {line}" if number else line)


def show_lines(cli: CommandLine, value: BaseModel, lines: Sequence[str]) -> None:
    """Print lines of text unchanged, or a JSON object."""
    if cli.json:
        show(cli, value, {})
    else:
        for line in lines:
            click.echo(line)


def show_secret(cli: CommandLine, value: BaseModel, secret: str) -> None:
    """Print a secret on a line of its own that is never wrapped, or a JSON object."""
    if cli.json:
        show(cli, value, {})
    else:
        click.echo(secret)


def wrap(line: str, room: int) -> list[str]:
    """Break a line between words. A command in backquotes stays in one piece, so that it can be copied."""
    kept = _COMMAND.sub(lambda found: found[0].replace(" ", _GLUE), line)
    parts = textwrap.wrap(kept, room, break_long_words=False, break_on_hyphens=False)
    return [part.replace(_GLUE, " ") for part in parts] or [""]


def show_job(cli: CommandLine, job: Job) -> None:
    """Print the details of a job."""
    lines = {
        "job": job.id,
        "VM": job.vm,
        "from": job.source,
        "to": job.destination,
        "state": job.state.value,
        **({} if job.state is State.DONE else {"phase": job.phase.value}),
        "requested by": f"{job.caller.name} on {job.caller.host} ({job.caller.method})",
        "started": moment(job.created_at),
    }
    if job.ended_at:
        lines["ended"] = moment(job.ended_at)
    if job.progress and not job.state.ended and job.progress.percent is not None:
        lines["percent"] = f"{job.progress.percent:.1f} %"
    if job.reason:
        lines["reason"] = job.reason
    if job.error:
        lines["way out"] = f"{job.error.remedy} ({job.error.code})"
    show(cli, job, lines | summary(job))


def summary(job: Job) -> dict[str, str]:
    """Return the results of a move for `show`; empty if the job has no summary."""
    said = job.summary
    if said is None:
        return {}
    lines = {"total time": duration(said.total_time)}
    if said.downtime is not None:
        lines["pause"] = duration(said.downtime)
    lines["on the wire"] = size(said.wire_bytes)
    if said.memory_bytes or said.disk_bytes:
        lines["transferred"] = f"memory {size(said.memory_bytes)}, disks {size(said.disk_bytes)}"
    if said.connections:
        lines["connections"] = "\n".join(said.connections)
    if said.interface:
        lines["interface"] = said.interface
    if said.left:
        lines["left here"] = "\n".join(said.left)
    if said.unanswered:
        lines["no answer"] = "\n".join(said.unanswered)
    return lines


def moment(at: datetime) -> str:
    """Return a point in time as text, in the user's time zone."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(at: datetime) -> str:
    """Return how long ago a point in time was, e.g. `3 min ago`."""
    return long_ago((datetime.now(UTC) - at).total_seconds())


def _print(renderable: RenderableType, *, wide: bool = False) -> None:
    bounded = sys.stdout.isatty() and not wide
    console = Console(file=sys.stdout, width=None if bounded else WIDE, highlight=False)
    with console.capture() as captured:
        console.print(renderable)
    for line in captured.get().splitlines():
        click.echo(line.rstrip(), color=coloured(sys.stdout))
