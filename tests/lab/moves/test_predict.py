"""Predictions on real hosts: what they say of a quiet and of a busy VM, and what a deadline does with a move."""

from dataclasses import replace
from typing import Any

import pytest
from tests.lab.harness import Failed, Pair, begin, vmferry
from tests.lab.steps import GUEST, SMALL, check_only_on, slow, wait_clean

from vmferry.core.errors import Exit
from vmferry.lab.vms.vm import Guest

pytestmark = [pytest.mark.lab, pytest.mark.quiet]

NAME = GUEST.name
QUIET = replace(GUEST, busy=48, rate=1)
BUSY = Guest(memory=384, busy=160, rate=60, records=2, disks=(SMALL,))
MIB = 1 << 20


def check(pair: Pair, *options: str) -> dict[str, Any]:
    return dict(vmferry(pair.one, "vm", "check", NAME, "kvm2", "--include-storage", *options))


def codes(report: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in report["findings"]]


def test_a_quiet_vm_converges_about_as_predicted(pair: Pair) -> None:
    pair.start(QUIET)
    slow(pair, "200mbit")
    report = check(pair, "--predict")
    found = report["prediction"]
    assert codes(report) == []
    assert found["verdict"] == "converges"
    assert found["measured"]["bandwidth"] == pytest.approx(200e6 / 8, rel=0.4)
    assert found["measured"]["dirty_rate"] < 15 * MIB
    assert found["measured"]["used"] < QUIET.memory * MIB
    assert 0 < found["measured"]["disk"] < 100 * MIB
    job = begin(pair.one, NAME, "kvm2", "--include-storage")
    ended = pair.wait_end(pair.one, job)
    assert ended["state"] == "done", ended["error"]
    assert found["total_time"] / 2.5 < ended["summary"]["total_time"] < found["total_time"] * 2.5
    check_only_on(pair, QUIET, pair.two)


def test_a_busy_vm_over_a_slow_link_does_not_converge(pair: Pair) -> None:
    pair.start(BUSY)
    slow(pair, "50mbit")
    report = check(pair, "--predict")
    found = report["prediction"]
    assert found["verdict"] in ("converges-with-auto-converge", "will-not-converge")
    assert found["measured"]["dirty_rate"] > found["measured"]["bandwidth"]
    assert codes(report) == ["will-not-converge"]
    words = (
        "vmferry",
        "vm",
        "check",
        NAME,
        "kvm2",
        "--include-storage",
        "--bandwidth",
        "1M",
        "--max-downtime",
        "100ms",
    )
    done = pair.one.run(*words)
    assert "will not converge" in done.stderr or "with auto-converge" in done.stderr


def test_a_deadline_that_cannot_be_kept_refuses_the_move(pair: Pair) -> None:
    pair.start(BUSY)
    slow(pair, "50mbit")
    jobs = vmferry(pair.one, "job", "list")
    with pytest.raises(Failed) as caught:
        begin(pair.one, NAME, "kvm2", "--include-storage", "--deadline", "10s")
    assert caught.value.code == Exit.PREFLIGHT
    assert "deadline-missed" in str(caught.value)
    assert vmferry(pair.one, "job", "list") == jobs
    check_only_on(pair, BUSY, pair.one)


def test_a_move_is_given_up_at_its_deadline_and_the_vm_runs_on(pair: Pair) -> None:
    """The link gets slow only when the move has begun, which no prediction can know."""
    pair.start(QUIET)
    job = begin(pair.one, NAME, "kvm2", "--include-storage", "--deadline", "25s", "--bandwidth", "20M")
    slow(pair, "2mbit")
    ended = pair.wait_end(pair.one, job, 60.0)
    assert (ended["state"], ended["error"]["code"]) == ("failed", "deadline-passed")
    assert pair.wait_end(pair.two, job, 60.0)["state"] == "failed"
    slow(pair, None)
    wait_clean(pair.two)
    check_only_on(pair, QUIET, pair.one)


def test_nothing_is_measured_while_a_move_runs(pair: Pair) -> None:
    second = replace(QUIET, name="web02", number=2)
    pair.start(QUIET)
    pair.start(second)
    slow(pair, "20mbit")
    job = begin(pair.one, second.name, "kvm2", "--include-storage")
    report = check(pair, "--predict")
    assert report["prediction"] is None
    assert "not-predicted" in codes(report)
    (why,) = [finding["fields"]["why"] for finding in report["findings"] if finding["code"] == "not-predicted"]
    assert why == "The bandwidth from kvm1 to kvm2 was not measured: kvm1 takes part in a move now."
    vmferry(pair.one, "job", "cancel", job)
    for host in pair.hosts:
        pair.wait_end(host, job)
