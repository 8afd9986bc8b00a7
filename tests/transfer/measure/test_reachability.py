"""The try of the way between two hosts, on real sockets; a black hole is a relay that swallows what is large."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.transfer.wire import HERE

from vmferry.core.messages.probe import ProbedRoute, ProbeOpening
from vmferry.core.policy.networks import Local, Route
from vmferry.transfer.measure import reachability
from vmferry.transfer.measure.reachability import Listener, reach

pytestmark = pytest.mark.usefixtures("nothing_left")

LIMIT = 1.2  # seconds; less than in earnest, so that the tests are quick
SMALL = 200  # bytes


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability, "LIMIT", LIMIT)
    monkeypatch.setattr(reachability, "STALL", 0.3)


@contextmanager
def listening(*addresses: str) -> Iterator[Listener]:
    listener = Listener([Local(address) for address in addresses or (HERE,)], (0, 0), LIMIT)
    thread = threading.Thread(target=listener.serve)
    thread.start()
    try:
        yield listener
    finally:
        thread.join(2 * LIMIT)
        assert not thread.is_alive()


def routes(opening: ProbeOpening) -> list[Route]:
    return [Route(address.host, address.port) for address in opening.addresses]


class Middle:
    """Passes what two ends say to each other on, in one direction only as long as it is small.

    Arguments:
        swallows: "to" the listener or "from" it.
        most: bytes that it passes on one way before it stands still.
    """

    def __init__(self, port: int, swallows: str, most: int = 1 << 30) -> None:
        self._most = most
        self._port = port
        self._swallows = swallows
        self._server = socket.create_server((HERE, 0))
        self._open: list[socket.socket] = []
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
            far = socket.create_connection((HERE, self._port))
            self._open += [near, far]
            for source, sink, way in ((near, far, "to"), (far, near, "from")):
                thread = threading.Thread(target=self._pass, args=(source, sink, way))
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        passed = 0
        try:
            while passed < self._most and (data := source.recv(min(1 << 20, self._most - passed))):
                passed += len(data)
                if way != self._swallows or len(data) <= SMALL:
                    sink.sendall(data)
        except OSError:
            pass

    def close(self) -> None:
        for sock in [self._server, *self._open]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in list(self._threads):
            thread.join()
        for sock in [self._server, *self._open]:
            sock.close()


def test_a_way_that_carries_everything() -> None:
    with listening(HERE, "127.0.0.2") as listener:
        began = time.monotonic()
        found = reach(routes(listener.opening), listener.opening)
        assert time.monotonic() - began < LIMIT
    assert [(way.address, way.error, way.stalled) for way in found] == [(HERE, None, []), ("127.0.0.2", None, [])]
    assert found[0].mtu > 1000
    assert found[0].local == HERE


def test_it_comes_from_the_address_of_the_route() -> None:
    with listening() as listener:
        (way,) = routes(listener.opening)
        (found,) = reach([way._replace(local=Local("127.0.0.3", 8, "lo"))], listener.opening)
    assert (found.error, found.local) == (None, "127.0.0.3")


@pytest.mark.parametrize(("swallows", "sender"), [("to", "source"), ("from", "destination")])
def test_large_packets_that_vanish(swallows: str, sender: str) -> None:
    with listening() as listener:
        middle = Middle(listener.opening.addresses[0].port, swallows)
        try:
            began = time.monotonic()
            (found,) = reach([Route(HERE, middle.port)], listener.opening)
            assert time.monotonic() - began < 2 * LIMIT  # it waits once, not for each size
        finally:
            middle.close()
    assert (found.error, found.stalled) == (None, [sender])


def test_a_link_that_stands_still_half_way_is_busy_and_no_black_hole() -> None:
    with listening() as listener:
        middle = Middle(listener.opening.addresses[0].port, "nothing", most=64 << 10)
        try:
            (found,) = reach([Route(HERE, middle.port)], listener.opening)
        finally:
            middle.close()
    assert (found.error, found.stalled) == (None, [])


def test_nobody_listens() -> None:
    with socket.create_server((HERE, 0)) as gone:
        port = gone.getsockname()[1]
    with listening() as listener:
        (found,) = reach([Route(HERE, port)], listener.opening)
    assert (found.error, found.stalled) == ("Connection refused", [])


def test_another_program_answers() -> None:
    with listening() as listener, socket.create_server((HERE, 0)) as other:
        thread = threading.Thread(target=greet, args=(other, 2))
        thread.start()
        (found,) = reach([Route(HERE, other.getsockname()[1])], listener.opening)
        thread.join()
    assert found.error is not None
    assert "another" in found.error


def greet(server: socket.socket, times: int) -> None:
    for _ in range(times):
        visitor, _ = server.accept()
        with visitor:
            visitor.recv(100)
            visitor.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7 \r\n")


def test_who_accepts_and_says_nothing_does_not_answer() -> None:
    with listening() as listener, socket.create_server((HERE, 0)) as mute:
        began = time.monotonic()
        (found,) = reach([Route(HERE, mute.getsockname()[1])], listener.opening)
        assert time.monotonic() - began < 2 * LIMIT
    assert found.error == "timed out"


def test_a_secret_is_good_once_and_no_other_is() -> None:
    with listening() as listener:
        (address,) = listener.opening.addresses
        secret = bytes.fromhex(listener.opening.secrets[0])

        def said(words: bytes) -> bytes:
            with socket.create_connection((address.host, address.port)) as visitor:
                visitor.settimeout(LIMIT)
                visitor.sendall(words)
                return visitor.recv(100)

        assert said(b"\0" * 32 + b"<") == b""
        assert said(secret + b"<").startswith(bytes.fromhex(listener.opening.answer))
        assert said(secret + b"<") == b""


def test_strangers_do_not_keep_it_beyond_its_time() -> None:
    began = time.monotonic()
    with listening() as listener:
        (address,) = listener.opening.addresses
        strangers = [socket.create_connection((address.host, address.port)) for _ in range(50)]
    assert time.monotonic() - began < 2 * LIMIT  # not once for each of them
    for stranger in strangers:
        stranger.close()


def test_no_way_is_no_try() -> None:
    opening = ProbeOpening(addresses=[], secrets=[], answer="")
    assert reach([], opening) == []
    assert ProbedRoute(address="x", port=1).stalled == []


@pytest.mark.parametrize("secrets", [[], ["ab" * 32]])
def test_a_destination_that_gives_too_few_secrets_is_not_tried(secrets: list[str]) -> None:
    with listening() as listener:
        assert reach(routes(listener.opening), listener.opening.model_copy(update={"secrets": secrets})) == []
