"""The result of `vmferry delegation verify`: step by step, what the domain lets a host do for a user."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from vmferry.core import codes
from vmferry.core.ad.delegation import DelegationLink, NameFault
from vmferry.core.errors import VmferryError


class StepState(StrEnum):
    """The result of a step."""

    OK = "ok"
    FAILED = "failed"
    NOT_TRIED = "not-tried"


class VerificationStep(BaseModel):
    """One condition that must hold."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: StepState
    code: str = Field(description="an error code; empty: nothing is wrong")
    detail: str = Field(description="what was seen")
    remedy: str = Field(description="empty: nothing is wrong")

    @classmethod
    def ok(cls, name: str, detail: str) -> Self:
        """Return a step that passed."""
        return cls(name=name, state=StepState.OK, code="", detail=detail, remedy="")

    @classmethod
    def of(cls, name: str, error: VmferryError, state: StepState = StepState.FAILED) -> Self:
        """Return a failed step with its error."""
        return cls(name=name, state=state, code=error.code.name, detail=error.reason, remedy=error.remedy)


class DelegationCheck(BaseModel):
    """The findings in the domain's directory, and of its KDC."""

    model_config = ConfigDict(frozen=True)

    source: str
    destination: str
    user: str
    controller: str = Field(description="the domain controller whose directory was asked")
    steps: list[VerificationStep]

    @property
    def failed(self) -> bool:
        """Whether a move would fail."""
        return any(step.state is StepState.FAILED for step in self.steps)


class Seen(BaseModel):
    """What one domain controller knows about delegation between two hosts."""

    model_config = ConfigDict(frozen=True)

    links: list[DelegationLink]
    names: list[NameFault]


def compare(seen: Mapping[str, Seen], away: Mapping[str, VmferryError]) -> VerificationStep:
    """Return whether the domain's controllers agree; a change reaches one after the other.

    Arguments:
        seen: of the controllers that answered; the first is the one that was asked for all else.
        away: why others did not answer.
    """
    name = "controllers"
    first, *others = seen
    different = [other for other in others if seen[other] != seen[first]]
    if different:
        error = VmferryError(codes.CONTROLLERS_DIFFER, controller=first, others=", ".join(different))
        return VerificationStep.of(name, error)
    if away:
        error = next(iter(away.values()))
        return VerificationStep.of(name, error, StepState.NOT_TRIED)
    if others:
        return VerificationStep.ok(name, f"{', '.join(seen)} know the same.")
    return VerificationStep.ok(name, f"{first} was asked; no other was.")
