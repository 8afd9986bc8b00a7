"""Generate the second half of the pages in docs/ that PAGES names.

Run `python -m vmferry.cli.reference`. In each file, the text above the mark is written by hand and kept;
the text below it is generated from the program.
"""

import sys
import types
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import click
from pydantic import BaseModel

from vmferry.cli.main import top
from vmferry.cli.terminal.context import global_options
from vmferry.core import codes
from vmferry.core.ad.delegation import Delegations, DirectoryChange
from vmferry.core.ad.verification import DelegationCheck
from vmferry.core.auditlog.chain import Verification
from vmferry.core.auditlog.record import AuditRecord
from vmferry.core.errors import Code, Exit, VmferryError
from vmferry.core.job import Progress
from vmferry.core.message import Named
from vmferry.core.messages.api import (
    ApiToken,
    Applied,
    Host,
    Invitation,
    Job,
    JobLog,
    MigrationNetwork,
    NewToken,
    PairedHost,
    Problem,
    SettingsAnswer,
    SetUp,
)
from vmferry.core.messages.diagnosis import HostReport, Matrix
from vmferry.core.messages.offer import Report
from vmferry.core.messages.siteapi import CertificateRequest, HostCertificate, TrustAnswer
from vmferry.core.messages.vm import VmDetail, VmSummary
from vmferry.core.move import messages, phases
from vmferry.preflight.case import Check
from vmferry.preflight.checks import (
    OF_FORECAST,
    OF_HEALTH,
    OF_HOST,
    OF_LEAVING,
    OF_MEETING,
    OF_MOVE,
    OF_PAIR,
    OF_REACH,
    OF_ROUTE,
    OF_VM,
)

MARK = "<!-- What follows is written by `python -m vmferry.cli.reference`. -->\n"
VALUES = (
    VmSummary,
    VmDetail,
    Host,
    PairedHost,
    Invitation,
    SettingsAnswer,
    Applied,
    MigrationNetwork,
    SetUp,
    TrustAnswer,
    CertificateRequest,
    HostCertificate,
    ApiToken,
    NewToken,
    Job,
    JobLog,
    Progress,
    Report,
    HostReport,
    Matrix,
    Delegations,
    DirectoryChange,
    DelegationCheck,
    AuditRecord,
    Verification,
    Problem,
)
TITLES = {
    Exit.USAGE: "Exit code 2: usage error",
    Exit.PREFLIGHT: "Exit code 3: a check found a problem; nothing was changed",
    Exit.ACCESS: "Exit code 4: access denied",
    Exit.UNREACHABLE: "Exit code 5: a host or service does not answer",
    Exit.CANCELLED: "Exit code 6: cancelled",
    Exit.FAILED: "Exit code 1: failure",
}
_KINDS = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    datetime: "time (RFC 3339)",
}
_CHECKS: tuple[tuple[str, tuple[Check[Any], ...]], ...] = (
    ("Each host by itself", OF_HOST),
    ("The VM by itself", OF_VM),
    ("The VM on the destination", OF_MOVE),
    ("Files that stay on the source", OF_LEAVING),
    ("The connection between the hosts", OF_ROUTE + OF_REACH),
    ("Prediction of the move", OF_FORECAST),
)
_DIAGNOSES: tuple[tuple[str, tuple[Check[Any], ...]], ...] = (
    ("One host", OF_HEALTH),
    ("Two hosts", OF_MEETING + OF_HOST + OF_PAIR + OF_ROUTE + OF_REACH),
)


def commands() -> str:
    """Return every command with its arguments, options and example."""
    general = {option.name for option in global_options()}
    parts = ["## Options of every command\n", _options(global_options())]
    for path, command in _walk(top, "vmferry"):
        arguments = [param for param in command.params if isinstance(param, click.Argument)]
        own = [param for param in command.params if isinstance(param, click.Option) and param.name not in general]
        usage = " ".join([path, *(_metavar(argument) for argument in arguments)])
        parts.append(f"## {path}\n")
        parts.append(f"    {usage}{' [OPTIONS]' if own else ''}\n")
        parts.append(f"{_prose(command.help or '')}\n")
        if own:
            parts.append(_options(own))
        if command.epilog:
            parts.append(f"{_example(command.epilog)}\n")
    return "\n".join(parts)


def errors() -> str:
    """Return every error code, by exit code."""
    table = [VmferryError.registry[code.name] for code in vars(codes).values() if isinstance(code, Code)]
    parts = []
    for exit_code, title in TITLES.items():
        parts.append(f"## {title}\n")
        parts.append("| code | HTTP | reason | remedy |\n|---|---|---|---|")
        for kind, code in table:
            if kind.exit_code is exit_code:
                parts.append(f"| `{code.name}` | {code.status} | {_cell(code.reason)} | {_cell(code.remedy)} |")
        parts.append("")
    return "\n".join(parts)


def found() -> str:
    """Return every code that a check may find, in the order of the checks."""
    return _table(_CHECKS)


def diagnosed() -> str:
    """Return every code that `vmferry doctor` may find, in the order of its checks."""
    return _table(_DIAGNOSES)


def _table(groups: tuple[tuple[str, tuple[Check[Any], ...]], ...]) -> str:
    parts = []
    for title, checks in groups:
        parts.append(f"## {title}\n")
        parts.append("| code | symptom | cause | remedy |\n|---|---|---|---|")
        for check in checks:
            for code, cause in check.causes.items():
                parts.append(f"| `{code.name}` | {_cell(code.reason)} | {_cell(cause)} | {_cell(code.remedy)} |")
        parts.append("")
    return "\n".join(parts)


def values() -> str:
    """Return every value that JSON output may contain."""
    todo: list[type[BaseModel]] = list(VALUES)
    parts = []
    for model in todo:
        parts.append(f"### {model.__name__}\n")
        parts.append("| name | value | meaning |\n|---|---|---|")
        for name, field in model.model_fields.items():
            todo += [found for found in _models(field.annotation) if found not in todo]
            parts.append(f"| `{name}` | {_kind(field.annotation)} | {_cell(field.description or '')} |")
        parts.append("")
    return "\n".join(parts)


def protocol() -> str:
    """Return the phases of a move, and what its workers say to each other."""
    parts = [phases.drawing(), "### What the workers say to each other\n"]
    for sender, kinds in messages.KINDS.items():
        parts.append(f"| the {sender.value} says | properties | meaning |\n|---|---|---|")
        for kind in kinds.values():
            own = {name: field for name, field in kind.model_fields.items() if name not in Named.model_fields}
            fields = [f"`{name}`: {_cell(field.description or '')}" for name, field in own.items()]
            parts.append(f"| `{kind.do}` | {'; '.join(fields)} | {_cell(kind.__doc__ or '')} |")
        parts.append("")
    return "\n".join(parts)


PAGES = {
    "checks.md": found,
    "commands.md": commands,
    "design.md": protocol,
    "doctor.md": diagnosed,
    "errors.md": errors,
    "json.md": values,
}


def page(path: Path) -> str:
    """Return the text of a page: its hand-written half, the mark, and its generated half."""
    head, mark, _ = path.read_text("utf-8").partition(MARK)
    if not mark:
        raise ValueError(f"{path} has lost its mark: {MARK}")
    return f"{head}{MARK}\n{PAGES[path.name]().rstrip()}\n"


def main() -> None:
    """Generate the pages."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    for name in PAGES:
        path = folder / name
        path.write_text(page(path), "utf-8")


def _walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    with click.Context(command) as ctx:
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            stand_in = name == "lab" and not isinstance(found, click.Group)  # of a lab that is not installed
            if found is not None and not found.hidden and not stand_in:
                yield from _walk(found, f"{path} {name}")


def _metavar(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    name = f"{name}..." if argument.nargs == -1 and not argument.metavar else name
    return name if argument.required else f"[{name}]"


def _options(options: list[click.Parameter] | list[click.Option]) -> str:
    rows = ["| option | meaning |", "|---|---|"]
    for option in options:
        assert isinstance(option, click.Option)
        spelled = "`, `".join([*option.opts, *option.secondary_opts])
        shown = f" `{_option_value(option)}`" if not option.is_flag and not option.count else ""
        rows.append(f"| `{spelled}`{shown} | {_cell(option.help or '')} |")
    return "\n".join([*rows, ""])


def _option_value(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return "|".join(str(choice) for choice in option.type.choices).replace("|", "\\|")
    return option.type.name.upper()


def _prose(text: str) -> str:
    return "\n".join(line.strip() for line in text.replace("\b", "").splitlines()).strip()


def _example(epilog: str) -> str:
    lines = epilog.replace("\b", "").strip().splitlines()
    if lines[0].strip() not in ("Example:", "Examples:"):
        return _prose(epilog)
    return "\n".join(f"    {line.strip()}" for line in lines[1:])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*")


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _kind(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _kind(parts[0])
    if origin in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else _kind(part) for part in parts)
    if origin is list:
        return f"list of {_kind(parts[0])}"
    if origin is dict:
        return f"object of {_kind(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return _KINDS.get(annotation, "anything")


if __name__ == "__main__":
    main()
