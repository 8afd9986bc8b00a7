"""Requests to a worker and its reports: as the releases before these types wrote them, and all else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.job import Phase, Progress
from vmferry.core.message import load
from vmferry.core.move.messages import Abort, Go
from vmferry.jobs import requests
from vmferry.jobs.requests import AddressesRequest, CancelRequest, WatchRequest, WorkerReport, WorkerRequest

SENT: list[tuple[dict[str, Any], WorkerRequest]] = [
    ({"do": "watch"}, WatchRequest()),
    ({"do": "addresses"}, AddressesRequest()),
    ({"do": "cancel", "caller": "ann"}, CancelRequest(caller="ann")),
    ({"do": "cancel", "caller": "ann", "force": True}, CancelRequest(caller="ann", force=True)),
    ({"do": "go", "suspended": False}, Go()),
    ({"do": "go", "suspended": True}, Go(suspended=True)),
    ({"do": "abort", "why": "reset", "cancelled_by": ""}, Abort(why="reset")),
    ({"do": "abort", "why": "x", "cancelled_by": "ann"}, Abort(why="x", cancelled_by="ann")),
]
TEXT = st.text(max_size=30)
REQUESTS = st.one_of(
    st.builds(CancelRequest, caller=TEXT, force=st.booleans()),
    st.builds(Go, suspended=st.booleans()),
    st.builds(Abort, why=TEXT, cancelled_by=TEXT),
    st.sampled_from([WatchRequest(), AddressesRequest()]),
)
REPORTS = st.sampled_from(list(Phase)) | st.builds(
    Progress, phase=st.sampled_from(list(Phase)), percent=st.none() | st.integers(0, 100).map(float)
)


@pytest.mark.parametrize(("said", "meant"), SENT)
def test_what_was_sent_is_read_as_it_was_meant(said: dict[str, Any], meant: WorkerRequest) -> None:
    assert requests.read({**said, "later": 1}) == meant
    written = meant.wire()
    assert written.items() <= said.items()
    assert not any(value for name, value in said.items() if name not in written)


@given(REQUESTS)
def test_a_request_is_read_as_it_was_written(meant: WorkerRequest) -> None:
    assert requests.read(load(json.dumps(meant.wire()))) == meant


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"do": "fly"},
        {"do": None},
        {"do": "went"},
        {"do": "cancel", "force": "yes"},
        {"do": "cancel", "caller": 7},
        {"do": "go", "requires": ["post-copy"]},
    ],
)
def test_what_is_no_request_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as refused:
        requests.read(said)
    assert refused.value.code is codes.BAD_REQUEST


@given(REPORTS)
def test_a_report_is_read_as_it_was_written(report: WorkerReport) -> None:
    assert requests.read_report(requests.write_report(report)) == report


def test_reports_are_written_as_they_were() -> None:
    assert json.loads(requests.write_report(Phase.COPYING_FILES)) == {"phase": "copying-files"}
    written = json.loads(requests.write_report(Progress(phase=Phase.COPYING, percent=1.0)))
    assert set(written) == {"progress"}
    assert (written["progress"]["phase"], written["progress"]["percent"]) == ("copying", 1.0)


@pytest.mark.parametrize("line", [b'{"phase": "dancing"}', b'{"progress": {"phase": 1}}', b'{"news": 1}', b"[]", b"7"])
def test_a_report_that_is_unknown_here_says_nothing(line: bytes) -> None:
    assert requests.read_report(line) is None


def test_half_a_report_is_none() -> None:
    with pytest.raises(ValueError):
        requests.read_report(b'{"phase": "cop')
