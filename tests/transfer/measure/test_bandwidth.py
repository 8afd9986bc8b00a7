"""The measurement of a way, on real sockets: what a path lets through, who may measure, and that it ends in time."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from tests.transfer.wire import HERE, credentials

from vmferry.core import codes, jobkey
from vmferry.core.errors import PreflightError, UnreachableError, VmferryError
from vmferry.core.policy.networks import Local, Route
from vmferry.transfer.measure import bandwidth
from vmferry.transfer.measure.bandwidth import Sink, measure

pytestmark = pytest.mark.usefixtures("nothing_left")

MIB = 1 << 20
SECONDS = bandwidth.WARM + bandwidth.TIME


def yes() -> bool:
    return True


@contextmanager
def sink(*, encryption: bool = True, quiet: Callable[[], bool] = yes) -> Iterator[int]:
    """Give the port of a destination."""
    made = Sink([Local(HERE)], (0, 0), credentials("destination", encryption=encryption))
    thread = threading.Thread(target=made.serve, args=(quiet,))
    thread.start()
    try:
        yield made.addresses[0][1]
    finally:
        thread.join(bandwidth.ACCEPT + bandwidth.LIMIT + 1)
        assert not thread.is_alive()


class Throttled:
    """Passes one direction of each connection on at a rate, all of them together."""

    def __init__(self, port: int, rate: float) -> None:
        self._port = port
        self._rate = rate
        self._server = socket.create_server((HERE, 0))
        self._began = time.monotonic()
        self._passed = 0
        self._lock = threading.Lock()
        self._open: list[socket.socket] = [self._server]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            # As little on the way as over a real path: what lies in buffers is not yet there.
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
            far = socket.create_connection((HERE, self._port))
            self._open += [near, far]
            for ends in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._pass, args=ends))
                self._threads[-1].start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(8 << 10):
                with self._lock:
                    self._passed += len(data)
                    due = self._began + self._passed / self._rate
                time.sleep(max(0.0, due - time.monotonic()))
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        for sock in self._open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in list(self._threads):
            thread.join()
        for sock in self._open:
            sock.close()


@pytest.mark.parametrize("encryption", [True, False])
def test_a_way_is_measured_in_about_the_time_set_for_it(encryption: bool) -> None:
    with sink(encryption=encryption) as port:
        began = time.monotonic()
        found = measure([Route(HERE, port)], credentials("source", encryption=encryption), 2, yes, "kvm1")
        assert time.monotonic() - began < 3 * SECONDS
    assert found.bandwidth > 20 * MIB
    assert 0 < found.round_trip < 1


def test_a_slow_way_is_measured_as_slow() -> None:
    with sink() as port:
        way = Throttled(port, 4.0 * MIB)
        try:
            found = measure([Route(HERE, way.port)], credentials("source"), 2, yes, "kvm1")
        finally:
            way.close()
    assert found.bandwidth == pytest.approx(4 * MIB, rel=0.35)


def test_a_move_that_begins_here_ends_it() -> None:
    with sink() as port, pytest.raises(PreflightError) as caught:
        measure([Route(HERE, port)], credentials("source"), 2, lambda: False, "kvm1")
    assert caught.value.code is codes.BANDWIDTH_UNMEASURED
    assert "a move began" in caught.value.reason


def test_a_move_that_begins_there_ends_it() -> None:
    with sink(quiet=lambda: False) as port, pytest.raises(PreflightError) as caught:
        measure([Route(HERE, port)], credentials("source"), 2, yes, "kvm1")
    assert caught.value.code is codes.BANDWIDTH_UNMEASURED


def test_who_has_not_the_key_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "ACCEPT", 0.5)
    with sink() as port, pytest.raises(VmferryError) as caught:
        measure([Route(HERE, port)], replace(credentials("source"), key=jobkey.new()), 2, yes, "kvm1")
    assert caught.value.code is codes.JOB_KEY_WRONG


def test_nobody_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "ACCEPT", 0.2)
    with sink():
        pass


def test_nobody_listens() -> None:
    with socket.create_server((HERE, 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(UnreachableError) as caught:
        measure([Route(HERE, port)], credentials("source"), 2, yes, "kvm1")
    assert caught.value.code is codes.DATA_UNREACHABLE


def test_it_takes_one_session_and_listens_no_more() -> None:
    with sink() as port:
        measure([Route(HERE, port)], credentials("source"), 1, yes, "kvm1")
        with pytest.raises(UnreachableError):
            measure([Route(HERE, port)], credentials("source"), 1, yes, "kvm1")


@pytest.mark.parametrize(
    ("seen", "rate"),
    [
        ([(0.0, 0)], 0.0),
        ([(0.0, 0), (0.9, 90)], 100.0),
        ([(0.0, 0), (0.1, 50), (0.3, 60), (0.8, 110)], 100.0),
    ],
)
def test_the_time_in_which_tcp_finds_its_rate_does_not_count(seen: list[tuple[float, int]], rate: float) -> None:
    assert bandwidth._rate(seen) == pytest.approx(rate)
