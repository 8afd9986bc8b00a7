"""Every error that vmferry shows to a person or a program.

The tree::

    VmferryError                 exit code 1
     +- UsageError               2   the request itself is wrong
     +- PreflightError           3   the move cannot work as things are
     +- AccessError              4   not authenticated, or not allowed
     +- UnreachableError         5   a host or service does not answer
     +- CancelledError           6   someone cancelled it
     +- InternalError            1   a fault of ours

An error is raised with the name of its `code`; the code carries the sentence pattern for what happened and why
(`reason`) and for the way out (`remedy`), so that the same thing is said in the same words everywhere.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from vmferry.core.text import cleaned, printable

# What is said of a VM on its host as long as nobody has looked whether it runs there.
_ASSUMED = {"stands": "stays"}
_STOPS = re.compile(r"(?<=[^./\s])\.\.(?=\s|$)")


class Exit(IntEnum):
    """Exit codes of the command line (docs/design.md)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PREFLIGHT = 3
    ACCESS = 4
    UNREACHABLE = 5
    CANCELLED = 6


@dataclass(frozen=True, slots=True)
class Code:
    """A stable error code: its kebab-case name, the patterns of its sentences, its HTTP status.

    Arguments:
        name: stable, kebab-case; people script it.
        reason: one sentence naming the thing and the reason; `str.format` fields come from the error's `fields`.
        remedy: one sentence naming the way out, with the same fields.
        status: HTTP status for RFC 9457 problems.
    """

    name: str
    reason: str
    remedy: str
    status: int = 500

    def explain(self, fields: Mapping[str, Any]) -> tuple[str, str]:
        """Return the reason and the remedy as sentences.

        Text between backquotes in the remedy is a command: its fields are quoted for the shell, except for the field
        `command`, which is a command itself.

        Raises:
            LookupError, TypeError, ValueError: a field is missing, or is not of the kind that the pattern needs.
        """
        fields = {**_ASSUMED, **fields}
        words = {key: value for key, value in fields.items() if isinstance(value, str) and key != "command"}
        quoted = {**fields, **{key: shlex.quote(value) for key, value in words.items()}}
        parts = self.remedy.split("`")
        said = [part.format(**(quoted if number % 2 else fields)) for number, part in enumerate(parts)]
        return _line(self.reason.format(**fields)), _line("`".join(said))


class VmferryError(Exception):
    """Base of all errors; holds a `Code` and the fields that fill its sentences.

    Arguments:
        code: which error this is.
        fields: what the sentences name (VM, host, disk, path ...); must be JSON-serialisable and never secret.
    """

    exit_code: ClassVar[Exit] = Exit.FAILED
    registry: ClassVar[dict[str, tuple[type["VmferryError"], Code]]] = {}

    def __init__(self, code: Code, **fields: Any) -> None:
        self.code = code
        self.fields = fields
        # Another host's words may be among the fields, and the sentences go to terminals and logs.
        self.reason, self.remedy = code.explain(fields)
        super().__init__(f"{self.reason} {self.remedy}".strip())

    @classmethod
    def define(cls, name: str, reason: str, remedy: str, status: int | None = None) -> Code:
        """Register a code of this class of errors.

        Raises:
            ValueError: the name is taken.
        """
        if name in VmferryError.registry:
            raise ValueError(f"error code {name} is defined twice")
        code = Code(name, reason, remedy, status if status is not None else _STATUS[cls.exit_code])
        VmferryError.registry[name] = (cls, code)
        return code

    def problem(self) -> dict[str, Any]:
        """Return the error as an RFC 9457 problem document."""
        return {
            "type": f"urn:vmferry:error:{self.code.name}",
            "title": self.code.name,
            "status": self.code.status,
            "detail": self.reason,
            "code": self.code.name,
            "remedy": self.remedy,
            "exit_code": int(self.exit_code),
            "fields": self.fields,
        }

    @staticmethod
    def from_problem(problem: Any) -> "VmferryError":
        """Rebuild the error that a peer or the daemon sent; an unknown code keeps its sentences.

        A peer may send any JSON: the result is always an error.
        """
        problem = cleaned(problem) if isinstance(problem, dict) else {}
        name = str(problem.get("code", "unknown"))
        said = problem.get("fields")
        fields: dict[str, Any] = dict(said) if isinstance(said, dict) else {}
        if name in VmferryError.registry:
            kind, code = VmferryError.registry[name]
            try:
                return kind(code, **fields)
            except (LookupError, TypeError, ValueError):  # a newer peer changed the fields: its sentences still hold
                pass
        exit_code, status = problem.get("exit_code"), problem.get("status")
        kind = _KIND_BY_EXIT.get(exit_code, VmferryError) if isinstance(exit_code, int) else VmferryError
        if kind is CancelledError and not isinstance(fields.get("caller"), str):
            kind = VmferryError  # a cancellation has somebody who asked for it
        plain = Code(
            name,
            str(problem.get("detail", name)).replace("{", "{{").replace("}", "}}"),
            str(problem.get("remedy", "")).replace("{", "{{").replace("}", "}}"),
            status if isinstance(status, int) else 500,
        )
        error = kind(plain)
        error.fields = fields
        return error


def _line(text: str) -> str:
    # A field may be a sentence of its own: then there would be two full stops.
    return printable(_STOPS.sub(".", text.strip("\n").replace("\n", " ")))


class UsageError(VmferryError):
    """The request itself is wrong: an unknown name, a value out of range, an option that is not implemented."""

    exit_code = Exit.USAGE


class PreflightError(VmferryError):
    """The move cannot work as the two hosts stand now; nothing was changed."""

    exit_code = Exit.PREFLIGHT


class AccessError(VmferryError):
    """The caller, or the host that speaks for them, is not known or not allowed."""

    exit_code = Exit.ACCESS


class UnreachableError(VmferryError):
    """A host or a service on it does not answer."""

    exit_code = Exit.UNREACHABLE


class CancelledError(VmferryError):
    """The job was cancelled on request."""

    exit_code = Exit.CANCELLED


class InternalError(VmferryError):
    """A fault of vmferry itself, or of a program that it uses."""


_STATUS = {
    Exit.FAILED: 500,
    Exit.USAGE: 400,
    Exit.PREFLIGHT: 409,
    Exit.ACCESS: 403,
    Exit.UNREACHABLE: 502,
    Exit.CANCELLED: 409,
}
_KIND_BY_EXIT: dict[int, type[VmferryError]] = {
    Exit.USAGE: UsageError,
    Exit.PREFLIGHT: PreflightError,
    Exit.ACCESS: AccessError,
    Exit.UNREACHABLE: UnreachableError,
    Exit.CANCELLED: CancelledError,
}
