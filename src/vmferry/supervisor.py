"""Keep vmferryd and the transfer workers running on hosts without systemd.

It guarantees the same as the systemd units in packaging/:

- vmferryd is restarted whenever it ends.
- A worker is started on request, in a session of its own, as a child of the supervisor: killing vmferryd with
  all its children does not affect it. A worker that fails is restarted and recovers from its journal; exit
  status 0 means that it is done.
- There is never a second process of the same name. Each process inherits an advisory lock on its pid file and
  holds it from its start to its end, even if the supervisor is killed before it has written the pid.
- A supervisor that is restarted adopts processes that still run. It cannot learn the exit status of an adopted
  process, so it starts an adopted worker once more when it ends; if its job is over, the worker exits.
- SIGTERM stops vmferryd and leaves the workers: restarting the supervisor must not interrupt a move.

Requests are lines on run_folder/supervisor.sock (jobs/supervision.py).
"""

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from vmferry.jobs import supervision
from vmferry.jobs.supervision import (
    ChildState,
    ChildStatus,
    Refused,
    StartRequest,
    SupervisorAnswer,
    SupervisorStatus,
)
from vmferry.net import localsockets

FIRST_DELAY, LAST_DELAY = 0.2, 5.0  # seconds before a process is restarted; doubled each time it fails
STEADY = 10.0  # seconds after which a process counts as started successfully
PATIENCE = 10.0  # seconds within which vmferryd must stop
LOG_LIMIT = 10 << 20  # bytes of a log before it is rotated
LOG_DAYS = 30

_log = logging.getLogger("vmferry-supervisor")


class Child:
    """One program that is kept running.

    Arguments:
        name: name of its pid file and its log.
        command: its argument list.
        folder: folder of the pid files.
        logs: folder of its log; a file, because the program would end with a pipe or terminal that closes.
        forever: whether to restart it also after exit status 0.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path, logs: Path, *, forever: bool) -> None:
        self.name = name
        self.state = ChildState.WAITING
        self.pid: int | None = None
        self.starts = 0
        self.ended = asyncio.Event()
        self._command = list(command)
        self._file = folder / f"{name}.pid"
        self._log_file = logs / f"{name}.log"
        self._forever = forever
        self._process: subprocess.Popen[bytes] | None = None  # None for an adopted one
        self._pidfd = -1
        self._since = 0.0
        self._delay = FIRST_DELAY
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Adopt the process of this name, or start one. If neither is possible, try again later."""
        self._timer = None
        lock = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._adopt(os.pread(lock, 64, 0).decode().split())
            else:
                self._launch(lock)
        except OSError as error:
            _log.error("%s cannot be started: %s", self.name, error)
            self._again()
        finally:
            os.close(lock)

    def stop(self) -> None:
        """Stop the process for good, with SIGTERM and later SIGKILL. `ended` is set when it has ended."""
        if self.state is ChildState.RUNNING:
            self.state = ChildState.STOPPING
            self._signal(signal.SIGTERM)
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._signal, signal.SIGKILL)
        elif self.state is ChildState.WAITING:
            self._end()

    def describe(self) -> ChildStatus:
        """Return its part of the answer to `status`."""
        return ChildStatus(self.state, self.pid, self.starts)

    def _launch(self, lock: int) -> None:
        os.ftruncate(lock, 0)
        if self._log_file.exists() and self._log_file.stat().st_size > LOG_LIMIT:
            self._log_file.replace(self._log_file.with_suffix(".log.1"))
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=[lock],
            )
        pid = self._process.pid
        self.starts += 1
        self._watch(pid)  # before anything that can fail, because it runs now
        try:
            os.pwrite(lock, f"{pid} {_start_time(pid)}\n".encode(), 0)
        except OSError as error:  # no space left: the next supervisor finds the process by its lock
            _log.warning("the pid of %s cannot be written: %s", self.name, error)
        _log.info("%s started, process %d", self.name, pid)

    def _adopt(self, words: list[str]) -> None:
        """Watch the process that holds the lock: the one in the pid file, or the one that has the file open.

        Raises:
            OSError: there is no such process, or it has just ended.
        """
        if len(words) == 2 and words[0].isdigit() and _start_time(int(words[0])) == words[1]:
            pid = int(words[0])
        else:  # its supervisor died, or had no space, before it could write the pid
            pid = _holder(self._file)
        self._process = None
        self._watch(pid)
        _log.info("%s adopted, process %d", self.name, pid)

    def _watch(self, pid: int) -> None:
        self._pidfd = os.pidfd_open(pid)
        self.pid = pid
        self._since = time.monotonic()
        self.state = ChildState.RUNNING
        asyncio.get_running_loop().add_reader(self._pidfd, self._exited)

    def _exited(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        status = self._process.wait() if self._process else None
        _log.info("%s ended, process %s, status %s", self.name, self.pid, status)
        self.pid = None
        if time.monotonic() - self._since > STEADY:
            self._delay = FIRST_DELAY
        if self.state is ChildState.STOPPING or (status == 0 and not self._forever):
            self._end()
        else:
            self._again()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended, and _exited is about to be called
            signal.pidfd_send_signal(self._pidfd, number)

    def _again(self) -> None:
        self.state = ChildState.WAITING
        self._timer = asyncio.get_running_loop().call_later(self._delay, self.start)
        self._delay = min(2 * self._delay, LAST_DELAY)

    def _end(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._file.unlink(missing_ok=True)
        self.state = ChildState.ENDED
        self.ended.set()


class Supervisor:
    """Keeps vmferryd running, and one worker for each job that it was asked to start.

    Arguments:
        run_folder: folder of the socket and the pid files.
        state_folder: folder of the logs, which are in `log/`.
        daemon: command of vmferryd.
        worker: command of a worker; the job is appended.
    """

    def __init__(self, run_folder: Path, state_folder: Path, daemon: Sequence[str], worker: Sequence[str]) -> None:
        self._socket = run_folder / "supervisor.sock"
        self._folder = run_folder / "supervisor"
        self._logs = state_folder / "log"
        self._worker = list(worker)
        self._workers: dict[str, Child] = {}
        state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it will hold keys
        for folder in (self._folder, self._logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._daemon = Child("vmferryd", daemon, self._folder, self._logs, forever=True)

    async def run(self) -> None:
        """Keep all processes running until SIGTERM, SIGINT or SIGHUP.

        Raises:
            BlockingIOError: another supervisor uses this folder.
        """
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        self._clean()
        for file in self._folder.glob("vmferry-transfer@*.pid"):
            self._start(file.stem.partition("@")[2])
        old_mask = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._serve, self._socket)
        finally:
            os.umask(old_mask)
        self._daemon.start()  # last, because it asks for its workers as soon as it runs
        await stop.wait()
        server.close()
        self._socket.unlink(missing_ok=True)
        self._daemon.stop()
        await self._daemon.ended.wait()
        os.close(lock)

    def _start(self, job: str) -> Child:
        child = self._workers.get(job)
        if child is None or child.state is ChildState.ENDED:
            name = f"vmferry-transfer@{job}"
            child = Child(name, [*self._worker, job], self._folder, self._logs, forever=False)
            self._workers[job] = child
            child.start()
        return child

    def _clean(self) -> None:
        """Remove the logs of old jobs."""
        oldest = time.time() - LOG_DAYS * 86400
        for file in self._logs.iterdir():
            if file.stat().st_mtime < oldest:
                file.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            localsockets.require(writer.get_extra_info("socket"), (os.geteuid(),), str(self._socket))
            while line := await reader.readline():
                writer.write(supervision.write(self._answer(line)))
                await writer.drain()
        except PermissionError as error:
            _log.warning("a caller was refused: %s", error)
        except (ConnectionError, ValueError):  # the caller has gone, or sent a line without an end
            pass
        finally:
            writer.close()

    def _answer(self, line: bytes) -> SupervisorAnswer:
        try:
            request = supervision.read(line)
        except ValueError:
            return Refused()
        if isinstance(request, StartRequest):
            return self._start(request.job).describe()
        workers = {job: child.describe() for job, child in self._workers.items()}
        return SupervisorStatus(self._daemon.describe(), workers)


def _start_time(pid: int) -> str:
    """Return the start time of a process (proc(5), stat, field 22). Together with the pid it is unique.

    Raises:
        OSError: there is no such process.
    """
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _holder(file: Path) -> int:
    """Return the process that leads a session and has a file open, as every process that is started here does.

    Raises:
        OSError: there is no such process.
    """
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if pid == os.getsid(pid) and any(file.samefile(link) for link in (folder / "fd").iterdir()):
                return pid
    raise ProcessLookupError("its pid file is held by a process that cannot be found")


def _program(name: str) -> str:
    """Return the path of a program: beside this one, as in a virtual environment, or on the PATH."""
    beside = Path(sys.argv[0]).resolve().with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or name


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `vmferry-supervisor`."""
    parser = argparse.ArgumentParser(
        prog="vmferry-supervisor",
        description="Keeps vmferryd and the transfer workers running on hosts without systemd.",
        epilog="By default, the folders are those in vmferry.toml ($VMFERRY_CONFIG). Logs are in STATE/log.",
    )
    add = parser.add_argument
    add("--run-folder", type=Path, metavar="RUN", help="instead of run_folder of vmferry.toml")
    add("--state-folder", type=Path, metavar="STATE", help="instead of state_folder of vmferry.toml")
    add("--daemon", default=_program("vmferryd"), metavar="PROGRAM", help="default: %(default)s")
    add("--worker", default=_program("vmferry-transfer"), metavar="PROGRAM", help="default: %(default)s")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    if not (options.run_folder and options.state_folder):
        from vmferry import config  # if both folders are given, the standard library is enough

        settings = config.load()
        options.run_folder = options.run_folder or Path(settings.run_folder)
        options.state_folder = options.state_folder or Path(settings.state_folder)
    supervisor = Supervisor(options.run_folder, options.state_folder, [options.daemon], [options.worker])
    try:
        asyncio.run(supervisor.run())
    except BlockingIOError:
        sys.exit(f"vmferry-supervisor already runs with {options.run_folder}")


if __name__ == "__main__":
    main()
