"""Measures the wire between two workers: `python benchmarks/wire.py [--size MiB] [--rounds N]`.

A program writes to unix sockets of the source's process; the destination's process, joined to it over 127.0.0.1,
writes to unix sockets that another program reads: four processes, as in a move on one machine. Each round measures
every setting once, so that what else the machine does falls on all of them alike; the table has the medians. The
reference moves the same bytes with os.splice over one TCP connection for each stream: no frames, no TLS, no copies
in user space.
"""

import argparse
import multiprocessing
import os
import resource
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from vmferry.core import jobkey
from vmferry.core.policy.networks import Local, Route
from vmferry.identity import certificates
from vmferry.transfer.relay import Relay
from vmferry.transfer.session.connect import SessionListener
from vmferry.transfer.session.session import Credentials, Session

_HERE = "127.0.0.1"
_WRITE = 512 * 1024  # QEMU writes memory in packets of about this size
_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Setting:
    """One line of the table."""

    name: str
    streams: int
    connections: int = 0  # 0: the splice relay
    encryption: bool = False


@dataclass(frozen=True)
class Result:
    """What one run took; CPU seconds of both relays together, for each GiB moved."""

    rate: float  # MiB/s
    user: float
    system: float


@dataclass(frozen=True)
class Place:
    """Where the parts of one run find each other."""

    folder: Path
    setting: Setting
    source: Credentials
    destination: Credentials

    @property
    def door(self) -> str:
        """The unix socket that the source serves."""
        return str(self.folder / "door.sock")

    @property
    def sink(self) -> str:
        """The unix socket that the reading program serves."""
        return str(self.folder / "sink.sock")


# --- the two relays -----------------------------------------------------------------------------------------------


def source(place: Place, pipe: Connection) -> None:
    """The source's process: vmferry's own parts."""
    doors = _serve(place.door)
    session = Session.dial(Route(*pipe.recv()), place.source, place.setting.connections)
    pipe.send("ready")
    relays = [Relay(session.open("memory"), doors.accept()[0]) for _ in range(place.setting.streams)]
    for relay in relays:
        relay.done.wait()
    session.close(linger=5.0)
    pipe.send(_spent())


def destination(place: Place, pipe: Connection) -> None:
    """The destination's process."""
    listener = SessionListener([Local(_HERE)], (0, 0), place.destination)
    pipe.send(listener.addresses[0])
    session = listener.accept(10.0)
    over = threading.Event()
    session.on_broken(lambda _reason: over.set())
    session.on_open(lambda _kind, stream: Relay(stream, _connect(place.sink)))
    pipe.send("ready")
    over.wait()
    session.close()
    listener.close()
    pipe.send(_spent())


def splice_source(place: Place, pipe: Connection) -> None:
    """The source's process of the reference."""
    doors = _serve(place.door)
    address = pipe.recv()
    pipe.send("ready")
    _splice_all(place, lambda: (doors.accept()[0], socket.create_connection(address)))
    pipe.send(_spent())


def splice_destination(place: Place, pipe: Connection) -> None:
    """The destination's process of the reference."""
    with socket.create_server((_HERE, 0)) as listener:
        pipe.send(listener.getsockname())
        pipe.send("ready")
        _splice_all(place, lambda: (listener.accept()[0], _connect(place.sink)))
    pipe.send(_spent())


def _splice_all(place: Place, pair: Callable[[], tuple[socket.socket, socket.socket]]) -> None:
    threads = []
    for _ in range(place.setting.streams):
        threads.append(threading.Thread(target=_splice, args=pair()))
        threads[-1].start()
    for thread in threads:
        thread.join()


def _splice(taken: socket.socket, given: socket.socket) -> None:
    inlet, outlet = os.pipe()
    while got := os.splice(taken.fileno(), outlet, 1 << 20):
        while got:
            got -= os.splice(inlet, given.fileno(), got)
    given.shutdown(socket.SHUT_WR)
    with suppress(OSError):
        given.recv(1)


# --- the two programs ---------------------------------------------------------------------------------------------


def write(place: Place, size: int) -> None:
    """Write so many bytes, spread over all streams at once."""
    data = os.urandom(_WRITE)

    def one() -> None:
        sock = _connect(place.door)
        left = size // place.setting.streams
        while left:
            sock.sendall(data[:left])
            left -= min(left, len(data))
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)

    threads = [threading.Thread(target=one) for _ in range(place.setting.streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def read(place: Place, pipe: Connection) -> None:
    """Read everything that comes, and say how much that was, and when it was all here."""
    listener = _serve(place.sink)
    pipe.send("ready")
    counts = [0] * place.setting.streams

    def one(number: int, sock: socket.socket) -> None:
        room = bytearray(1 << 20)
        while got := sock.recv_into(room):
            counts[number] += got
        sock.close()

    threads = []
    for number in range(place.setting.streams):
        threads.append(threading.Thread(target=one, args=(number, listener.accept()[0])))
        threads[-1].start()
    for thread in threads:
        thread.join()
    pipe.send((sum(counts), time.monotonic()))


# --- one run ------------------------------------------------------------------------------------------------------


def run(setting: Setting, size: int, credentials: tuple[Credentials, Credentials]) -> Result:
    """Move `size` bytes in one setting."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), setting, *credentials)
        ours = setting.connections > 0
        reading = _Process(read, place)
        assert reading.pipe.recv() == "ready"
        receiver = _Process(destination if ours else splice_destination, place)
        sender = _Process(source if ours else splice_source, place)
        sender.pipe.send(receiver.pipe.recv())
        assert receiver.pipe.recv() == sender.pipe.recv() == "ready"
        started = time.monotonic()
        writing = _fork.Process(target=write, args=(place, size))
        writing.start()
        count, ended = reading.pipe.recv()
        assert count == size // setting.streams * setting.streams, f"{count} of {size} bytes arrived"
        spent = [sender.pipe.recv(), receiver.pipe.recv()]
        writing.join()
        for process in (reading, receiver, sender):
            process.join()
    gib = size / (1 << 30)
    user, system = (sum(one[kind] for one in spent) / gib for kind in (0, 1))
    return Result(size / (1 << 20) / (ended - started), user, system)


class _Process:
    def __init__(self, target: Callable[[Place, Connection], None], place: Place) -> None:
        self.pipe, theirs = _fork.Pipe()
        self._process = _fork.Process(target=target, args=(place, theirs))
        self._process.start()
        theirs.close()

    def join(self) -> None:
        self._process.join()
        self.pipe.close()


def _serve(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    return listener


def _connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return sock


def _spent() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def _credentials(encryption: bool) -> tuple[Credentials, Credentials]:
    mine, theirs = certificates.create("source"), certificates.create("destination")
    common: dict[str, Any] = {
        "job": "benchmark",
        "key": jobkey.new(),
        "source_fingerprint": "aa" * 32,
        "destination_fingerprint": "bb" * 32,
        "encryption": encryption,
    }
    return (
        Credentials(certificate=mine[0], private_key=mine[1], peer_certificate=theirs[0], **common),
        Credentials(certificate=theirs[0], private_key=theirs[1], peer_certificate=mine[0], **common),
    )


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=2048, help="MiB to move in each run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each setting")
    parser.add_argument("--connections", type=int, default=2, help="forward carrier connections")
    parser.add_argument("--only", default="", help="only settings whose name contains this")
    arguments = parser.parse_args()
    settings = [
        setting
        for streams in (1, 3)
        for setting in (
            Setting("splice relay", streams),
            Setting("vmferry, plain", streams, arguments.connections),
            Setting("vmferry, TLS", streams, arguments.connections, encryption=True),
        )
        if arguments.only in setting.name
    ]
    keys = {encryption: _credentials(encryption) for encryption in (False, True)}
    results: dict[Setting, list[Result]] = {setting: [] for setting in settings}
    for _ in range(arguments.rounds):
        for setting in settings:
            results[setting].append(run(setting, arguments.size << 20, keys[setting.encryption]))
    print(f"{arguments.size} MiB a run, medians of {arguments.rounds}; {os.cpu_count()} processors")
    print(
        f"{'relay':<16}{'streams':>8}{'MiB/s':>8}{'lowest':>8}{'highest':>8}{'ratio':>7}{'CPU s/GiB':>11}{'system':>8}"
    )
    reference: dict[int, float] = {}
    for setting, runs in results.items():
        rates = [one.rate for one in runs]
        rate = statistics.median(rates)
        reference.setdefault(setting.streams, rate)
        cpu = statistics.median(one.user + one.system for one in runs)
        system = statistics.median(one.system for one in runs)
        print(
            f"{setting.name:<16}{setting.streams:>8}{rate:>8.0f}{min(rates):>8.0f}{max(rates):>8.0f}"
            f"{rate / reference[setting.streams]:>7.2f}{cpu:>11.2f}{system:>8.2f}"
        )


if __name__ == "__main__":
    main()
