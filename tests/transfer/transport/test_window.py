from hypothesis import given
from hypothesis import strategies as st

from vmferry.transfer.transport.window import LEAST, MOST, Window

_MIB = 1 << 20


def flow(window: Window, rate: float, seconds: float, start: float = 0.0) -> float:
    """Drain at so many bytes a second, and be held up by the window all the time."""
    now = start
    while now < start + seconds:
        now += 0.005
        window.full = True
        window.drained(int(rate * 0.005), now)
    return now


def test_a_gigabit_has_some_30_ms_on_its_way() -> None:
    window = Window()
    window.round_trip(0.0002)
    flow(window, 118 * _MIB, 2.0)
    assert 0.025 < window.limit / (118 * _MIB) < 0.035


def test_a_long_path_is_filled_nevertheless() -> None:
    window = Window()
    window.round_trip(0.080)
    flow(window, 400 * _MIB, 3.0)
    assert window.limit >= 0.080 * 400 * _MIB


def test_it_falls_when_the_path_gets_slow() -> None:
    window = Window()
    window.round_trip(0.001)
    now = flow(window, 1000 * _MIB, 1.0)
    assert window.limit >= 16 * _MIB
    flow(window, 50 * _MIB, 1.0, now)
    assert window.limit < 2 * _MIB


def test_a_program_that_writes_little_does_not_make_it_small() -> None:
    window = Window()
    now = flow(window, 1000 * _MIB, 1.0)
    window.full = False
    before = window.limit
    for _ in range(1000):
        now += 0.1
        window.drained(1000, now)
    assert window.limit == before


def test_the_round_trip_is_the_least_one_seen() -> None:
    """Later ones hold the delay that the window makes: with them it would grow for ever."""
    window = Window()
    for number in range(1000):
        window.round_trip(0.001 + number / 100)
        flow(window, 10 * _MIB, 0.05, number)
    assert window.limit <= 2 * _MIB


@given(st.lists(st.tuples(st.integers(0, 1 << 34), st.floats(0, 100), st.floats(0, 10), st.booleans())))
def test_it_stays_within_bounds(events: list[tuple[int, float, float, bool]]) -> None:
    window, now = Window(), 0.0
    for size, later, round_trip, full in events:
        now += later
        window.round_trip(round_trip)
        window.full = full
        window.drained(size, now)
        assert LEAST <= window.limit <= MOST + 64 * _MIB
