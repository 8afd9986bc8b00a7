"""The API's client where no daemon is, or something else answers; agent/ tries it with real daemons."""

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from vmferry import client as module
from vmferry.client import Client
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import Exit, InternalError, UnreachableError, VmferryError
from vmferry.core.job import Progress
from vmferry.core.messages.api import Job

JOB = {
    "id": "0001",
    "role": "source",
    "vm": "web01",
    "source": "kvm1",
    "destination": "kvm2",
    "caller": {"name": "root", "host": "kvm1", "method": "unix"},
    "options": {},
    "state": "done",
    "phase": "settling",
    "reason": None,
    "error": None,
    "summary": None,
    "progress": None,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "ended_at": "2026-01-01T00:00:00Z",
}
DEEP = pytest.param("[" * 100_000, id="deep")


def scripted(*answers: httpx2.Response | Exception) -> tuple[Client, list[httpx2.Request]]:
    """Give a client whose requests are answered in turn."""
    requests: list[httpx2.Request] = []
    left = list(answers)

    def answer(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        given = left.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    return Client(httpx2.MockTransport(answer), "http://x", "/run/api.sock"), requests


def stream(text: str) -> httpx2.Response:
    return httpx2.Response(200, content=text.encode(), headers={"content-type": "text/event-stream"})


@pytest.fixture
def closed() -> Iterator[None]:
    """What a test has left open is a warning of this test, not of one in which it happens to be collected."""
    yield
    gc.collect()


def test_requests_are_told_without_secrets() -> None:
    told: list[str] = []
    client, _ = scripted(httpx2.Response(200, json=[]), httpx2.Response(404, json={}))
    client.tell = told.append
    assert client.vms() == []
    with pytest.raises(VmferryError):
        client.unpair("vmf1-AAAAAAAAAAAAAAAAAAAA")
    assert [line.rpartition(", ")[0] for line in told] == [
        "GET /vms at /run/api.sock: 200",
        "DELETE /hosts/vmf1-... at /run/api.sock: 404",
    ]


@pytest.mark.usefixtures("closed")
def test_no_daemon(tmp_path: Path) -> None:
    config = Config(run_folder=tmp_path)
    with Client.local(config) as client, pytest.raises(UnreachableError) as caught:
        client.host()
    assert caught.value.code is codes.DAEMON_UNREACHABLE
    assert caught.value.exit_code is Exit.UNREACHABLE
    assert str(config.socket) in caught.value.reason
    assert "No such file" in caught.value.reason


@pytest.mark.usefixtures("closed")
def test_no_daemon_to_follow_a_job_with(tmp_path: Path) -> None:
    with Client.local(Config(run_folder=tmp_path)) as client, pytest.raises(UnreachableError):
        next(client.events("0001"))


@pytest.mark.parametrize("text", ["<html>", "[]", '{"a": 1}', DEEP])
def test_something_else_answers(text: str) -> None:
    client, _ = scripted(httpx2.Response(502, text=text))
    with pytest.raises(VmferryError) as caught:
        client.host()
    assert caught.value.code is codes.INTERNAL
    assert "502" in caught.value.reason


@pytest.mark.parametrize("text", ["<html>", DEEP, "[]", '{"name": 1, "api": 1}', '[{"name": 1}]', "null", "", "NaN"])
@pytest.mark.parametrize("ask", [Client.host, Client.hosts, Client.version, Client.vms, Client.jobs])
def test_an_answer_that_is_none(ask: Callable[[Client], object], text: str) -> None:
    client, _ = scripted(httpx2.Response(200, text=text))
    if text == "[]" and ask in (Client.hosts, Client.vms, Client.jobs):
        assert ask(client) == []
        return
    with pytest.raises(InternalError) as caught:
        ask(client)
    assert "/run/api.sock" in caught.value.reason


@pytest.mark.parametrize("data", ["{cut", DEEP, "[]", "null", '{"phase": "sailing"}'])
@pytest.mark.parametrize("kind", ["phase", "progress", "state", "end"])
def test_an_event_that_is_none(kind: str, data: str) -> None:
    client, _ = scripted(stream(f"event: {kind}\ndata: {data}\n\n"))
    with pytest.raises(InternalError):
        list(client.events("0001"))


def test_events_go_on_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    phase = 'id: 7\nevent: phase\ndata: {"seq": 7, "at": "2026-01-01T00:00:00Z", "phase": "copying"}\n\n'
    progress = 'event: progress\ndata: {"phase": "copying",\ndata: "percent": 3.5}\n\n'
    later = "event: music\ndata: {}\n\n"
    end = f"event: end\ndata: {json.dumps(JOB)}\n\n"
    client, requests = scripted(
        stream(": alive\n\n" + phase + progress + "event: progress\ndata: {cut"),
        httpx2.ConnectError("restarting"),
        httpx2.ReadError("reset"),
        stream(later + end + phase),
    )
    events = list(client.events("0001", after=5))
    assert [type(event).__name__ for event in events] == ["PhaseEvent", "Progress", "Job"]
    assert isinstance(events[1], Progress)
    assert events[1].percent == 3.5
    assert isinstance(events[2], Job)
    assert [request.headers["last-event-id"] for request in requests] == ["5", "7", "7", "7"]


def test_events_give_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    client, requests = scripted(stream(": alive\n\n"), httpx2.ConnectError("gone"))
    with pytest.raises(UnreachableError):
        list(client.events("0001"))
    assert len(requests) == 2


def test_events_of_an_unknown_job_are_an_error() -> None:
    error = VmferryError.registry["job-unknown"]
    problem = error[0](error[1], job="0009", host="kvm1").problem()
    client, _ = scripted(httpx2.Response(404, json=problem))
    with pytest.raises(VmferryError) as caught:
        list(client.events("0009"))
    assert caught.value.code is codes.JOB_UNKNOWN


def test_client_needs_no_parts_of_the_daemon() -> None:
    program = "import sys, vmferry.client\n"
    program += "print([name for name in ('fastapi', 'uvicorn', 'libvirt') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
