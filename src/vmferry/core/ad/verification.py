"""What `vmferry delegation verify` found: step by step, what the domain lets a host do for a user."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from vmferry.core import codes
from vmferry.core.ad.delegation import DelegationLink, NameFault
from vmferry.core.errors import VmferryError


class StepState(StrEnum):
    """How a step went."""

    OK = "ok"
    FAILED = "failed"
    NOT_TRIED = "not-tried"


class VerificationStep(BaseModel):
    """One thing that has to be right."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: StepState
    code: str = Field(description="an error code; empty: nothing is wrong")
    detail: str = Field(description="what was seen")
    remedy: str = Field(description="empty: nothing is wrong")

    @classmethod
    def ok(cls, name: str, detail: str) -> Self:
        """Say that a step is right."""
        return cls(name=name, state=StepState.OK, code="", detail=detail, remedy="")

    @classmethod
    def of(cls, name: str, error: VmferryError, state: StepState = StepState.FAILED) -> Self:
        """Return a failed step with its error."""
        return cls(name=name, state=state, code=error.code.name, detail=error.reason, remedy=error.remedy)


class DelegationCheck(BaseModel):
    """What the domain's directory says, and what its KDC does."""

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
    """What one domain controller knows, as far as delegation between two hosts goes."""

    model_config = ConfigDict(frozen=True)

    links: list[DelegationLink]
    names: list[NameFault]


def compare(seen: Mapping[str, Seen], away: Mapping[str, VmferryError]) -> VerificationStep:
    """Return whether a domain's controllers know the same; a change reaches one after the other.

    Arguments:
        seen: of the controllers that answered, the first of which is the one that was asked for the rest.
        away: why others did not.
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
