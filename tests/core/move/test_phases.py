"""The table of phases: what the journal takes, and how a worker goes on from whatever it finds there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core.job import Phase, Role
from vmferry.core.move import phases
from vmferry.core.move.phases import TABLE, Recovery, Verdict

ROWS = [(role, phase) for role in Role for phase in TABLE[role]]
ORDER = {
    Role.SOURCE: "offered admitted connecting copying-files copying committing going settling ended",
    Role.DESTINATION: "offered admitted connecting copying finishing going settling ended",
}


@st.composite
def journals(draw: st.DrawFn) -> tuple[Role, list[Phase]]:
    """Return any journal that can come about."""
    role = draw(st.sampled_from(list(Role)))
    told = [Phase.OFFERED]
    for _ in range(draw(st.integers(0, 12))):
        open_ways = [then for then in Phase if phases.may_follow(role, told, then)]
        if not open_ways:
            break
        told.append(draw(st.sampled_from(open_ways)))
    return role, told


@pytest.mark.parametrize(("role", "phase"), ROWS)
def test_every_row_leads_to_an_end_and_from_the_beginning(role: Role, phase: Phase) -> None:
    def beyond(start: Phase) -> set[Phase]:
        found, todo = {start}, [start]
        while todo:
            new = TABLE[role][todo.pop()].following - found
            found |= new
            todo += new
        return found

    assert Phase.ENDED in beyond(phase)
    assert phase in beyond(Phase.OFFERED)
    assert TABLE[role][phase].following <= set(TABLE[role])


@pytest.mark.parametrize("role", list(Role))
def test_a_move_that_goes_well_and_one_that_is_given_up_anywhere(role: Role) -> None:
    told: list[Phase] = []
    for phase in map(Phase, ORDER[role].split()):
        assert not told or phases.may_follow(role, told, phase), phase
        if told and TABLE[role][told[-1]].verdict in (Verdict.OPEN, Verdict.COMMITTING):
            assert phases.may_follow(role, told, Phase.UNDOING)
            assert phases.may_follow(role, [*told, Phase.UNDOING], Phase.ENDED)
        told.append(phase)


@pytest.mark.parametrize(
    ("role", "steps", "recovery"),
    [
        (Role.SOURCE, "offered", Recovery.BEGIN),
        (Role.SOURCE, "offered admitted", Recovery.BEGIN),
        (Role.SOURCE, "offered admitted connecting", Recovery.GIVE_UP),
        (Role.SOURCE, "offered admitted connecting copying copying", Recovery.GIVE_UP),
        (Role.SOURCE, "offered admitted connecting copying committing", Recovery.FIND_OUT),
        (Role.SOURCE, "offered admitted connecting copying committing undoing", Recovery.UNDO),
        (Role.SOURCE, "offered admitted connecting copying committing going", Recovery.HAND_OVER),
        (Role.SOURCE, "offered admitted connecting copying committing going settling going", Recovery.HAND_OVER),
        (Role.DESTINATION, "offered", Recovery.BEGIN),
        (Role.DESTINATION, "offered admitted", Recovery.GIVE_UP),
        (Role.DESTINATION, "offered admitted connecting copying", Recovery.GIVE_UP),
        (Role.DESTINATION, "offered admitted connecting copying finishing", Recovery.ASK),
        (Role.DESTINATION, "offered admitted connecting copying finishing resolving", Recovery.OBEY),
        (Role.DESTINATION, "offered admitted connecting copying finishing going", Recovery.LET_RUN),
        (Role.DESTINATION, "offered admitted connecting copying finishing going resolving", Recovery.LET_RUN),
        (Role.DESTINATION, "offered admitted connecting copying finishing going settling", Recovery.DEFINE),
        (Role.DESTINATION, "offered admitted connecting copying finishing going settling resolving", Recovery.DEFINE),
        (Role.DESTINATION, "offered admitted connecting copying finishing undoing resolving", Recovery.UNDO),
    ],
)
def test_how_a_worker_goes_on(role: Role, steps: str, recovery: Recovery) -> None:
    told = [Phase(step) for step in steps.split()]
    for number, phase in enumerate(told[1:], start=1):
        assert phases.may_follow(role, told[:number], phase), phase
    assert phases.recovery(role, told) is recovery


@given(journals())
def test_a_verdict_on_record_never_changes(found: tuple[Role, list[Phase]]) -> None:
    role, told = found
    verdict = Verdict.OPEN
    for number in range(1, len(told) + 1):
        now = phases.verdict(role, told[:number])
        if verdict.final and Phase.ENDED not in told[:number]:
            assert now is verdict
        verdict = now


@given(journals())
def test_nothing_ends_while_it_is_being_decided_and_nothing_follows_an_end(found: tuple[Role, list[Phase]]) -> None:
    role, told = found
    by_hand = role is Role.SOURCE and Phase.RESOLVING in told
    if phases.verdict(role, told) is Verdict.COMMITTING and not by_hand:
        assert not phases.may_follow(role, told, Phase.ENDED)
    if Phase.ENDED in told:
        assert not any(phases.may_follow(role, told, then) for then in Phase)
    if by_hand:
        assert {then for then in Phase if phases.may_follow(role, told, then)} <= {Phase.RESOLVING, Phase.ENDED}


@given(st.sampled_from(list(Role)), st.lists(st.sampled_from(list(Phase)), max_size=12))
def test_any_journal_can_be_read(role: Role, told: list[Phase]) -> None:
    """An older release wrote some steps in another order; what had been decided counts."""
    assert phases.recovery(role, told) in Recovery
    final = [phase for phase in told if phase in TABLE[role] and TABLE[role][phase].verdict.final]
    if final:
        assert phases.verdict(role, told) is TABLE[role][final[0]].verdict
