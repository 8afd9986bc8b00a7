"""The reducers of both ends by themselves: each row of the table, and every event in every state that comes about."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from tests.core.move import model
from tests.core.move.test_model import carry

from vmferry.core.job import Phase, Role
from vmferry.core.messages.vm import Ending, Presence
from vmferry.core.move import actions as do
from vmferry.core.move import destination, events, judgement, source, source_state
from vmferry.core.move.phases import TABLE, Verdict

AWAY, DIED, LOST = model.AWAY, model.DIED, model.LOST
FIRST = {
    (Role.SOURCE, Phase.OFFERED): do.Journal(Phase.CONNECTING),
    (Role.SOURCE, Phase.ADMITTED): do.Journal(Phase.CONNECTING),
    (Role.SOURCE, Phase.CONNECTING): do.Journal(Phase.UNDOING, quick=True, why=DIED.reason),
    (Role.SOURCE, Phase.COPYING_FILES): do.Journal(Phase.UNDOING, quick=True, why=DIED.reason),
    (Role.SOURCE, Phase.COPYING): do.Journal(Phase.UNDOING, quick=True, why=DIED.reason),
    (Role.SOURCE, Phase.COMMITTING): do.FindOut(),
    (Role.SOURCE, Phase.GOING): do.LookAtVm(),
    (Role.SOURCE, Phase.SETTLING): do.LookAtVm(),
    (Role.SOURCE, Phase.UNDOING): do.SayAbort(DIED),
    (Role.DESTINATION, Phase.OFFERED): do.MakeDisks(),
    (Role.DESTINATION, Phase.ADMITTED): do.Journal(Phase.UNDOING, why=DIED.reason),
    (Role.DESTINATION, Phase.CONNECTING): do.Journal(Phase.UNDOING, why=DIED.reason),
    (Role.DESTINATION, Phase.COPYING): do.Journal(Phase.UNDOING, why=DIED.reason),
    (Role.DESTINATION, Phase.FINISHING): do.AskVerdict(),
    (Role.DESTINATION, Phase.GOING): do.EndVigil(),
    (Role.DESTINATION, Phase.SETTLING): do.EndVigil(),
    (Role.DESTINATION, Phase.UNDOING): do.SayFailed(DIED),
    (Role.DESTINATION, Phase.RESOLVING): do.AskVerdict(),  # unless the administrator's word is fed to it first
}
ROWS = [
    (role, phase)
    for role in Role
    for phase in TABLE[role]
    if phase is not Phase.ENDED and (role, phase) != (Role.SOURCE, Phase.RESOLVING)
]


def recovered(role: Role, phase: Phase) -> tuple[Any, Any]:
    """Return the state of a worker that finds itself in a phase, and its reducer."""
    begins = TABLE[role][phase].recovery.name == "BEGIN"
    if role is Role.SOURCE:
        state = source_state.begin(phase) if begins else source_state.recover([phase], DIED)
        return state, source.step
    if begins:
        return destination.begin(lost=LOST), destination.step
    return destination.recover([phase], DIED, lost=LOST, ran=True), destination.step


@pytest.mark.parametrize(("role", "phase"), ROWS)
def test_what_a_worker_does_first_in_each_phase(role: Role, phase: Phase) -> None:
    state, step = recovered(role, phase)
    state, asked = step(state, None)
    assert asked == [FIRST[role, phase]]
    assert step(state, None)[1] == [], "it is asked for once"


def sample(actions: Sequence[do.Action]) -> list[events.Event]:
    """Return one event of each kind or more, with the answers to some actions."""
    found: list[events.Event] = [
        *(events.VmSeen(presence) for presence in Presence),
        *(events.CommitFound(presence, resumed=told) for presence in Presence for told in (None, False, True)),
        *(events.Answered(ended, error) for ended in (False, True) for error in (None, LOST, model.MOVE_FAILED)),
        *(events.Stopped(done) for done in (False, True)),
        *(events.Changed(done) for done in (False, True)),
        *(events.Starts(on) for on in (False, True)),
        *(events.CancelAsked(model.CANCELLED, force=force) for force in (False, True)),
        *(events.FinishCalled(suspended) for suspended in (False, True)),
        *(events.ReplyCame(genuine) for genuine in (False, True)),
        *(events.ReplyRead(error) for error in (None, model.MOVE_FAILED)),
        *(events.SuspensionSeen(suspended) for suspended in (False, True)),
        *(events.EndHeard(error) for error in (None, LOST)),
        *(events.AbortHeard(model.MOVE_FAILED, cancelled=by) for by in (False, True)),
        events.DeadlineCame(model.MOVE_FAILED),
        events.TimePassed(),
        events.SomethingFailed(model.MOVE_FAILED),
        events.LinkBroken(model.LINK_LOST),
        events.GoHeard(suspended=True),
        events.Undecided(),
        events.WentHeard(),
    ]
    for action in actions:
        found += [events.ActionDone(action), events.ActionNotNow(action, AWAY)]
    return found


def test_every_event_in_every_state_is_taken_or_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """None raises, none changes a verdict, and none asks for work beside other work."""
    seen: dict[Any, Any] = {}
    asked: dict[do.Action, None] = {}
    feed = model.End.feed

    def watched(end: model.End, event: Any) -> Any:
        if end.machine is not None:
            seen[end.machine] = end.step
        notices = feed(end, event)
        for action in (end.work, *notices):
            if action is not None:
                asked[action] = None
        if end.machine is not None:
            seen[end.machine] = end.step
        return notices

    monkeypatch.setattr(model.End, "feed", watched)
    for seed in range(150):
        choose = random.Random(seed)
        carry(choose, choose.randrange(80), choose.choice([0.0, 0.1, 0.3]))
    known = sample(list(asked))
    states = list(seen.items())
    random.Random(0).shuffle(states)
    for state, step in states[:800]:
        for event in known:
            after, actions = step(state, event)
            assert not state.verdict.final or after.verdict is state.verdict, (state, event)
            assert state.verdict is not Verdict.COMMITTING or after.verdict is not Verdict.OPEN, (state, event)
            urgent = [action for action in actions if isinstance(action, do.Urgent)]
            work = [action for action in actions if isinstance(action, do.Work)]
            assert len(urgent) + len(work) <= 1, (state, event)
            assert not work or after.doing == work[0]
            assert not urgent or after.writing == urgent[0]
            assert not state.over or not actions
    print(f"{len(states)} states, {len(known)} events")
    assert len(states) > 300


@pytest.mark.parametrize("genuine", [False, True])
def test_a_reply_passes_on_the_destinations_word_alone(genuine: bool) -> None:
    state = source_state.SourceState(phase=Phase.COMMITTING, verdict=Verdict.COMMITTING, marked=True, locked=True)
    state, asked = source.step(state, events.ReplyCame(genuine))
    assert asked == [do.Mark(replied=True) if genuine else do.DropReply()]
    assert not state.passed


def test_a_cancel_is_too_late_from_the_commit_on() -> None:
    for verdict, phase in ((Verdict.COMMITTING, Phase.COMMITTING), (Verdict.GO, Phase.GOING)):
        state = source_state.SourceState(phase=phase, verdict=verdict, locked=True, said=True)
        assert source.step(state, events.CancelAsked(model.CANCELLED)) == (state, [do.RefuseCancel()])


@pytest.mark.parametrize("told", [False, True], ids=["by its reason", "by events"])
@pytest.mark.parametrize(
    ("ending", "resumed", "replied", "verdict"),
    [
        (Ending.MIGRATED, None, False, Verdict.GO),
        (Ending.HERE, False, True, Verdict.ABORT),
        (Ending.UNKNOWN, True, True, Verdict.ABORT),
        (Ending.UNKNOWN, False, False, Verdict.GO),
        (Ending.UNKNOWN, None, None, Verdict.GO),
        (Ending.UNKNOWN, None, True, Verdict.GO),
        (Ending.UNKNOWN, None, False, Verdict.ABORT),
    ],
)
def test_what_a_vm_that_is_off_came_to(
    told: bool, ending: Ending, resumed: bool | None, replied: bool | None, verdict: Verdict
) -> None:
    for presence in (Presence.OFF, Presence.ABSENT):
        found = judgement.judge(events.CommitFound(presence, ending, told, resumed, replied))
        assert found is not None
        assert found[0] is verdict


def test_nothing_is_concluded_while_libvirt_is_at_work_or_its_events_are_on_their_way() -> None:
    assert judgement.judge(events.CommitFound(Presence.BUSY)) is None
    assert judgement.judge(events.CommitFound(Presence.OFF, resumed=False, told=False, waited=False)) is None
