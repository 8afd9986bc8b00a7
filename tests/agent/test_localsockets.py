"""Every local socket: who is at its other end is asked of the kernel, whatever its path and mode say."""

import ast
import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.net.test_localsockets import OTHER, listening

import vmferry
from vmferry.agent.moves.launcher import Launcher
from vmferry.client import Client
from vmferry.config import Config
from vmferry.core.errors import UnreachableError, VmferryError
from vmferry.jobs import control
from vmferry.jobs.control import ControlServer
from vmferry.jobs.requests import CancelRequest, RequestTaken, WorkerAnswer, WorkerRequest
from vmferry.supervisor import Supervisor

JOB = "0123456789ab"
_SPEAK = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(20)
connection.connect(sys.argv[1])
try:
    connection.sendall(sys.argv[2].encode() + b"\\n")
    print(connection.recv(1000).decode())
except OSError:
    print()
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for place in (tmp_path, *tmp_path.parents):
        if place.stat().st_mode & 0o001 == 0:
            place.chmod(0o711)
    made = Config(name="kvm1", run_folder=tmp_path / "r", state_folder=tmp_path / "s", launcher="supervisor")
    control.folder(made.run_folder, JOB).mkdir(parents=True)
    return made


@contextmanager
def theirs(path: Path) -> Iterator[None]:
    """Have another user listen in the place of a socket."""
    os.chown(path.parent, OTHER, OTHER)
    with listening(path, OTHER):
        yield
    os.chown(path.parent, os.geteuid(), os.getegid())


def spoken(path: Path, text: str, user: int) -> str:
    """Return what a user is answered; the socket lets everybody come to it."""
    path.chmod(0o666)
    who = {"user": user, "group": user, "extra_groups": []} if user else {}
    command = [sys.executable, "-c", _SPEAK, str(path), text]
    done = subprocess.run(command, cwd="/", check=True, capture_output=True, text=True, timeout=30, **who)  # type: ignore[call-overload]
    return str(done.stdout).strip()


@pytest.mark.root
def test_no_worker_is_told_anything_that_is_another_user_s(config: Config) -> None:
    with theirs(control.path(config.run_folder, JOB)):
        with pytest.raises(PermissionError, match=str(OTHER)):
            control.call(config.run_folder, JOB, CancelRequest())

        async def follow() -> None:
            async for _ in control.watch(config.run_folder, JOB):
                raise AssertionError("it was heard")

        with pytest.raises(PermissionError, match=str(OTHER)):
            asyncio.run(follow())


@pytest.mark.root
def test_no_other_supervisor_is_asked(config: Config) -> None:
    with theirs(config.run_folder / "supervisor.sock"):
        assert str(OTHER) in (Launcher(config).trouble() or "")
        with pytest.raises(VmferryError, match=str(OTHER)):
            Launcher(config).start(JOB)


@pytest.mark.root
def test_no_other_daemon_is_asked(config: Config) -> None:
    with theirs(config.socket), Client.local(config) as client, pytest.raises(UnreachableError, match=str(OTHER)):
        client.jobs()


@pytest.mark.root
def test_a_worker_hears_its_own_user_alone(config: Config) -> None:
    heard: list[WorkerRequest] = []

    def hear(request: WorkerRequest) -> WorkerAnswer:
        heard.append(request)
        return RequestTaken(ended=True)

    place = control.path(config.run_folder, JOB)
    server = ControlServer(place, hear)
    try:
        assert spoken(place, '{"do": "cancel"}', OTHER) == ""
        assert heard == []
        assert spoken(place, '{"do": "cancel"}', 0) == '{"ended": true}'
        assert control.call(config.run_folder, JOB, CancelRequest()) == {"ended": True}
    finally:
        server.close()


@pytest.mark.root
def test_the_supervisor_hears_its_own_user_alone(config: Config) -> None:
    program = ["/bin/sleep", "60"]

    async def run() -> tuple[str, str]:
        supervisor = Supervisor(config.run_folder, config.state_folder, program, program)
        server = await asyncio.start_unix_server(supervisor._serve, config.run_folder / "supervisor.sock")
        async with server:
            place = config.run_folder / "supervisor.sock"
            other = await asyncio.to_thread(spoken, place, '{"do": "status"}', OTHER)
            return other, await asyncio.to_thread(spoken, place, '{"do": "status"}', 0)

    other, own = asyncio.run(run())
    assert other == ""
    assert '"ok": true' in own


# Where a unix socket is made, and what tells who is at its other end.
_PLACES = {
    "net/localsockets.py": "dial and require",
    "client/connection.py": "_require_vmferryd",
    "jobs/control.py": "require, dial",
    "transfer/worker/listeners.py": "require",
    "agent/http/server.py": "the caller's role is that user's",
    "supervisor.py": "require",
    "agent/main.py": "systemd's, whose name systemd passes; nothing is heard there",
}
_MAKERS = {"AF_UNIX", "open_unix_connection", "create_unix_connection", "start_unix_server", "create_unix_server"}


def test_unix_sockets_are_made_where_that_is_asked() -> None:
    source = Path(vmferry.__file__).parent
    found = set()
    for file in source.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            named = isinstance(node, ast.Attribute) and node.attr in _MAKERS
            if named or (isinstance(node, ast.keyword) and node.arg == "uds"):
                found.add(str(file.relative_to(source)))
    assert {place for place in found if not place.startswith("lab/")} == set(_PLACES)
