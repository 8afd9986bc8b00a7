import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core import codes
from vmferry.core.errors import InternalError
from vmferry.core.job import Phase, Role
from vmferry.core.move import phases
from vmferry.core.move.phases import Verdict
from vmferry.jobs.decision import COMMIT_LIMIT, Decision


class Journal:
    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.locked = False
        self.waits: list[float] = []

    def __call__(self, phase: Phase, wait: float = 10.0, **_detail: str) -> None:
        self.waits.append(wait)
        if self.locked:
            raise InternalError(codes.DATABASE_FAILED, path="vmferry.db", host="kvm1", why="database is locked")
        self.phases.append(phase)


def test_commit_is_journaled_and_bars_the_way_back() -> None:
    journal = Journal()
    decision = Decision(journal)
    assert decision.commit()
    assert journal.phases == [Phase.COMMITTING]
    assert not decision.abort("too late")
    decision.read()
    assert decision.verdict is Verdict.GO
    decision.decide(Verdict.ABORT, "cannot be")
    assert decision.verdict is Verdict.GO


def test_abort_bars_the_commit() -> None:
    journal = Journal()
    decision = Decision(journal)
    assert decision.abort("cancelled")
    assert not decision.commit()
    assert journal.phases == [Phase.UNDOING]


def test_a_commit_that_cannot_be_journaled_was_none_and_keeps_the_guest_waiting_no_longer() -> None:
    journal = Journal()
    decision = Decision(journal)
    journal.locked = True
    with pytest.raises(InternalError):
        decision.commit()
    assert decision.abort("the journal cannot be written")
    assert journal.waits == [COMMIT_LIMIT, COMMIT_LIMIT]
    assert COMMIT_LIMIT <= 2.0
    journal.locked = False
    assert not decision.commit()
    assert phases.verdict(Role.SOURCE, journal.phases) is Verdict.OPEN  # a later life gives it up as well


def test_no_step_is_noted_once_the_move_is_given_up() -> None:
    journal = Journal()
    decision = Decision(journal)
    assert decision.note(Phase.CONNECTING)
    decision.abort("cancelled")
    assert not decision.note(Phase.COPYING)
    assert journal.phases == [Phase.CONNECTING, Phase.UNDOING]


ACTIONS = {
    "commit": lambda d: d.commit(),
    "abort": lambda d: d.abort("x"),
    "read": lambda d: d.read(),
    "go": lambda d: d.decide(Verdict.GO, "x"),
    "undo": lambda d: d.decide(Verdict.ABORT, "x"),
}


@given(st.lists(st.sampled_from(sorted(ACTIONS)), max_size=12))
def test_a_verdict_never_changes_and_a_later_life_agrees(names: list[str]) -> None:
    journal = Journal()
    decision = Decision(journal)
    final: Verdict | None = None
    for name in names:
        ACTIONS[name](decision)
        if final is not None:
            assert decision.verdict is final
        elif decision.verdict in (Verdict.GO, Verdict.ABORT):
            final = decision.verdict
    again = phases.verdict(Role.SOURCE, journal.phases)
    assert again is decision.verdict
