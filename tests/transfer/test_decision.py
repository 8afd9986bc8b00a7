from hypothesis import given
from hypothesis import strategies as st

from vmferry.core.job import Phase
from vmferry.transfer.decision import Decision, Verdict, from_journal


class Journal:
    def __init__(self) -> None:
        self.phases: list[Phase] = []

    def __call__(self, phase: Phase, **_detail: str) -> None:
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
    again = from_journal(journal.phases)
    assert again is decision.verdict
