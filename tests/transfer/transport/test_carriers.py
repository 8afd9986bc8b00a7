"""What happens to streams when single connections are lost or replaced."""

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from tests.transfer.double import Wire
from tests.transfer.wire import LIMIT, Heard, Proxy, Streams, sessions

from vmferry.transfer.session import connections
from vmferry.transfer.session.session import Session, Stream
from vmferry.transfer.transport import carrier

pytestmark = pytest.mark.usefixtures("nothing_left")

_SIZE = 24 << 20


class Line:
    """Sessions whose connections can be cut: TCP through a proxy, or a wire in memory."""

    def __init__(self, kind: str) -> None:
        self._encryption = kind == "tls"
        self._memory = Wire() if kind == "memory" else None
        self._proxy = None if self._memory else Proxy()

    def sessions(self, connections: int = 2, back: int = 1) -> AbstractContextManager[tuple[Session, Session]]:
        through = self._proxy.between if self._proxy else None
        return sessions(
            encryption=self._encryption,
            connections=connections,
            back=back,
            through=through,
            transport=self._memory,
        )

    def cut(self, index: int) -> None:
        """Cut a connection; they count from 0 in the order in which they were dialed."""
        (self._memory or self._proxy or Wire()).cut(index)

    def close(self) -> None:
        if self._proxy:
            self._proxy.close()


@pytest.fixture(params=["tls", "plain", "memory"])
def line(nothing_left: None, request: pytest.FixtureRequest) -> Iterator[Line]:
    made = Line(request.param)
    yield made
    made.close()


class Transfers:
    """Bytes on their way over several streams, both ways."""

    def __init__(self, source: Session, destination: Session, count: int = 3) -> None:
        self.data = os.urandom(_SIZE // count)
        self.began = threading.Event()
        self.go_on = threading.Event()
        self._got: dict[int, bytes] = {}
        self._threads: list[threading.Thread] = []
        streams = Streams(destination)
        for number in range(count):
            near = source.open("file")
            far = streams.wait(number + 1)[number]
            self._run(self._send, near)
            self._run(self._send, far)
            self._run(self._receive, far, 2 * number)
            self._run(self._receive, near, 2 * number + 1)

    def finish(self) -> None:
        for thread in self._threads:
            thread.join(LIMIT)
        assert len(self._got) == len(self._threads) // 2
        assert all(got == self.data for got in self._got.values())

    def _run(self, target: object, *arguments: object) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _send(self, stream: Stream) -> None:
        half = len(self.data) // 2
        stream.send(self.data[:half])
        self.began.set()
        self.go_on.wait(LIMIT)
        stream.send(self.data[half:])
        stream.send_fin()

    def _receive(self, stream: Stream, number: int) -> None:
        got = bytearray()
        while part := stream.recv():
            got += part
        self._got[number] = bytes(got)


@pytest.mark.parametrize("lost", [0, 1, 2, 3], ids=["first", "second", "back", "other back"])
def test_what_was_on_a_lost_connection_is_sent_again(lost: int, line: Line) -> None:
    with line.sessions(back=2) as (source, destination):
        transfers = Transfers(source, destination)
        assert transfers.began.wait(LIMIT)
        line.cut(lost)
        transfers.go_on.set()
        transfers.finish()
        source.send({"still": "here"})
        heard = Heard()
        destination.on_message(heard)
        assert heard.wait() == [{"still": "here"}]


def test_connections_may_be_lost_one_after_the_other(line: Line) -> None:
    with line.sessions(connections=4) as (source, destination):
        transfers = Transfers(source, destination)
        transfers.go_on.set()
        for lost in (2, 0, 3):
            line.cut(lost)
        transfers.finish()


@pytest.mark.parametrize("lost", [[0, 1], [2]], ids=["forward", "back"])
def test_without_a_connection_in_one_direction_there_is_no_session(lost: list[int], line: Line) -> None:
    with line.sessions() as (source, destination):
        here, there = Heard(), Heard()
        source.on_broken(here)
        destination.on_broken(there)
        for index in lost:
            line.cut(index)
        assert "was lost" in str(here.wait()[0])
        assert "was lost" in str(there.wait()[0])


def test_an_idle_connection_that_is_lost_does_no_harm(line: Line) -> None:
    with line.sessions() as (source, destination):
        heard = Heard()
        destination.on_message(heard)
        line.cut(0)
        for number in range(20):
            source.send({"number": number})
        assert heard.wait(20) == [{"number": number} for number in range(20)]


def test_worn_connections_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "_REKEY_AFTER", 100)
    monkeypatch.setattr(connections, "_LOOK", 0.01)
    with sessions() as (source, destination):
        first = set(source._demux.sender.carriers())
        transfers = Transfers(source, destination)
        transfers.go_on.set()
        transfers.finish()
        heard = Heard()
        destination.on_message(heard)
        number = 0
        while first <= set(source._demux.sender.carriers()):
            source.send({"number": number})
            number += 1
            heard.wait(number)
        source.send({"over": "new connections"})
        assert heard.wait(number + 1)[-1] == {"over": "new connections"}
        assert source.sent > _SIZE
