"""Following a job: what is said, that it resumes, and that a restart of the daemon loses nothing."""

import threading
from typing import TYPE_CHECKING

import httpx2
import pytest

from vmferry.agent.http import events
from vmferry.core.errors import VmferryError
from vmferry.core.job import Phase, Progress, State
from vmferry.core.messages.api import Job, PhaseEvent, StateEvent

if TYPE_CHECKING:
    from tests.agent.conftest import Node

LIMIT = 10.0


def text(node: "Node", **headers: str) -> str:
    """Read a finished job's whole stream."""
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(node.config.socket))) as http:
        answer = http.get("http://x/api/v1/jobs/0001/events", headers=headers, timeout=LIMIT)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return answer.text


def test_phases_progress_state_and_end(kvm1: "Node") -> None:
    kvm1.client.move("web01", "kvm2")
    events = kvm1.client.events("0001")
    first = next(events)
    assert isinstance(first, PhaseEvent)
    assert (first.seq, first.phase) == (1, Phase.OFFERED)
    kvm1.step(Phase.CONNECTING)
    second = next(events)
    assert isinstance(second, PhaseEvent)
    assert second.phase is Phase.CONNECTING
    progress = Progress(phase=Phase.COPYING, percent=12.5, rate=1e9)
    kvm1.made.report("0001", progress)
    assert next(events) == progress
    kvm1.stores.jobs.mark("0001", State.IN_DOUBT, "libvirt does not answer")
    assert next(events) == StateEvent(state=State.IN_DOUBT, reason="libvirt does not answer")
    kvm1.end()
    ended = next(events)
    assert isinstance(ended, PhaseEvent)
    assert ended.phase is Phase.ENDED
    last = next(events)
    assert isinstance(last, Job)
    assert last.state is State.DONE
    assert list(events) == []


def test_progress_unknown_here_is_passed_over(kvm1: "Node") -> None:
    kvm1.client.move("web01", "kvm2")
    kvm1.made.report("0001", b'{"progress": {"phase": "dancing"}}')
    kvm1.made.report("0001", b'{"news": 1}')
    progress = Progress(phase=Phase.COPYING)
    kvm1.made.report("0001", progress)
    assert progress in kvm1.client.events("0001")


def test_wire_form(kvm1: "Node") -> None:
    kvm1.job()
    kvm1.step(Phase.CONNECTING)
    kvm1.end()
    whole = text(kvm1)
    assert whole.startswith('id: 1\nevent: phase\ndata: {"seq":1,')
    assert [line for line in whole.splitlines() if line.startswith(("id", "event"))] == [
        *("id: 1", "event: phase", "id: 2", "event: phase", "id: 3", "event: phase", "event: end")
    ]


@pytest.mark.parametrize(("header", "left"), [("1", [2, 3]), ("3", []), ("99", [])])
def test_last_event_id_resumes(kvm1: "Node", header: str, left: list[int]) -> None:
    kvm1.job()
    kvm1.step(Phase.CONNECTING)
    kvm1.end()
    lines = text(kvm1, **{"Last-Event-ID": header}).splitlines()
    assert [int(line[4:]) for line in lines if line.startswith("id: ")] == left
    assert "event: end" in lines


def test_quiet_streams_show_signs_of_life(kvm1: "Node", monkeypatch: pytest.MonkeyPatch) -> None:
    from vmferry.agent.http import events

    monkeypatch.setattr(events, "HEARTBEAT", 0.0)
    monkeypatch.setattr(events, "GLANCE", 0.05)
    kvm1.job()
    with (
        httpx2.Client(transport=httpx2.HTTPTransport(uds=str(kvm1.config.socket))) as http,
        http.stream("GET", "http://x/api/v1/jobs/0001/events", timeout=LIMIT) as answer,
    ):
        assert ": alive" in answer.iter_lines()


def test_client_goes_on_after_a_restart_of_the_daemon(kvm1: "Node") -> None:
    kvm1.client.move("web01", "kvm2")
    kvm1.step(Phase.CONNECTING)
    events = kvm1.client.events("0001")
    seen = [next(events), next(events)]
    kvm1.stop()  # a stream does not hold it up
    kvm1.stores.jobs.step("0001", Phase.COPYING)  # the worker goes on meanwhile
    again = threading.Timer(1.0, kvm1.start)
    again.start()
    seen.append(next(events))
    again.join()
    kvm1.end()
    seen += list(events)
    assert [event.seq for event in seen if isinstance(event, PhaseEvent)] == [1, 2, 3, 4]
    assert isinstance(seen[-1], Job)


def test_restart_hands_jobs_to_the_launcher(kvm1: "Node") -> None:
    kvm1.stop()  # a daemon that is up may take a job up before it has ended
    kvm1.job("0001")
    kvm1.end("0001")
    kvm1.job("0002")
    kvm1.start()
    progress = Progress(phase=Phase.COPYING)
    kvm1.made.report("0002", progress)
    assert progress in kvm1.client.events("0002")  # and it is watched again
    assert kvm1.made.started.get(timeout=LIMIT) == "0002"
    assert kvm1.made.started.empty()


def test_one_caller_follows_so_many_jobs_at_once(kvm1: "Node", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STREAMS", 1)
    kvm1.client.move("web01", "kvm2")
    held = kvm1.client.events("0001")
    next(held)
    with pytest.raises(VmferryError) as refused:
        next(kvm1.client.events("0001"))
    assert refused.value.code.name == "too-many-streams"
    del held
