"""What follows from a prediction."""

from typing import Any

import pytest

from vmferry.core.messages.finding import Finding, Severity
from vmferry.core.messages.offer import MoveOptions
from vmferry.core.prediction import Measured, Prediction, Wish, predict
from vmferry.preflight.case import run
from vmferry.preflight.checks import OF_FORECAST
from vmferry.preflight.forecast import Forecast

MIB = 1 << 20
QUIET = Measured(memory=4096 * MIB, used=1024 * MIB, dirty_rate=MIB, busy=0.5, bandwidth=100 * MIB)
BUSY = QUIET.model_copy(update={"dirty_rate": 200.0 * MIB})
HOPELESS = BUSY.model_copy(update={"bandwidth": float(MIB)})


def found(measured: Measured | None, left: float | None = None, **options: Any) -> list[Finding]:
    asked = MoveOptions(deadline=left, **options)
    prediction: Prediction | None = None
    if measured is not None:
        prediction = predict(measured, Wish(asked.bandwidth, asked.max_downtime, asked.auto_converge))
    why = None if measured else "kvm2 takes part in a move now"
    return run(OF_FORECAST, Forecast("web01", "kvm1", "kvm2", asked, left, prediction, why))


def told(findings: list[Finding]) -> list[tuple[str, Severity]]:
    return [(finding.code, finding.severity) for finding in findings]


def test_what_converges_in_time_needs_no_word() -> None:
    assert found(QUIET) == []
    assert found(QUIET, left=60.0, max_downtime=1.0) == []


def test_a_deadline_that_cannot_be_kept_blocks() -> None:
    (one,) = found(QUIET, left=5.0)
    assert told([one]) == [("deadline-missed", Severity.BLOCKS)]
    assert "within 5 s: it would take about 1" in one.detail
    assert "--deadline" in one.remedy
    assert one.error().code.name == "deadline-missed"


@pytest.mark.parametrize("measured", [BUSY, HOPELESS])
def test_what_comes_to_no_end_blocks_with_a_deadline_and_warns_without(measured: Measured) -> None:
    assert told(found(measured)) == [("will-not-converge", Severity.WARNS)]
    assert told(found(measured, left=3600.0)) == [("deadline-missed", Severity.BLOCKS)]


def test_what_would_help_is_said() -> None:
    (busy,) = found(BUSY, max_downtime=0.1)
    assert "--auto-converge" in busy.remedy
    assert "--max-downtime" in busy.remedy
    (hopeless,) = found(HOPELESS)
    assert "--auto-converge" not in hopeless.remedy
    assert "post-copy, which is not built" in hopeless.detail
    (capped,) = found(QUIET, left=5.0, bandwidth=10 * MIB)
    assert capped.remedy.startswith("What helps: leave --bandwidth out")
    (disk,) = found(QUIET.model_copy(update={"disk": 1 << 40}), left=5.0)
    assert "both hosts see them" in disk.remedy


def test_auto_converge_that_was_asked_for_is_no_news() -> None:
    assert found(BUSY, auto_converge=True) == []
    assert told(found(BUSY, left=1.0, auto_converge=True)) == [("deadline-missed", Severity.BLOCKS)]


def test_a_pause_longer_than_was_asked_for() -> None:
    (one,) = found(QUIET.model_copy(update={"round_trip": 0.2}), max_downtime=0.2)
    assert told([one]) == [("downtime-exceeded", Severity.WARNS)]
    assert "200 ms" in one.detail


def test_without_a_prediction_nothing_is_blocked() -> None:
    (one,) = found(None, left=5.0)
    assert told([one]) == [("not-predicted", Severity.WARNS)]
    assert "kvm2 takes part in a move now" in one.detail
