"""Restrictions of a host's operators to some VMs and destinations, by glob patterns."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.redaction import not_secret

Glob = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"),
    AfterValidator(not_secret),
]


MOST = 1000  # that a host keeps


class Restriction(BaseModel):
    """What an operator may move, and to where. Several of one operator add up; one without any is not restricted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    who: Glob = Field(description="a user, @ and a group, or `token NAME`")
    vms: list[Glob] = Field(default=["*"], min_length=1, description="VMs, by glob")
    to: list[Glob] = Field(default=["*"], min_length=1, description="destinations, by glob; this host's name: to here")

    def allows(self, vm: str, destination: str) -> bool:
        """Return whether it allows a move."""
        return _matches(vm, self.vms) and _matches(destination, self.to)

    def __str__(self) -> str:
        return f"{self.who}: {' '.join(self.vms)} to {' '.join(self.to)}"


def add(listed: Sequence[Restriction], made: Restriction) -> list[Restriction]:
    """Return the list with one more; adding the same one again changes nothing.

    Raises:
        UsageError: bad-request; the list is full.
    """
    if made in listed:
        return list(listed)
    if len(listed) >= MOST:
        raise UsageError(codes.BAD_REQUEST, detail=f"there are {MOST} limits already")
    return [*listed, made]


def remove(listed: Sequence[Restriction], who: str) -> list[Restriction]:
    """Return the list without the restrictions of one operator."""
    return [one for one in listed if one.who != who]


def against(
    restrictions: Sequence[Restriction], is_caller: Callable[[str], bool], vm: str, destination: str
) -> list[Restriction]:
    """Return the restrictions of an operator that do not allow a move; none if the move is allowed.

    Arguments:
        is_caller: returns whether a user, @group or token is the caller, or a group of the caller.
    """
    theirs = [one for one in restrictions if is_caller(one.who)]
    return [] if any(one.allows(vm, destination) for one in theirs) else theirs


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
