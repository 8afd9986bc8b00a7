"""How transfer processes are asked for."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmferry.agent.moves.launcher import Launcher
from vmferry.config import Config
from vmferry.core.errors import InternalError


class Supervisor:
    """The supervisor's socket, with an answer to give."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[bytes] = []
        self.answer = b'{"ok": true}\n'
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "supervisor.sock"))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                self.asked.append(lines.readline())
                connection.sendall(self.answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path)
    yield made
    made.close()


def test_supervisor_is_asked(tmp_path: Path, supervisor: Supervisor) -> None:
    Launcher(Config(run_folder=tmp_path, launcher="supervisor")).start("0001")
    assert [json.loads(asked) for asked in supervisor.asked] == [{"do": "start", "job": "0001"}]


@pytest.mark.parametrize("answer", [b'{"ok": false, "error": "no"}\n', b"nonsense\n", b""])
def test_supervisor_says_no(tmp_path: Path, supervisor: Supervisor, answer: bytes) -> None:
    supervisor.answer = answer
    with pytest.raises(InternalError) as caught:
        Launcher(Config(run_folder=tmp_path, launcher="supervisor")).start("0001")
    assert "0001" in caught.value.reason


def test_no_supervisor(tmp_path: Path) -> None:
    with pytest.raises(InternalError):
        Launcher(Config(run_folder=tmp_path, launcher="supervisor")).start("0001")


@pytest.mark.parametrize("status", [0, 5])
def test_systemd_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho "Unit not found." >&2\nexit {status}\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    launcher = Launcher(Config(run_folder=tmp_path, launcher="systemd"))
    if status == 0:
        launcher.start("0001")
    else:
        with pytest.raises(InternalError) as caught:
            launcher.start("0001")
        assert "Unit not found" in caught.value.reason
    assert (tmp_path / "asked").read_text().split() == [
        "start",
        "--no-block",
        "vmferry-transfer@0001.service",
    ]


def test_it_says_whether_it_could_start_one_and_starts_none(supervisor: Supervisor, tmp_path: Path) -> None:
    launcher = Launcher(Config(run_folder=tmp_path, launcher="supervisor"))
    assert launcher.trouble() is None
    supervisor.answer = json.dumps({"ok": True, "vmferryd": {"pid": os.getpid()}}).encode() + b"\n"
    assert launcher.neglect() is None
    supervisor.answer = b'{"ok": true, "vmferryd": {"pid": 1}}\n'
    assert "another vmferryd" in (launcher.neglect() or "")
    assert {json.loads(line)["do"] for line in supervisor.asked} == {"status"}
    nobody = Launcher(Config(run_folder=tmp_path / "none", launcher="supervisor"))
    assert "vmferry-supervisor does not answer" in (nobody.trouble() or "")
    assert nobody.neglect() is None


@pytest.mark.parametrize(
    ("said", "trouble", "neglect"),
    [("loaded", None, "its unit is loaded"), ("not-found", "not-found", "not-found"), ("enabled", "enabled", None)],
)
def test_systemd_is_asked_for_the_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, trouble: str | None, neglect: str | None
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\necho {said}\necho $1 >> {tmp_path}/asked\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    launcher = Launcher(Config(run_folder=tmp_path, launcher="systemd"))
    for found, expected in ((launcher.trouble(), trouble), (launcher.neglect(), neglect)):
        assert (found is None) is (expected is None)
        assert (expected or "") in (found or "")
    assert (tmp_path / "asked").read_text().split() == ["show", "is-enabled"]
