import asyncio
import threading
from pathlib import Path

import pytest

from vmferry.core import codes
from vmferry.core.errors import UsageError, VmferryError
from vmferry.jobs import control


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "jobs" / "j1").mkdir(parents=True)
    return tmp_path


def handle(request: control.Message) -> control.Message:
    if request["do"] == "cancel":
        raise UsageError(codes.TOO_LATE, job="j1")
    return {"heard": request}


def test_a_call_is_answered_or_refused(run_folder: Path) -> None:
    server = control.ControlServer(control.path(run_folder, "j1"), handle)
    try:
        assert control.call(run_folder, "j1", "go", why="x") == {"heard": {"do": "go", "why": "x"}}
        with pytest.raises(UsageError, match="passed its commit"):
            control.call(run_folder, "j1", "cancel")
        assert control.path(run_folder, "j1").stat().st_mode & 0o777 == 0o600
    finally:
        server.close()
    with pytest.raises(OSError):
        control.call(run_folder, "j1", "go")


def test_a_watcher_hears_the_latest_then_the_news_then_the_end(run_folder: Path) -> None:
    server = control.ControlServer(control.path(run_folder, "j1"), handle)
    server.publish("phase", "copying")
    server.publish("progress", {"percent": 1})
    server.publish("progress", {"percent": 2})

    def end() -> None:
        server.publish("phase", "ended")
        server.close()

    async def follow() -> list[control.Message]:
        heard = []
        async for message in control.watch(run_folder, "j1"):
            heard.append(message)
            if len(heard) == 2:
                threading.Thread(target=end).start()
        return heard

    assert asyncio.run(asyncio.wait_for(follow(), 10)) == [
        {"phase": "copying"},
        {"progress": {"percent": 2}},
        {"phase": "ended"},
    ]


def test_nonsense_does_not_stop_the_server(run_folder: Path) -> None:
    import socket

    server = control.ControlServer(control.path(run_folder, "j1"), handle)
    try:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(control.path(run_folder, "j1")))
            caller.sendall(b"\xff\xfe{nonsense\n")
            assert caller.recv(10) == b""
        assert control.call(run_folder, "j1", "go")["heard"]["do"] == "go"
    finally:
        server.close()


def test_whatever_goes_wrong_is_answered_with_its_reason(run_folder: Path) -> None:
    server = control.ControlServer(control.path(run_folder, "j1"), lambda request: {"heard": request["nothing"]})
    try:
        for _ in range(2):
            with pytest.raises(VmferryError, match="KeyError: 'nothing'"):
                control.call(run_folder, "j1", "go")
    finally:
        server.close()
