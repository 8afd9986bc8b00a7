"""The queue in a daemon: it asks for what waits until it has begun, in a later life too, and at once when told to."""

import sqlite3

import pytest
from tests.agent.conftest import LIMIT, Node

from vmferry.agent.moves import queue
from vmferry.core.job import Role, State
from vmferry.core.messages.offer import Caller
from vmferry.core.policy.settings import SettingsChange

ROOT = Caller(name="root", host="kvm1", method="unix")


def begun(node: Node) -> str:
    return node.made.begun.get(timeout=LIMIT)


def quiet(node: Node) -> bool:
    return node.made.begun.empty()


def test_a_move_that_waits_is_begun_again_and_again_until_it_has(kvm1: Node) -> None:
    kvm1.made.full = True
    job = kvm1.client.move("web01", "kvm2")
    assert (job.state, job.position) == (State.WAITING, 1)
    assert [begun(kvm1), begun(kvm1)] == [job.id, job.id]
    kvm1.made.full = False
    while kvm1.client.job(job.id).state is State.WAITING:
        begun(kvm1)
    assert kvm1.client.job(job.id).position is None


def test_the_queue_survives_a_restart(kvm1: Node) -> None:
    kvm1.made.full = True
    job = kvm1.client.move("web01", "kvm2")
    begun(kvm1)
    kvm1.stop()
    while not quiet(kvm1):
        kvm1.made.begun.get()
    kvm1.start()
    assert begun(kvm1) == job.id
    assert kvm1.made.started.empty()  # it has nothing to do for a transfer process yet


def test_each_destination_has_its_own_line(kvm1: Node) -> None:
    kvm1.made.full = True
    for job, vm, peer in (("a", "db01", "kvm2"), ("b", "db02", "kvm3"), ("c", "db03", "kvm3")):
        kvm1.stores.jobs.create(job, Role.SOURCE, vm, peer, ROOT, {}, State.WAITING)
    kvm1.client.move("web01", "kvm3")  # tells the queue
    assert {begun(kvm1) for _ in range(6)} == {"a", "b"}  # the others are behind b


def test_a_changed_setting_is_looked_at_at_once(kvm1: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "AGAIN", 1000.0)
    kvm1.made.full = True
    job = kvm1.client.move("web01", "kvm2")
    assert begun(kvm1) == job.id
    kvm1.client.change_settings(SettingsChange(max_migrations=9))
    assert begun(kvm1) == job.id


def test_whatever_fails_the_queue_goes_on_by_itself(kvm1: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked database or a full disk is not for ever, and nobody may be there to ask for a move again."""
    monkeypatch.setattr(queue, "AGAIN", 0.05)
    kvm1.made.full = True
    failures = [
        sqlite3.OperationalError("database is locked"),
        OSError("No space left"),
        RuntimeError("a fault of ours"),
    ]
    real = kvm1.made.begin

    def begin(job: str) -> bool:
        if failures:
            raise failures.pop()
        return real(job)

    monkeypatch.setattr(kvm1.made, "begin", begin)
    job = kvm1.client.move("web01", "kvm2")
    assert begun(kvm1) == job.id
    assert not failures
