"""What happens to streams when single connections are lost or replaced."""

import os
import threading
from collections.abc import Iterator

import pytest
from tests.transfer.wire import LIMIT, Heard, Proxy, Streams, sessions

from vmferry.transfer.session import session
from vmferry.transfer.session.session import Session, Stream
from vmferry.transfer.transport import carrier

pytestmark = pytest.mark.usefixtures("nothing_left")

_SIZE = 24 << 20


@pytest.fixture
def proxy(nothing_left: None) -> Iterator[Proxy]:
    made = Proxy()
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
def test_what_was_on_a_lost_connection_is_sent_again(lost: int, encryption: bool, proxy: Proxy) -> None:
    with sessions(encryption=encryption, back=2, through=proxy.between) as (source, destination):
        transfers = Transfers(source, destination)
        assert transfers.began.wait(LIMIT)
        proxy.cut(lost)
        transfers.go_on.set()
        transfers.finish()
        source.send({"still": "here"})
        heard = Heard()
        destination.on_message(heard)
        assert heard.wait() == [{"still": "here"}]


def test_connections_may_be_lost_one_after_the_other(proxy: Proxy) -> None:
    with sessions(connections=4, through=proxy.between) as (source, destination):
        transfers = Transfers(source, destination)
        transfers.go_on.set()
        for lost in (2, 0, 3):
            proxy.cut(lost)
        transfers.finish()


@pytest.mark.parametrize("lost", [[0, 1], [2]], ids=["forward", "back"])
def test_without_a_connection_in_one_direction_there_is_no_session(lost: list[int], proxy: Proxy) -> None:
    with sessions(through=proxy.between) as (source, destination):
        here, there = Heard(), Heard()
        source.on_broken(here)
        destination.on_broken(there)
        for index in lost:
            proxy.cut(index)
        assert "was lost" in str(here.wait()[0])
        assert "was lost" in str(there.wait()[0])


def test_an_idle_connection_that_is_lost_does_no_harm(proxy: Proxy) -> None:
    with sessions(through=proxy.between) as (source, destination):
        heard = Heard()
        destination.on_message(heard)
        proxy.cut(0)
        for number in range(20):
            source.send({"number": number})
        assert heard.wait(20) == [{"number": number} for number in range(20)]


def test_worn_connections_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "_REKEY_AFTER", 100)
    monkeypatch.setattr(session, "_LOOK", 0.01)
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
