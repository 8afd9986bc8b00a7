"""The model of a move: what QEMU's rules say in plain cases, and that more trouble never makes it faster."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vmferry.core import prediction
from vmferry.core.prediction import DOWNTIME, Convergence, Measured, Wish, predict, watch

MIB = 1 << 20
GIB = 1 << 30
QUIET = Measured(memory=4 * GIB, used=2 * GIB, dirty_rate=0.0, busy=0.1, bandwidth=100 * MIB)
BUSY = QUIET.model_copy(update={"dirty_rate": 150.0 * MIB, "busy": 0.8})

rates = st.floats(MIB / 8, 2 * GIB)
measurements = st.builds(
    lambda used, rest, **others: Measured(used=used, memory=used + rest, **others),
    used=st.integers(0, 64 * GIB),
    rest=st.integers(0, 64 * GIB),
    dirty_rate=st.floats(0, 2 * GIB),
    busy=st.floats(0, 1),
    disk=st.integers(0, 1 << 40),
    bandwidth=rates,
    round_trip=st.floats(0, 0.5),
)
wishes = st.builds(Wish, bandwidth=st.none() | rates, max_downtime=st.none() | st.floats(0.01, 5))


def total(measured: Measured, wish: Wish) -> float:
    """Give the seconds of a move as it was asked for; infinite for one without an end."""
    found = predict(measured, wish)
    ends = found.verdict is Convergence.CONVERGES or (found.verdict is Convergence.AUTO_CONVERGE and wish.auto_converge)
    return found.total_time if ends and found.total_time is not None else float("inf")


def not_slower(faster: float, slower: float) -> bool:
    return faster <= slower * (1 + 1e-9)


def test_a_quiet_vm_takes_what_its_used_memory_takes() -> None:
    found = predict(QUIET, Wish())
    assert found.verdict is Convergence.CONVERGES
    assert found.total_time == pytest.approx(2 * GIB / (100 * MIB), abs=2.5)
    assert found.downtime == pytest.approx(DOWNTIME + prediction.SWITCH)
    assert found.throttle == 0


def test_rounds_add_up_as_a_geometric_series() -> None:
    """Half as fast as is sent: each round takes half as long as the one before, all twice as long as the first."""
    found = predict(QUIET.model_copy(update={"dirty_rate": 50.0 * MIB}), Wish())
    quiet = predict(QUIET, Wish())
    assert found.total_time is not None
    assert quiet.total_time is not None
    assert found.total_time - quiet.total_time == pytest.approx(20.18, abs=0.2)


def test_a_vm_that_writes_faster_than_is_sent_converges_only_when_it_is_slowed_down() -> None:
    found = predict(BUSY, Wish())
    assert found.verdict is Convergence.AUTO_CONVERGE
    assert "150 MiB" in found.reason
    assert "100 MiB" in found.reason
    assert 0.2 <= found.throttle < 0.99
    assert found == predict(BUSY, Wish(auto_converge=True))


def test_time_that_the_guest_spends_idle_can_be_taken_from_it_without_effect() -> None:
    idle = predict(BUSY.model_copy(update={"busy": 0.2}), Wish())
    assert idle.throttle > predict(BUSY, Wish()).throttle


def test_what_not_even_the_strongest_throttle_ends() -> None:
    found = predict(BUSY.model_copy(update={"bandwidth": float(MIB), "busy": 0.5}), Wish(auto_converge=True))
    assert found.verdict is Convergence.NEVER
    assert (found.total_time, found.downtime) == (None, None)
    assert "post-copy, which is not built" in found.reason


def test_memory_that_goes_within_the_pause_is_sent_in_it() -> None:
    small = BUSY.model_copy(update={"used": 20 * MIB})
    found = predict(small, Wish())
    assert (found.verdict, found.rounds) == (Convergence.CONVERGES, 1)
    assert found.downtime == pytest.approx(0.2 + prediction.SWITCH)


@pytest.mark.parametrize(
    ("bandwidth", "limit", "seconds"),
    [(1000.0, None, 1), (120.0, None, 1), (40.0, None, 3), (12.0, None, 10), (1.0, None, 10), (1000.0, 24.0, 5)],
)
def test_a_vm_is_watched_the_longer_the_slower_its_memory_goes(
    bandwidth: float, limit: float | None, seconds: int
) -> None:
    assert watch(bandwidth * MIB, Wish(bandwidth=limit and limit * MIB)) == seconds


@pytest.mark.parametrize(("deadline", "seconds"), [(5.0, 1), (40.0, 4), (600.0, 10)])
def test_watching_takes_little_of_a_deadline(deadline: float, seconds: int) -> None:
    assert watch(1.0 * MIB, Wish(), deadline) == seconds


def test_a_limit_of_bandwidth_is_one() -> None:
    assert total(QUIET, Wish(bandwidth=10.0 * MIB)) == pytest.approx(2 * GIB / (10 * MIB), abs=2.5)
    assert total(QUIET, Wish(bandwidth=float(GIB))) == total(QUIET, Wish())


def test_a_shorter_pause_is_one() -> None:
    found = predict(QUIET, Wish(max_downtime=0.05))
    assert found.downtime == pytest.approx(0.05 + prediction.SWITCH)


@settings(deadline=None)
@given(measurements, wishes)
def test_times_are_there_with_an_end_and_only_then(measured: Measured, wish: Wish) -> None:
    found = predict(measured, wish)
    assert (found.total_time is None) == (found.downtime is None) == (found.verdict is Convergence.NEVER)
    if found.total_time is not None and found.downtime is not None:
        assert found.total_time > found.downtime > 0
    assert 0 <= found.throttle <= prediction.MOST


@settings(deadline=None)
@given(measurements, wishes, st.floats(1, 10), st.sampled_from(["dirty_rate", "used", "disk", "round_trip", "memory"]))
def test_more_to_do_is_not_faster(measured: Measured, wish: Wish, factor: float, name: str) -> None:
    more: dict[str, Any] = {name: type(getattr(measured, name))(getattr(measured, name) * factor)}
    if name == "used":  # the rest, which costs next to nothing, stays
        more["memory"] = more["used"] + measured.memory - measured.used
    assert not_slower(total(measured, wish), total(measured.model_copy(update=more), wish))


@settings(deadline=None)
@given(measurements, wishes, st.floats(1, 10))
def test_more_bandwidth_is_not_slower(measured: Measured, wish: Wish, factor: float) -> None:
    faster = measured.model_copy(update={"bandwidth": measured.bandwidth * factor})
    assert not_slower(total(faster, wish), total(measured, wish))


@settings(deadline=None)
@given(measurements, wishes, rates)
def test_a_limit_is_not_faster_than_none(measured: Measured, wish: Wish, limit: float) -> None:
    assert not_slower(total(measured, replace(wish, bandwidth=None)), total(measured, replace(wish, bandwidth=limit)))


@settings(deadline=None)
@given(measurements, wishes, st.floats(0.01, 5), st.floats(1, 10))
def test_a_longer_pause_lets_converge_what_a_shorter_one_does(
    measured: Measured, wish: Wish, pause: float, factor: float
) -> None:
    short, long = (predict(measured, replace(wish, max_downtime=one)) for one in (pause, pause * factor))
    assert short.verdict is not Convergence.CONVERGES or long.verdict is Convergence.CONVERGES


@settings(deadline=None)
@given(measurements, wishes)
def test_auto_converge_is_not_slower_than_none(measured: Measured, wish: Wish) -> None:
    assert not_slower(total(measured, replace(wish, auto_converge=True)), total(measured, wish))


@settings(deadline=None)
@given(measurements, wishes, st.floats(1, 10))
def test_what_ends_for_a_busier_guest_ends_for_a_calmer_one(measured: Measured, wish: Wish, factor: float) -> None:
    busier = measured.model_copy(update={"dirty_rate": measured.dirty_rate * factor})
    assume(predict(busier, wish).verdict is not Convergence.NEVER)
    assert predict(measured, wish).verdict is not Convergence.NEVER
