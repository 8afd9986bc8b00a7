import asyncio
import socket
import threading
from pathlib import Path

import pytest

from vmferry.core import codes
from vmferry.core.errors import InternalError, UsageError, VmferryError
from vmferry.core.job import Phase, Progress
from vmferry.core.messages.offer import Address
from vmferry.core.move.messages import Abort, Go
from vmferry.jobs import control
from vmferry.jobs.requests import (
    AddressesRequest,
    CancelRequest,
    Listening,
    RequestTaken,
    WorkerAnswer,
    WorkerReport,
    WorkerRequest,
)

LISTENS = Address(host="10.77.1.2", port=49152)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "jobs" / "j1").mkdir(parents=True)
    return tmp_path


def handle(request: WorkerRequest) -> WorkerAnswer:
    match request:
        case CancelRequest():
            raise UsageError(codes.TOO_LATE, job="j1")
        case AddressesRequest():
            return Listening(addresses=[LISTENS])
        case Go(suspended=True):
            return RequestTaken(ended=True)
    return RequestTaken()


def spoken(run_folder: Path, line: bytes) -> bytes:
    """Return what the worker answers to a line."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(10)
        caller.connect(str(control.path(run_folder, "j1")))
        caller.sendall(line + b"\n")
        return caller.makefile("rb").readline()


def test_a_call_is_answered_or_refused(run_folder: Path) -> None:
    server = control.ControlServer(control.path(run_folder, "j1"), handle)
    try:
        assert control.call(run_folder, "j1", Go(suspended=True)) == {"ended": True}
        assert control.call(run_folder, "j1", Abort(why="x")) == {}
        assert control.addresses(run_folder, "j1", timeout=10) == [LISTENS]
        with pytest.raises(UsageError, match="passed its commit"):
            control.call(run_folder, "j1", CancelRequest())
        assert control.path(run_folder, "j1").stat().st_mode & 0o777 == 0o600
    finally:
        server.close()
    with pytest.raises(OSError):
        control.call(run_folder, "j1", Go())


def test_addresses_that_are_none_are_no_answer(run_folder: Path) -> None:
    server = control.ControlServer(control.path(run_folder, "j1"), lambda _request: RequestTaken())
    try:
        with pytest.raises(InternalError, match="addresses"):
            control.addresses(run_folder, "j1", timeout=10)
    finally:
        server.close()


def test_a_watcher_hears_the_latest_then_the_news_then_the_end(run_folder: Path) -> None:
    server = control.ControlServer(control.path(run_folder, "j1"), handle)
    server.publish(Phase.COPYING)
    server.publish(Progress(phase=Phase.COPYING, percent=1))
    server.publish(Progress(phase=Phase.COPYING, percent=2))

    def end() -> None:
        server.publish(Phase.ENDED)
        server.close()

    async def follow() -> list[WorkerReport | None]:
        heard = []
        async for message in control.watch(run_folder, "j1"):
            heard.append(message)
            if len(heard) == 2:
                threading.Thread(target=end).start()
        return heard

    assert asyncio.run(asyncio.wait_for(follow(), 10)) == [
        Phase.COPYING,
        Progress(phase=Phase.COPYING, percent=2),
        Phase.ENDED,
    ]


@pytest.mark.parametrize("line", [b"\xff\xfe{nonsense", b"[]", b'"go"', b"[" * 5000])
def test_nonsense_does_not_stop_the_server(run_folder: Path, line: bytes) -> None:
    server = control.ControlServer(control.path(run_folder, "j1"), handle)
    try:
        assert spoken(run_folder, line) == b""
        assert control.call(run_folder, "j1", Go()) == {}
    finally:
        server.close()


@pytest.mark.parametrize("line", [b"{}", b'{"do": "fly"}', b'{"do": []}', b'{"do": "go", "suspended": 1}'])
def test_a_request_that_is_none_is_answered_with_its_reason(run_folder: Path, line: bytes) -> None:
    server = control.ControlServer(control.path(run_folder, "j1"), handle)
    try:
        assert b'"bad-request"' in spoken(run_folder, line)
    finally:
        server.close()


def test_whatever_goes_wrong_is_answered_with_its_reason(run_folder: Path) -> None:
    def fail(_request: WorkerRequest) -> WorkerAnswer:
        raise KeyError("nothing")

    server = control.ControlServer(control.path(run_folder, "j1"), fail)
    try:
        for _ in range(2):
            with pytest.raises(VmferryError, match="KeyError: 'nothing'"):
                control.call(run_folder, "j1", Go())
    finally:
        server.close()
