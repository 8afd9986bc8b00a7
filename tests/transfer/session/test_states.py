"""The states of a session, as one table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.transfer.session.states import NEXT, Life, SessionEvent, SessionState, after


def test_the_table() -> None:
    table = {(state.value, event.value): after(state, event) for state in SessionState for event in SessionEvent}
    assert {key: value.value for key, value in table.items() if value} == {
        ("active", "lost"): "suspended",
        ("active", "ended"): "broken",
        ("suspended", "lost"): "suspended",
        ("suspended", "resumed"): "active",
        ("suspended", "ended"): "broken",
    }


def test_the_end_is_the_end_and_every_state_leads_to_it() -> None:
    assert not [event for event in SessionEvent if after(SessionState.BROKEN, event)]
    assert all(
        after(state, SessionEvent.ENDED) is SessionState.BROKEN
        for state in (SessionState.ACTIVE, SessionState.SUSPENDED)
    )
    assert set(NEXT.values()) == set(SessionState)


def test_without_patience_a_loss_is_the_end() -> None:
    life = Life(0.0)
    assert not life.lost("cut", 5.0)
    assert life.state is SessionState.ACTIVE  # until the session has ended everything
    assert life.take(SessionEvent.ENDED)
    assert not life.take(SessionEvent.ENDED)


def test_the_wait_counts_from_the_first_loss_until_it_goes_on() -> None:
    life = Life(60.0)
    assert life.lost("cut", 100.0)
    life.begin(1)
    life.peer_told = True
    assert life.lost("cut again", 130.0)
    assert (life.state, life.reason, life.left(150.0), life.peer_told) == (SessionState.SUSPENDED, "cut", 10.0, False)
    assert life.take(SessionEvent.RESUMED)
    assert (life.since, life.left(1000.0)) == (None, 60.0)
    assert life.lost("once more", 200.0)
    assert (life.reason, life.left(200.0)) == ("once more", 60.0)


@given(st.lists(st.sampled_from(SessionEvent)), st.booleans())
def test_it_is_suspended_exactly_while_it_has_a_time(events: list[SessionEvent], patient: bool) -> None:
    life, ended = Life(10.0 if patient else 0.0), False
    for now, event in enumerate(events):
        if event is SessionEvent.LOST:
            assert life.lost("cut", now) is (patient and not ended)
        else:
            life.take(event)
        ended = ended or event is SessionEvent.ENDED
        assert (life.state is SessionState.BROKEN) is ended
        if not ended:
            assert (life.state is SessionState.SUSPENDED) is (life.since is not None)


@pytest.mark.parametrize("state", SessionState)
def test_every_state_is_explained(state: SessionState) -> None:
    assert state.value == state.name.lower()
