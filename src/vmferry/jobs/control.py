"""The worker's own unix socket: how vmferryd watches it and passes a person's or the peer's word on.

A caller sends one request (jobs/requests.py), a line of JSON. `watch` is answered by a line for each change until the
worker ends, everything else by one line.
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

from pydantic import ValidationError

from vmferry import safefiles
from vmferry.core import codes
from vmferry.core.errors import InternalError, VmferryError
from vmferry.core.job import folder_name
from vmferry.core.message import fault, load
from vmferry.core.messages.offer import Address
from vmferry.core.move.messages import Abort, Go
from vmferry.jobs import requests
from vmferry.jobs.persist import why
from vmferry.jobs.requests import (
    AddressesRequest,
    CancelRequest,
    Listening,
    WatchRequest,
    WorkerAnswer,
    WorkerReport,
    WorkerRequest,
)
from vmferry.net import localsockets

log = logging.getLogger("vmferry.transfer")

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

    def __init__(self, place: Path, handle: Callable[[WorkerRequest], WorkerAnswer]) -> None:
        self._handle = handle
        self._lock = threading.Lock()
        self._watchers: set[socket.socket] = set()
        self._last: dict[str, bytes] = {}
        place.unlink(missing_ok=True)
        self._place = place
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        place.chmod(0o600)
        self._listener.listen(16)
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def publish(self, report: WorkerReport) -> None:
        """Tell everybody who watches; one who comes later hears the last report of each kind."""
        line = requests.write_report(report)
        with self._lock:
            self._last[requests.kind_of(report)] = line
            for watcher in list(self._watchers):
                self._tell(watcher, line)

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
                said = load(lines.readline(_LINE_LIMIT) or b"{}")
            try:
                request = requests.read(said)
                if isinstance(request, WatchRequest):
                    with self._lock:
                        self._watchers.add(caller)
                        for line in self._last.values():
                            self._tell(caller, line)
                    return
                answer = self._answer(request)
            except VmferryError as error:
                answer = {"problem": error.problem()}
            caller.sendall(json.dumps(answer).encode() + b"\n")
        except (OSError, ValueError):
            pass  # the caller went away or spoke nonsense: it gets nothing
        caller.close()

    def _answer(self, request: WorkerRequest) -> dict[str, Any]:
        try:
            return self._handle(request).wire()
        except VmferryError:
            raise
        except Exception as error:
            log.exception("the request %s failed", request.do)
            raise InternalError(codes.INTERNAL, why=why(error)) from error

    def _tell(self, watcher: socket.socket, line: bytes) -> None:
        try:
            watcher.send(line, socket.MSG_DONTWAIT)
        except OSError:  # gone, or so slow that its buffer is full
            self._watchers.discard(watcher)
            watcher.close()


def call(
    run_folder: Path, job: str, request: AddressesRequest | CancelRequest | Go | Abort, *, timeout: float = 10.0
) -> dict[str, Any]:
    """Ask a worker for something; returns the JSON object that it answers.

    Arguments:
        timeout: seconds.

    Raises:
        OSError: no worker answers.
        VmferryError: what the worker said.
    """
    with localsockets.dial(str(path(run_folder, job)), os.geteuid(), timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(json.dumps(request.wire()).encode() + b"\n")
        with connection.makefile("rb") as lines:
            line = lines.readline(_LINE_LIMIT)
    if not line:
        raise ConnectionResetError("the worker closed the connection")
    answer = load(line)
    if not isinstance(answer, dict):
        raise InternalError(codes.PROTOCOL, why="a worker answers with no JSON object")
    if "problem" in answer:
        raise VmferryError.from_problem(answer["problem"])
    return answer


def addresses(run_folder: Path, job: str, *, timeout: float) -> list[Address]:
    """Ask a worker where it listens.

    Arguments:
        timeout: seconds.

    Raises:
        OSError: no worker answers.
        VmferryError: what the worker said, or protocol: it answers otherwise.
    """
    answer = call(run_folder, job, AddressesRequest(), timeout=timeout)
    try:
        return Listening.model_validate(answer).addresses
    except ValidationError as error:
        raise InternalError(codes.PROTOCOL, why=f"a worker's {fault(error)}") from error


async def watch(run_folder: Path, job: str) -> AsyncIterator[WorkerReport | None]:
    """Follow a worker: its reports as they come, until it ends; None: one that says nothing here.

    Raises:
        OSError: no worker answers.
        ValueError: it ended in the middle of a line.
    """
    connection = await asyncio.to_thread(localsockets.dial, str(path(run_folder, job)), os.geteuid())
    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=_LINE_LIMIT)
    try:
        writer.write(json.dumps(WatchRequest().wire()).encode() + b"\n")
        while line := await reader.readline():
            yield requests.read_report(line)
    finally:
        writer.close()
