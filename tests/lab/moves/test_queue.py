"""Limits on real hosts: what is over them waits its turn, and nothing is counted twice."""

from dataclasses import replace
from typing import Any

import pytest
from tests.lab.harness import Failed, Pair, begin, kill, vmferry, wait
from tests.lab.steps import GUEST, SLOW, SLOW_GUEST, check_only_on, slow

from vmferry.core.errors import Exit
from vmferry.lab.host import LabHost

pytestmark = pytest.mark.lab

FIRST, SECOND = SLOW_GUEST, replace(GUEST, name="web02", number=2)
THIRD = replace(GUEST, name="web03", number=3)


def limit(host: LabHost, moves: int) -> None:
    vmferry(host, "host", "set", "--max-migrations", str(moves), "--max-storage-migrations", str(moves))


def job(host: LabHost, job_id: str) -> dict[str, Any]:
    shown = vmferry(host, "job", "show", job_id)
    assert isinstance(shown, dict)
    return shown


def occupied(pair: Pair) -> str:
    """Let a slow move from the first host to the second fill a second host that takes part in one at a time."""
    limit(pair.two, 1)
    for guest in (FIRST, SECOND):
        pair.start(guest)
    slow(pair, SLOW)
    return begin(pair.one, FIRST.name, "kvm2", "--include-storage")


def all_done(pair: Pair, *jobs: str) -> None:
    for each in jobs:
        for host in pair.hosts:
            ended = pair.wait_end(host, each, 120.0)
            assert ended["state"] == "done", ended["error"]


def test_a_move_over_the_limit_waits_and_begins_when_there_is_room(pair: Pair) -> None:
    first = occupied(pair)
    second = begin(pair.one, SECOND.name, "kvm2", "--include-storage")
    shown = job(pair.one, second)
    assert (shown["state"], shown["position"], shown["phase"]) == ("waiting", 1, "offered")
    assert shown["reason"] == "kvm2 takes part in 1 move, and its limit is 1"
    assert job(pair.two, second)["state"] == "waiting"
    slow(pair, None)
    all_done(pair, first, second)
    assert job(pair.one, first)["ended_at"] < job(pair.one, second)["ended_at"]
    for guest in (FIRST, SECOND):
        check_only_on(pair, guest, pair.two)


def test_raising_the_limit_starts_what_waits(pair: Pair) -> None:
    first = occupied(pair)
    second = begin(pair.one, SECOND.name, "kvm2", "--include-storage")
    assert job(pair.one, second)["state"] == "waiting"
    limit(pair.two, 2)
    wait(lambda: job(pair.one, second)["state"] == "running", 5.0, "the second move to begin")
    assert job(pair.one, first)["state"] == "running"
    slow(pair, None)
    all_done(pair, first, second)


def test_no_wait_fails_with_its_own_code(pair: Pair) -> None:
    first = occupied(pair)
    with pytest.raises(Failed) as raised:
        vmferry(pair.one, "vm", "move", SECOND.name, "kvm2", "--include-storage", "--no-wait")
    assert (raised.value.problem["code"], raised.value.problem["exit_code"]) == ("limit-reached", Exit.PREFLIGHT)
    slow(pair, None)
    all_done(pair, first)
    pair.check(SECOND, pair.one)


def test_the_order_is_kept_and_a_move_that_waits_can_be_cancelled(pair: Pair) -> None:
    first = occupied(pair)
    pair.start(THIRD)
    second = begin(pair.one, SECOND.name, "kvm2", "--include-storage")
    third = begin(pair.one, THIRD.name, "kvm2", "--include-storage")
    assert [job(pair.one, each)["position"] for each in (second, third)] == [1, 2]
    vmferry(pair.one, "job", "cancel", second)
    assert job(pair.one, second)["state"] == "cancelled"
    assert job(pair.two, second)["ended_at"]
    assert job(pair.one, third)["position"] == 1
    slow(pair, None)
    all_done(pair, first, third)
    pair.check(SECOND, pair.one)


def test_the_queue_survives_both_daemons(pair: Pair) -> None:
    first = occupied(pair)
    second = begin(pair.one, SECOND.name, "kvm2", "--include-storage")
    for host in pair.hosts:
        kill(host, "bin/vmferryd")
    for host in pair.hosts:
        host.wait_ready()
    assert job(pair.one, second)["state"] == "waiting"
    slow(pair, None)
    all_done(pair, first, second)


def test_two_hosts_at_their_limits_send_to_each_other(pair: Pair) -> None:
    for host in pair.hosts:
        limit(host, 1)
    pair.start(SECOND, pair.one)
    pair.start(THIRD, pair.two)
    forth = begin(pair.one, SECOND.name, "kvm2", "--include-storage")
    back = begin(pair.two, THIRD.name, "kvm1", "--include-storage")
    all_done(pair, forth, back)
    for guest, host in ((SECOND, pair.two), (THIRD, pair.one)):
        pair.check(guest, host)


def test_a_vm_that_was_stopped_while_its_move_waited_is_left_alone(pair: Pair) -> None:
    first = occupied(pair)
    second = begin(pair.one, SECOND.name, "kvm2", "--include-storage")
    pair.one.run("virsh", "destroy", SECOND.name)
    slow(pair, None)
    all_done(pair, first)
    ended = pair.wait_end(pair.one, second, 60.0)
    assert (ended["state"], ended["error"]["code"]) == ("failed", "vm-not-running")
    pair.wait_end(pair.two, second)
