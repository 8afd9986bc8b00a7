"""The supervisor with real processes: what it keeps, what it leaves alone, what it adopts."""

import asyncio
import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vmferry import supervisor

LIMIT = 10.0  # seconds that an event may take

# Both programs say that they are there, then wait for orders: an exit status.
DAEMON = """#!/bin/sh
echo "vmferryd $$" > {events}
read status < {folder}/orders.vmferryd
exit "$status"
"""
WORKER = """#!/bin/sh
echo "$1 $$" > {events}
read status < {folder}/orders.$1
exit "$status"
"""


class Host:
    """A supervisor on folders of its own, and the events that its programs report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.events = folder / "events"
        os.mkfifo(self.events)
        # Opened for both, so that reading never sees an end while a writer comes or goes.
        self._reader = os.open(self.events, os.O_RDWR | os.O_NONBLOCK)
        self._pending: list[str] = []
        self.pids: set[int] = set()
        for name, text in (("daemon", DAEMON), ("worker", WORKER)):
            program = folder / name
            program.write_text(text.format(events=self.events, folder=folder))
            program.chmod(0o755)
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        folders = ["--run-folder", str(self.run), "--state-folder", str(self.folder / "state")]
        programs = ["--daemon", str(self.folder / "daemon"), "--worker", str(self.folder / "worker")]
        with (self.folder / "messages").open("ab") as messages:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vmferry.supervisor", *folders, *programs], stderr=messages
            )
        return self.process

    def event(self, name: str, limit: float = LIMIT) -> int:
        """Wait until a program of this name has started; give its pid."""
        end = time.monotonic() + limit
        while not any(line.startswith(f"{name} ") for line in self._pending):
            ready, _, _ = select.select([self._reader], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{name} did not start; seen: {self._pending}")
            self._pending += os.read(self._reader, 65536).decode().splitlines()
        line = next(line for line in self._pending if line.startswith(f"{name} "))
        self._pending.remove(line)
        pid = int(line.split()[1])
        self.pids.add(pid)
        return pid

    def orders(self, name: str) -> Path:
        path = self.folder / f"orders.{name}"
        if not path.exists():
            os.mkfifo(path)
        return path

    def exit(self, name: str, status: int) -> None:
        self.orders(name).write_text(f"{status}\n")

    def ask(self, request: object) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(LIMIT)
            connection.connect(str(self.run / "supervisor.sock"))
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = connection.makefile().readline()
        return dict(json.loads(answer))

    def start_job(self, job: str) -> int:
        self.orders(job)
        assert self.ask({"do": "start", "job": job})["ok"]
        return self.event(job)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(LIMIT)
        with contextlib.suppress(TimeoutError):  # one that was just being started
            while True:
                self.event("vmferryd", 0)
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.close(self._reader)


def wait_for_end(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([pidfd], [], [], LIMIT)[0], f"process {pid} does not end"
    finally:
        os.close(pidfd)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_status(host: Host, wanted: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
    """Ask a supervisor that is just starting, or until it says what is wanted."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
            status = host.ask({"do": "status"})
            if wanted(status):
                return status
        select.select([], [], [], 0.02)
    raise TimeoutError("the supervisor does not come to the state that was waited for")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    os.mkfifo(tmp_path / "orders.vmferryd")
    host = Host(tmp_path)
    host.event("vmferryd")
    yield host
    host.close()


def test_daemon_is_started_again_however_it_ends(host: Host) -> None:
    host.exit("vmferryd", 0)
    second = host.event("vmferryd")
    os.kill(second, signal.SIGKILL)
    third = host.event("vmferryd")
    assert len({second, third}) == 2
    assert host.ask({"do": "status"})["vmferryd"] == {"state": "running", "pid": third, "starts": 3}


def test_socket_is_for_root_alone(host: Host) -> None:
    assert (host.run / "supervisor.sock").stat().st_mode & 0o777 == 0o600


def test_worker_runs_in_a_session_of_its_own_and_outlives_the_daemon(host: Host) -> None:
    worker = host.start_job("j1")
    daemon = host.ask({"do": "status"})["vmferryd"]["pid"]
    assert os.getsid(worker) == worker
    assert os.getsid(daemon) == daemon
    os.killpg(daemon, signal.SIGKILL)
    host.event("vmferryd")
    assert alive(worker)
    assert host.ask({"do": "start", "job": "j1"})["pid"] == worker


def test_start_is_idempotent_while_the_worker_runs(host: Host) -> None:
    worker = host.start_job("j1")
    for _ in range(3):
        answer = host.ask({"do": "start", "job": "j1"})
        assert answer == {"ok": True, "state": "running", "pid": worker, "starts": 1}


def test_worker_that_fails_is_started_again_until_it_is_done(host: Host) -> None:
    first = host.start_job("j1")
    host.exit("j1", 1)
    second = host.event("j1")
    os.kill(second, signal.SIGKILL)
    third = host.event("j1")
    assert len({first, second, third}) == 3
    host.exit("j1", 0)
    wait_for_end(third)
    with pytest.raises(TimeoutError):
        host.event("j1", 0.6)
    assert host.ask({"do": "status"})["workers"]["j1"] == {"state": "ended", "pid": None, "starts": 3}
    assert not list((host.run / "supervisor").glob("*j1*"))


def test_job_can_be_started_once_more_after_it_was_done(host: Host) -> None:
    worker = host.start_job("j1")
    host.exit("j1", 0)
    wait_for_end(worker)
    wait_for_status(host, lambda status: status["workers"]["j1"]["state"] == "ended")
    assert host.start_job("j1") != worker


def test_delay_grows_while_a_worker_keeps_failing(host: Host) -> None:
    began = time.monotonic()
    host.start_job("j1")
    for _ in range(3):
        host.exit("j1", 1)
        host.event("j1")
    assert time.monotonic() - began >= 1.4  # 0.2 + 0.4 + 0.8 s


def test_sigterm_stops_the_daemon_and_leaves_the_workers(host: Host) -> None:
    daemon = host.ask({"do": "status"})["vmferryd"]["pid"]
    worker = host.start_job("j1")
    host.process.send_signal(signal.SIGTERM)
    assert host.process.wait(LIMIT) == 0
    assert not alive(daemon)
    assert not Path(f"/proc/{daemon}").exists(), "a zombie is left"
    assert alive(worker)
    assert not (host.run / "supervisor.sock").exists()


def test_killed_supervisor_adopts_what_still_runs(host: Host) -> None:
    daemon = host.ask({"do": "status"})["vmferryd"]["pid"]
    worker = host.start_job("j1")
    host.process.kill()
    host.process.wait(LIMIT)
    assert alive(daemon)
    host.start()
    status = wait_for_status(host)
    assert status["vmferryd"] == {"state": "running", "pid": daemon, "starts": 0}
    assert status["workers"] == {"j1": {"state": "running", "pid": worker, "starts": 0}}
    host.exit("j1", 0)  # its status cannot be known: it is started once more
    again = host.event("j1")
    assert again != worker
    host.exit("j1", 0)
    wait_for_end(again)


def test_worker_that_died_while_the_supervisor_was_away_is_started_again(host: Host) -> None:
    worker = host.start_job("j1")
    host.process.kill()
    host.process.wait(LIMIT)
    os.kill(worker, signal.SIGKILL)
    wait_for_end(worker)
    host.start()
    assert host.event("j1") != worker


@pytest.mark.parametrize(
    "written", ["", "17\n", f"{os.getpid()} 1\n", "\0\0 x\n"], ids=["nothing", "gone", "ours", "nonsense"]
)
def test_never_two_workers_even_when_the_pid_file_says_nothing(host: Host, written: str) -> None:
    worker = host.start_job("j1")
    host.process.kill()
    host.process.wait(LIMIT)
    # Killed before it wrote the pid, or there was no space for it.
    (host.run / "supervisor" / "vmferry-transfer@j1.pid").write_text(written)
    host.start()
    assert wait_for_status(host)["workers"]["j1"] == {"state": "running", "pid": worker, "starts": 0}
    os.kill(worker, signal.SIGKILL)
    assert host.event("j1") != worker  # no sooner than the first has ended
    assert not alive(worker)


def test_pid_that_was_given_to_another_process_is_not_adopted(host: Host) -> None:
    host.process.kill()
    host.process.wait(LIMIT)
    host.orders("j1")
    (host.run / "supervisor" / "vmferry-transfer@j1.pid").write_text(f"{os.getpid()} 1\n")
    host.start()
    assert host.event("j1") != os.getpid()


def test_second_supervisor_on_the_same_folder_gives_up(host: Host) -> None:
    first = host.process
    assert host.start().wait(LIMIT) == 1
    assert "already" in (host.folder / "messages").read_text()
    host.process = first
    assert host.ask({"do": "status"})["ok"]


def test_program_that_cannot_be_started_is_tried_again(host: Host) -> None:
    (host.folder / "worker").rename(host.folder / "gone")
    host.orders("j1")
    assert host.ask({"do": "start", "job": "j1"})["state"] == "waiting"
    (host.folder / "gone").rename(host.folder / "worker")
    host.event("j1")


@pytest.mark.parametrize(
    "bad", [{"do": "start"}, {"do": "start", "job": "../x"}, {"do": "start", "job": ""}, {"do": "fly"}, [], 7]
)
def test_bad_request_is_refused_and_nothing_is_started(host: Host, bad: object) -> None:
    assert host.ask(bad)["ok"] is False
    assert host.ask({"do": "status"})["workers"] == {}


def test_output_of_the_programs_is_logged(tmp_path: Path, host: Host) -> None:
    daemon = host.folder / "daemon"
    daemon.write_text(daemon.read_text().replace("#!/bin/sh", "#!/bin/sh\necho hello; echo trouble >&2"))
    host.exit("vmferryd", 1)
    host.event("vmferryd")
    assert (tmp_path / "state" / "log" / "vmferryd.log").read_text() == "hello\ntrouble\n"


def test_a_process_that_cannot_be_written_down_is_watched(tmp_path: Path) -> None:
    """A full file system under the run folder must not leave a process that nobody looks after."""
    place = tmp_path / "small"
    place.mkdir()
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)

    async def run() -> tuple[str, int | None]:
        child = supervisor.Child("p", [str(program)], place, tmp_path, forever=False)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))  # each write to a file fails, as on a full disk
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            child.start()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            signal.signal(signal.SIGXFSZ, before)
        state, pid = child.state, child.pid
        assert pid is not None
        assert (place / "p.pid").read_text() == ""
        child.stop()
        await asyncio.wait_for(child.ended.wait(), LIMIT)
        return state, pid

    state, pid = asyncio.run(run())
    assert state == "running"
    assert pid is not None
    assert not alive(pid)
