"""The worker's own unix socket: how vmferryd watches it and passes a person's or the peer's word on.

One JSON object a line. A caller sends one request; `watch` is answered by a line for each change until the worker
ends, everything else by one line.
"""

import asyncio
import json
import logging
import os
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vmferry import safefiles
from vmferry.core import codes
from vmferry.core.errors import InternalError, VmferryError
from vmferry.core.job import folder_name
from vmferry.core.message import load
from vmferry.jobs.persist import why
from vmferry.net import localsockets

log = logging.getLogger("vmferry.transfer")

Message = dict[str, Any]
_LINE_LIMIT = 1 << 20


def folder(run_folder: Path, job: str) -> Path:
    """Return the folder of a job's sockets. Each host computes its own; no other host's word makes it another."""
    return run_folder / "jobs" / folder_name(job)


def path(run_folder: Path, job: str) -> Path:
    """Return the control socket of a job's worker."""
    return folder(run_folder, job) / "control.sock"


def remove_folder(run_folder: Path, job: str) -> None:
    """Remove the folder of a job's sockets, as far as that can be done now."""
    place = folder(run_folder, job)
    with suppress(OSError), safefiles.folder(str(place.parent)) as jobs:
        shutil.rmtree(place.name, ignore_errors=True, dir_fd=jobs)


class ControlServer:
    """Serves the control socket of one worker.

    Arguments:
        place: where the socket goes; the folder exists and belongs to root.
        handle: answers a request; a VmferryError it raises is sent as a problem. Runs in a thread for each caller.
    """

    def __init__(self, place: Path, handle: Callable[[Message], Message]) -> None:
        self._handle = handle
        self._lock = threading.Lock()
        self._watchers: set[socket.socket] = set()
        self._news: dict[str, Message] = {}
        place.unlink(missing_ok=True)
        self._place = place
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        place.chmod(0o600)
        self._listener.listen(16)
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def publish(self, kind: str, value: Any) -> None:
        """Tell everybody who watches; one who comes later hears the latest of each kind."""
        message = {kind: value}
        with self._lock:
            self._news[kind] = message
            for watcher in list(self._watchers):
                self._tell(watcher, message)

    def close(self) -> None:
        """Stop serving; watchers see the end."""
        self._listener.close()
        self._place.unlink(missing_ok=True)
        with self._lock:
            for watcher in self._watchers:
                watcher.close()
            self._watchers.clear()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                localsockets.require(caller, (os.geteuid(),), str(self._place))
            except OSError as error:
                log.warning("a caller was not heard: %s", error)
                caller.close()
                continue
            caller.settimeout(30)
            threading.Thread(target=self._serve, args=(caller,), name="control-caller", daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        try:
            with caller.makefile("rb") as lines:
                request = load(lines.readline(_LINE_LIMIT) or b"{}")
            if not isinstance(request, dict):
                raise ValueError("a request is an object")
            if request.get("do") == "watch":
                with self._lock:
                    self._watchers.add(caller)
                    for message in self._news.values():
                        self._tell(caller, message)
                return
            try:
                answer = self._handle(request)
            except VmferryError as error:
                answer = {"problem": error.problem()}
            except Exception as error:
                log.exception("the request %s failed", request.get("do"))
                answer = {"problem": InternalError(codes.INTERNAL, why=why(error)).problem()}
            caller.sendall(json.dumps(answer).encode() + b"\n")
        except (OSError, ValueError):
            pass  # the caller went away or spoke nonsense: it gets nothing
        caller.close()

    def _tell(self, watcher: socket.socket, message: Message) -> None:
        try:
            watcher.send(json.dumps(message).encode() + b"\n", socket.MSG_DONTWAIT)
        except OSError:  # gone, or so slow that its buffer is full
            self._watchers.discard(watcher)
            watcher.close()


def call(run_folder: Path, job: str, do: str, *, timeout: float = 10.0, **fields: Any) -> Message:
    """Ask a worker for something.

    Arguments:
        do: `cancel`, `go`, `abort`, `addresses`.
        timeout: seconds.

    Raises:
        OSError: no worker answers.
        VmferryError: what the worker said.
    """
    with localsockets.dial(str(path(run_folder, job)), os.geteuid(), timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(json.dumps({"do": do, **fields}).encode() + b"\n")
        with connection.makefile("rb") as lines:
            line = lines.readline(_LINE_LIMIT)
    if not line:
        raise ConnectionResetError("the worker closed the connection")
    answer: Message = json.loads(line)
    if "problem" in answer:
        raise VmferryError.from_problem(answer["problem"])
    return answer


async def watch(run_folder: Path, job: str) -> AsyncIterator[Message]:
    """Follow a worker: `{"progress": {...}}` and `{"phase": ...}` as they come, until it ends.

    Raises:
        OSError: no worker answers.
    """
    connection = await asyncio.to_thread(localsockets.dial, str(path(run_folder, job)), os.geteuid())
    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=_LINE_LIMIT)
    try:
        writer.write(b'{"do": "watch"}\n')
        while line := await reader.readline():
            yield json.loads(line)
    finally:
        writer.close()
