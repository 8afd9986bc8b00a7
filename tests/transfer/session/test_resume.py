"""A session that lost all connections goes on with new ones, if it is allowed to wait."""

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.transfer.codecs import Zlib, knows
from tests.transfer.double import Wire
from tests.transfer.wire import LIMIT, Heard, Proxy, Streams, sessions

from vmferry.core.errors import InternalError
from vmferry.transfer.session import connections
from vmferry.transfer.session.options import SessionOptions
from vmferry.transfer.session.session import Session
from vmferry.transfer.session.states import SessionState
from vmferry.transfer.session.stream import Stream
from vmferry.transfer.transport import frames
from vmferry.transfer.transport.frames import Type

pytestmark = pytest.mark.usefixtures("nothing_left", "eager")

_PATIENT = SessionOptions(knows(Zlib()), patience=LIMIT)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often."""
    monkeypatch.setattr(connections, "_LOOK", 0.01)
    monkeypatch.setattr(connections, "_RETRY", 0.5)


@contextmanager
def joined(
    wire: Wire, ours: SessionOptions = _PATIENT, theirs: SessionOptions = _PATIENT
) -> Iterator[tuple[Session, Session, Heard]]:
    with sessions(transport=wire, options=(ours, theirs)) as (source, destination):
        broken = Heard()
        source.on_broken(broken)
        destination.on_broken(broken)
        yield source, destination, broken


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)


def both(state: SessionState, *ends: Session) -> None:
    until(lambda: all(end.state is state for end in ends))


class Flow:
    """Bytes on their way both ways over several streams, until all has arrived."""

    def __init__(self, source: Session, destination: Session, codec: str = "identity", size: int = 6 << 20) -> None:
        self._data = os.urandom(size // 2) + bytes(size - size // 2)
        self._want = hashlib.sha256(self._data).hexdigest()
        self._got: list[str] = []
        self._threads: list[threading.Thread] = []
        self._near = [source.open("file", codec) for _ in range(3)]
        self._far = Streams(destination).wait(3)
        for stream in (*self._near, *self._far):
            self._run(self._send, stream)
            self._run(self._receive, stream)

    @property
    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def finish(self) -> None:
        for thread in self._threads:
            thread.join(LIMIT)
        assert self._got == [self._want] * 6
        for stream in (*self._near, *self._far):
            assert stream.wait_acknowledged(LIMIT)

    def _run(self, target: Callable[[Stream], None], stream: Stream) -> None:
        self._threads.append(threading.Thread(target=target, args=(stream,), daemon=True))
        self._threads[-1].start()

    def _send(self, stream: Stream) -> None:
        for start in range(0, len(self._data), 100_000):
            stream.send(self._data[start : start + 100_000])
        stream.send_fin()

    def _receive(self, stream: Stream) -> None:
        digest = hashlib.sha256()
        while part := stream.recv():
            digest.update(part)
        self._got.append(digest.hexdigest())


def test_all_that_was_sent_arrives_once_and_in_order() -> None:
    wire = Wire()
    with joined(wire) as (source, destination, broken):
        heard = Heard()
        destination.on_message(heard)
        flow = Flow(source, destination)
        wire.unplug()
        both(SessionState.SUSPENDED, source, destination)
        for number in range(20):  # messages wait, and nobody for them
            source.send({"number": number})
        late = source.open("disk")
        wire.plug()
        both(SessionState.ACTIVE, source, destination)
        assert heard.wait(20) == [{"number": number} for number in range(20)]
        flow.finish()
        until(lambda: late.unacked.announced)
        assert broken.all == []


@pytest.mark.parametrize("codec", ["identity", "zlib"])
def test_it_goes_on_again_and_again_at_any_moment(codec: str) -> None:
    wire, chance = Wire(), random.Random(7)
    with joined(wire) as (source, destination, broken):
        flow = Flow(source, destination, codec)
        for _ in range(8):
            threading.Event().wait(chance.random() / 20)
            count = len(wire.dialed)
            wire.cut(*range(count))
            until(lambda count=count: len(wire.dialed) > count)  # type: ignore[misc]
        flow.finish()
        assert broken.all == []
        assert source.sent >= destination.received > 18 << 19


def test_it_goes_on_over_tcp_as_well(encryption: bool) -> None:
    proxy = Proxy()
    try:
        options = (_PATIENT, _PATIENT)
        with sessions(encryption=encryption, through=proxy.between, options=options) as (source, destination):
            heard, broken = Heard(), Heard()
            destination.on_message(heard)
            source.on_broken(broken)
            flow = Flow(source, destination)
            source.send({"before": "the cut"})
            heard.wait()
            for index in range(3):
                proxy.cut(index)
            source.send({"after": "the cut"})
            flow.finish()
            assert heard.wait(2) == [{"before": "the cut"}, {"after": "the cut"}]
            assert broken.all == []
            assert destination._connections.life.epoch > 0
    finally:
        proxy.close()


@pytest.mark.parametrize("lost", [(0, 1), (2,)], ids=["forward", "back"])
def test_one_direction_lost_is_enough(lost: tuple[int, ...]) -> None:
    wire = Wire()
    with joined(wire) as (source, destination, broken):
        flow = Flow(source, destination)
        wire.cut(*lost)
        flow.finish()
        assert len(wire.dialed) == 6
        assert broken.all == []


def test_connections_that_carry_nothing_and_end_nowhere_are_replaced() -> None:
    """The destination sees nothing of it until the source connects anew."""
    wire = Wire()
    with joined(wire) as (source, destination, broken):
        flow = Flow(source, destination)
        wire.lose(0, 1, 2)
        assert destination.state is SessionState.ACTIVE
        for carrier in source._demux.sender.carriers():
            source._demux.sender.lose(carrier, "nothing is acknowledged")
        flow.finish()
        both(SessionState.ACTIVE, source, destination)
        assert broken.all == []


def test_little_is_kept_while_it_waits() -> None:
    wire = Wire()
    with joined(wire) as (source, destination, _):
        stream = source.open("memory")
        Streams(destination).wait(1)
        wire.unplug()
        both(SessionState.SUSPENDED, source, destination)
        stopped = Heard()

        def send() -> None:
            try:
                while True:
                    stream.send(bytes(1 << 18))
            except OSError as error:
                stopped(error)

        thread = threading.Thread(target=send)
        thread.start()
        threading.Event().wait(0.1)
        assert thread.is_alive()
        assert stream.sent <= 4 << 20
        source.close()
        stopped.wait()
        thread.join(LIMIT)


def test_it_waits_no_longer_than_it_may() -> None:
    wire = Wire()
    short = SessionOptions(patience=0.2)
    with joined(wire, short, short) as (source, destination, broken):
        began = time.monotonic()
        wire.unplug()
        assert all("was lost" in str(reason) for reason in broken.wait(2))
        assert 0.2 <= time.monotonic() - began < LIMIT
        both(SessionState.BROKEN, source, destination)
        with pytest.raises(ConnectionAbortedError):
            source.open("memory")


@pytest.mark.parametrize("impatient", ["source", "destination", "both"])
def test_both_have_to_be_willing_to_wait(impatient: str) -> None:
    wire = Wire()
    ours, theirs = (SessionOptions() if impatient in (side, "both") else _PATIENT for side in ("source", "destination"))
    with joined(wire, ours, theirs) as (source, destination, broken):
        assert frames.RESUME not in source.features
        wire.unplug()
        broken.wait(2)
        both(SessionState.BROKEN, source, destination)


def test_who_ends_a_session_is_not_waited_for() -> None:
    for end in ("close", "abort"):
        wire = Wire()
        with joined(wire) as (source, destination, broken):
            if end == "close":
                source.close(LIMIT)
            else:
                source.abort("enough")
            assert broken.wait() == ["the peer closed the session" if end == "close" else "enough"]
            both(SessionState.BROKEN, source, destination)
            assert len(wire.dialed) == 3


def test_a_session_that_is_over_there_does_not_go_on() -> None:
    wire = Wire()
    short = SessionOptions(patience=0.5)
    with joined(wire, short, short) as (source, destination, broken):
        wire.unplug()
        both(SessionState.SUSPENDED, source, destination)
        destination.abort("the host burns")
        wire.plug()
        assert "was lost" in str(broken.wait()[0])
        assert source.state is SessionState.BROKEN


def test_a_stream_that_ended_is_not_given_up_for_a_lost_acknowledgement() -> None:
    """Its last acknowledgement was lost, and the end of the stream came again: the answer was that nobody knows it."""
    wire = Wire()
    with joined(wire) as (source, destination, broken):
        stream = source.open("file")
        far = Streams(destination).wait(1)[0]
        far.send_fin()
        assert stream.recv() == b""
        until(lambda: far.unacked.finished and not far.unacked.pending)
        wire.lose(2)  # what the destination sends
        stream.send(b"the last words")
        stream.send_fin()
        assert far.recv() == b"the last words"
        assert far.recv() == b""
        until(lambda: stream.id in destination._demux._registry.ended)
        for carrier in source._demux.sender.carriers():
            source._demux.sender.lose(carrier, "nothing is acknowledged")
        assert stream.wait_acknowledged(LIMIT)
        assert not stream.failed
        assert broken.all == []


def test_only_the_control_stream_says_that_all_was_told() -> None:
    wire = Wire()
    with joined(wire) as (source, destination, broken):
        source.open("memory")
        Streams(destination).wait(1)
        raw = frames.pack(1, Type.ACK, 0, frames.CREDIT.pack(0), frames.RESUMED)
        source._demux.sender.send_unreliable(raw)
        assert "cannot be resumed" in str(broken.wait()[0])


def test_a_session_that_cannot_wait_knows_no_such_word() -> None:
    raw = frames.pack(0, Type.ACK, 0, frames.CREDIT.pack(0), frames.RESUMED)
    with pytest.raises(InternalError, match="unknown flags"):
        frames.parse(raw)
    assert frames.parse(raw, frames.rules([frames.RESUME]))[2] == frames.RESUMED
