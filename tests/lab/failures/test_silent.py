"""A source that keeps a move open and sends nothing: the destination is not its prisoner."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.lab.faults import written
from tests.lab.harness import Pair, processes
from tests.lab.steps import SLOW_GUEST, begin_slow, check_only_on

from vmferry.core.errors import Exit

pytestmark = pytest.mark.lab


@contextmanager
def silent(pair: Pair, job: str) -> Iterator[None]:
    """Have the source's worker of a job stand still; its connections stay."""
    (worker,) = processes(pair.one, f"vmferry-transfer {job}")
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def test_a_silent_source_is_ended_by_force(pair: Pair) -> None:
    job = begin_slow(pair, SLOW_GUEST)
    with silent(pair, job):
        done = pair.two.run("vmferry", "job", "cancel", job, "--force", check=False)
        assert done.returncode == Exit.DONE, done.stderr
        ended = pair.wait_end(pair.two, job)
        assert (ended["state"], ended["error"]["code"]) == ("cancelled", "cancelled")
    assert pair.wait_end(pair.one, job)["state"] in ("cancelled", "failed")
    check_only_on(pair, SLOW_GUEST, pair.one)


@pytest.mark.campaign
def test_a_silent_source_is_ended_by_the_limit(pair: Pair) -> None:
    file = pair.two.home / "vmferry.toml"
    with written(file, f"silence_limit = 4\n{file.read_text()}"):
        job = begin_slow(pair, SLOW_GUEST)
        with silent(pair, job):
            ended = pair.wait_end(pair.two, job)
            assert ended["state"] == "failed"
            assert "kvm1 has sent nothing for 4 s" in ended["reason"]
    assert pair.wait_end(pair.one, job)["state"] == "failed"
    check_only_on(pair, SLOW_GUEST, pair.one)
