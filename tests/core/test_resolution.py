"""Which ways to settle a move by hand are safe, as far as a host knows."""

from collections.abc import Collection

import pytest

from vmferry.core.job import Phase, Role
from vmferry.core.resolution import Owner, Standing, outcomes, refusals

BEFORE = (Phase.OFFERED, Phase.ADMITTED, Phase.CONNECTING, Phase.COPYING)
HERE, THERE = Owner.HERE, Owner.THERE
BOTH = {HERE, THERE}


def standing(role: Role, *phases: Phase, presence: str | None = "off", answers: bool = False) -> Standing:
    return Standing(role, {*BEFORE, *phases}, presence, answers, "web01", "kvm1", "kvm2")


S, D = Role.SOURCE, Role.DESTINATION
CASES: list[tuple[Standing, Collection[Owner]]] = [
    (standing(S), BOTH),
    (standing(S, Phase.UNDOING), {THERE}),
    (standing(S, Phase.COMMITTING), {THERE}),
    (standing(S, Phase.COMMITTING, presence=None), {THERE}),
    (standing(S, Phase.COMMITTING, Phase.GOING), ()),
    (standing(S, Phase.GOING, answers=True), {HERE}),
    (standing(S, Phase.GOING, presence="running"), {THERE}),
    (standing(S, Phase.GOING, Phase.SETTLING), {HERE}),
    (standing(D), BOTH),
    (standing(D, Phase.UNDOING), {HERE}),
    (standing(D, Phase.FINISHING, presence="paused"), ()),
    (standing(D, Phase.FINISHING, presence="paused", answers=True), BOTH),
    (standing(D, Phase.FINISHING, presence="absent"), {HERE}),
    (standing(D, Phase.FINISHING, presence="running"), {THERE}),
    (standing(D, Phase.FINISHING, presence=None), ()),
    (standing(D, Phase.FINISHING, Phase.GOING), {THERE}),
    (standing(D, Phase.FINISHING, Phase.GOING, Phase.SETTLING, answers=True), {THERE}),
]


@pytest.mark.parametrize(("known", "refused"), CASES)
def test_what_is_unsafe_is_refused_and_no_more(known: Standing, refused: Collection[Owner]) -> None:
    found = refusals(known)
    assert set(found) == set(refused)
    assert all(why and not why.endswith(".") for why in found.values())


@pytest.mark.parametrize("role", list(Role))
def test_past_the_verdict_a_host_that_is_alone_can_always_end_the_job(role: Role) -> None:
    """Whatever else is known: with the other host away, one way is open."""
    decided = (Phase.COMMITTING, Phase.GOING, Phase.SETTLING, Phase.UNDOING, Phase.FINISHING)
    for phase in decided:
        if (role is S) == (phase is Phase.FINISHING) or (role is D and phase is Phase.COMMITTING):
            continue
        for presence in ("paused", "busy", "off", "absent", None):
            assert set(refusals(standing(role, phase, presence=presence))) != BOTH, (phase, presence)


@pytest.mark.parametrize("role", list(Role))
def test_both_ways_are_explained(role: Role) -> None:
    said = outcomes(standing(role))
    assert set(said) == BOTH
    assert "kvm1's" in said[HERE]
    assert "kvm2's" in said[THERE]
    assert "two copies" in said[HERE]
