"""Settling a move by hand if the other host is gone for good: which choices are safe as far as this host knows."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from vmferry.core.job import Phase, Role


class Owner(StrEnum):
    """The host that keeps the VM, as an administrator decides."""

    HERE = "here"
    THERE = "there"


class ResolveChoice(BaseModel):
    """One choice for settling a move by hand."""

    model_config = ConfigDict(frozen=True)

    outcome: str = Field(description="what becomes of the VM")
    refusal: str | None = Field(description="why it is not safe, and refused; null: it may be taken")


class Resolution(BaseModel):
    """A move that may have to be settled by hand, as this host knows it."""

    model_config = ConfigDict(frozen=True)

    job: str
    role: Role
    vm: str
    host: str = Field(description="the host that answers")
    peer: str = Field(description="the other host")
    presence: str | None = Field(
        description="how libvirt has the VM here: running, paused, busy, off, absent; null: not known"
    )
    answers: bool = Field(description="whether the other host answers")
    keep: ResolveChoice = Field(description="the VM is this host's")
    give_up: ResolveChoice = Field(description="the VM is the other host's")


class ResolveRequest(BaseModel):
    """The host that keeps the VM; the names show that the right move is meant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: Owner
    vm: str = Field(max_length=1000)
    peer: str = Field(max_length=100, description="the other host, which is gone for good")


@dataclass(frozen=True, slots=True)
class Standing:
    """What this host knows about a move.

    Arguments:
        role: which end of the move this host is.
        phases: of its journal.
        presence: the state of the VM here: running, paused, busy, off, absent; None: libvirt does not answer.
        answers: whether the other host answers.
        vm, host, peer: names of the VM, this host and the other one.
        settled: the owner, if an administrator has decided already.
    """

    role: Role
    phases: Collection[Phase]
    presence: str | None
    answers: bool
    vm: str
    host: str
    peer: str
    settled: Owner | None = None


def refusals(standing: Standing) -> dict[Owner, str]:
    """Return why choices are not safe; a choice that is missing in the result is safe."""
    found = _at_source(standing) if standing.role is Role.SOURCE else _at_destination(standing)
    if standing.settled is not None:
        other = Owner.THERE if standing.settled is Owner.HERE else Owner.HERE
        host = standing.host if standing.settled is Owner.HERE else standing.peer
        found[other] = f"it was settled already that {standing.vm} is {host}'s"
    return {owner: why for owner, why in found.items() if why}


def _at_source(standing: Standing) -> dict[Owner, str]:
    vm, host, peer, phases = standing.vm, standing.host, standing.peer, standing.phases
    if not {Phase.GOING, Phase.SETTLING} & set(phases):
        if Phase.UNDOING in phases:
            return {Owner.THERE: f"the journal of {host} says that the move was given up, so {vm} is {host}'s"}
        if Phase.COMMITTING not in phases:
            why = f"nothing is decided yet: end the move with `vmferry job cancel --force` on {host}"
            return {Owner.HERE: why, Owner.THERE: why}
        return {Owner.THERE: f"{peer} was not told that {vm} is its own, so its copy does not run"}
    keep = ""
    if Phase.SETTLING in phases:
        keep = f"{peer} said that {vm} runs there"
    elif standing.answers:
        keep = f"{peer} answers, and may run {vm}: stop it there first, then `vmferry host unpair {peer} --force`"
    running = f"{vm} runs on {host}: shut it down first" if standing.presence == "running" else ""
    return {Owner.HERE: keep, Owner.THERE: running}


def _at_destination(standing: Standing) -> dict[Owner, str]:
    vm, host, peer, phases = standing.vm, standing.host, standing.peer, standing.phases
    if {Phase.GOING, Phase.SETTLING} & set(phases):
        return {Owner.THERE: f"{peer} has handed {vm} over, as the journal of {host} says"}
    if Phase.UNDOING in phases:
        return {Owner.HERE: f"the journal of {host} says that the move was given up, so the copy is not whole"}
    if Phase.FINISHING not in phases:
        why = f"the copy is not complete: end the move with `vmferry job cancel --force` on {host}"
        return {Owner.HERE: why, Owner.THERE: why}
    if standing.answers:
        why = f"{peer} answers, and it alone knows; if you do not trust it, `vmferry host unpair {peer} --force` first"
        return {Owner.HERE: why, Owner.THERE: why}
    gone = standing.presence in ("off", "absent")
    running = standing.presence == "running"
    return {
        Owner.HERE: f"the copy on {host} is gone" if gone else "",
        Owner.THERE: f"the copy runs on {host}: somebody resumed it" if running else "",
    }


def outcomes(standing: Standing) -> dict[Owner, str]:
    """Return what each choice means for the VM, in sentences."""
    vm, host, peer = standing.vm, standing.host, standing.peer
    if standing.role is Role.SOURCE:
        return {
            Owner.HERE: f"{vm} is {host}'s. It may be started here again; its definition and disks stay, as they "
            f"were at the switch. What {vm} did on {peer} after that is lost. If {peer} is not gone, two copies run.",
            Owner.THERE: f"{vm} is {peer}'s. Its definition on {host} is removed; the files of its disks stay.",
        }
    return {
        Owner.HERE: f"{vm} is {host}'s. The copy here, which stands still, runs on and is defined. "
        f"If {vm} runs on {peer} as well, two copies run.",
        Owner.THERE: f"{vm} is {peer}'s. The copy here is ended, and its disks are removed. "
        f"If {peer} is gone for good, it may be the only one.",
    }
