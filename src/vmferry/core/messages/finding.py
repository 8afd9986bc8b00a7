"""The findings of the checks before a move."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Self

from pydantic import Field

from vmferry.core.errors import Code, Exit, VmferryError
from vmferry.core.message import Line, Value, Values


class Severity(StrEnum):
    """What a finding means for the move."""

    BLOCKS = "blocks"
    WARNS = "warns"

    @classmethod
    def _missing_(cls, value: object) -> "Severity":
        """Return a value of a newer release as a warning: the host that finds a fault refuses the move by itself."""
        return cls.WARNS


class Finding(Value):
    """One thing that prevents a move, or that the user should know; docs/checks.md lists every code."""

    code: Line = Field(description="stable; the error code of a move that is refused for it")
    severity: Severity
    detail: Line = Field(description="the fault, in one sentence")
    source: Line = Field(description="what was seen on the source; empty if it does not matter")
    destination: Line = Field(description="what was seen on the destination; empty if it does not matter")
    remedy: Line = Field(description="the command or setting that removes the cause")
    fields: Values = Field(description="what the sentences name")

    @classmethod
    def blocks(cls, code: Code, seen: tuple[str, str], /, **fields: Any) -> Self:
        """Return a finding that makes the move impossible.

        Arguments:
            seen: what was seen on the source and on the destination; empty if it does not matter there.
            fields: the fields of the code's sentences.
        """
        return cls._make(code, Severity.BLOCKS, seen, fields)

    @classmethod
    def warns(cls, code: Code, seen: tuple[str, str], /, **fields: Any) -> Self:
        """Return a finding that does not stop the move; arguments as for `blocks`."""
        return cls._make(code, Severity.WARNS, seen, fields)

    @classmethod
    def _make(cls, code: Code, severity: Severity, seen: tuple[str, str], fields: dict[str, Any]) -> Self:
        detail, remedy = code.explain(fields)
        return cls(
            code=code.name,
            severity=severity,
            detail=detail,
            source=seen[0],
            destination=seen[1],
            remedy=remedy,
            fields=fields,
        )

    def error(self) -> VmferryError:
        """Return the error that refuses the move for this finding."""
        return VmferryError.from_problem(
            {
                "code": self.code,
                "detail": self.detail,
                "remedy": self.remedy,
                "exit_code": int(Exit.PREFLIGHT),
                "status": 409,
                "fields": self.fields,
            }
        )


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with those that block first, otherwise in the same order."""
    return sorted(findings, key=lambda finding: finding.severity is not Severity.BLOCKS)


def blocker(findings: Iterable[Finding]) -> Finding | None:
    """Return the first finding that makes the move impossible; None if there is none."""
    return next((finding for finding in findings if finding.severity is Severity.BLOCKS), None)


def require_none(findings: Iterable[Finding]) -> None:
    """Refuse a move if a finding makes it impossible.

    Raises:
        VmferryError: the error of the first such finding.
    """
    found = blocker(findings)
    if found is not None:
        raise found.error()
