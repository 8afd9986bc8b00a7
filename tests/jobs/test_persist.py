import subprocess

import pytest
from tests.transfer.worker.ends import away, locked

from vmferry.core import codes
from vmferry.core.errors import UsageError, VmferryError
from vmferry.jobs.persist import Persistence, tried, why


def test_a_step_is_taken_until_it_succeeds_at_pauses_that_grow_to_seconds() -> None:
    slept: list[float] = []
    doubts: list[str] = []
    errors = [away(), locked(), KeyError("x"), PermissionError(1, "not permitted", "/srv/a"), *[away()] * 20]

    def step() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    assert Persistence(doubts.append, slept.append).take("it waits", step) == "done"
    assert slept == sorted(slept)
    assert (slept[0] < 0.2, 1.0 < slept[-1] < 5.0) == (True, True)
    assert doubts[0] == "it waits: libvirt on kvm2 does not answer: Connection refused"
    assert doubts[2:4] == ["it waits: KeyError: 'x'", "it waits: /srv/a: not permitted"]


def test_a_job_that_has_ended_ends_the_tries() -> None:
    def step() -> None:
        raise UsageError(codes.JOB_ENDED, job="j1", state="failed")

    with pytest.raises(UsageError):
        Persistence(lambda _reason: None).take("it waits", step)


def test_what_a_program_says_is_the_reason() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        subprocess.run(["qemu-img", "info", "/none"], check=True, capture_output=True)
    assert why(caught.value).startswith("qemu-img failed: qemu-img: Could not open '/none'")


def test_a_removal_has_some_tries() -> None:
    answers = [["a: busy", "b: busy"], ["b: busy"], []]
    tries: list[float] = []
    assert tried(lambda: answers.pop(0), tries.append) == []
    assert len(tries) == 2
    tries.clear()
    assert tried(lambda: ["a: busy"], tries.append) == ["a: busy"]
    assert len(tries) > 2


def test_the_reason_of_a_move_that_failed_is_what_it_failed_for() -> None:
    """The other host says by itself that the move failed; it said so twice."""
    fields = {"vm": "web01", "phase": "copying", "host": "kvm1", "advice": "move it again"}
    error = VmferryError(codes.MOVE_FAILED, why="Block node is read-only.", **fields)
    assert why(error) == "Block node is read-only"
