"""What vmferryd and vmferry-supervisor say to each other: as the releases before these types wrote it, and all else."""

import json
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.jobs import supervision
from vmferry.jobs.supervision import (
    ChildState,
    ChildStatus,
    Refused,
    StartRequest,
    StatusRequest,
    SupervisorAnswer,
    SupervisorRequest,
    SupervisorStatus,
)

CHILD = ChildStatus(ChildState.RUNNING, 7, 3)
JSON = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.text(max_size=3), max_size=2)


@pytest.mark.parametrize(
    ("said", "meant"),
    [({"do": "start", "job": "0123456789ab"}, StartRequest("0123456789ab")), ({"do": "status"}, StatusRequest())],
)
def test_a_request_is_written_and_read_as_it_was(said: dict[str, Any], meant: SupervisorRequest) -> None:
    assert json.loads(supervision.write(meant)) == said
    assert supervision.read(json.dumps({**said, "later": 1}).encode()) == meant


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (CHILD, {"ok": True, "state": "running", "pid": 7, "starts": 3}),
        (
            SupervisorStatus(CHILD, {"j1": ChildStatus(ChildState.ENDED, None, 1)}),
            {
                "ok": True,
                "vmferryd": {"state": "running", "pid": 7, "starts": 3},
                "workers": {"j1": {"state": "ended", "pid": None, "starts": 1}},
            },
        ),
        (Refused(), {"ok": False, "error": 'expected {"do": "start", "job": JOB} or {"do": "status"}'}),
    ],
)
def test_an_answer_is_written_as_it_was(answer: SupervisorAnswer, said: dict[str, Any]) -> None:
    assert json.loads(supervision.write(answer)) == said


OBJECTS = st.dictionaries(st.sampled_from(["do", "job"]), JSON).map(lambda said: json.dumps(said).encode())


@given(st.binary(max_size=30) | OBJECTS)
def test_whatever_comes_is_read_or_refused(line: bytes) -> None:
    with suppress(ValueError):
        assert isinstance(supervision.read(line), SupervisorRequest)


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"do": "start", "job": "../x"}', b'{"do": "start", "job": ""}'])
def test_what_is_no_request_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        supervision.read(line)


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (SupervisorStatus(CHILD).wire(), True),
        (SupervisorStatus(ChildStatus(ChildState.RUNNING, 8, 1)).wire(), False),
        (SupervisorStatus(ChildStatus(ChildState.WAITING, None, 0)).wire(), False),
        ({"vmferryd": {"pid": "7"}}, False),
        ({"ok": True}, True),
        ({"vmferryd": 7}, True),
    ],
)
def test_whether_a_vmferryd_is_the_supervisor_s(answer: dict[str, Any], kept: bool) -> None:
    assert supervision.is_kept(answer, 7) is kept


def test_the_supervisor_needs_the_standard_library_alone() -> None:
    program = "import sys; import vmferry.supervisor; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
