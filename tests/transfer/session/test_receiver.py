"""Order, credit and limits of what a stream receives, without any connection."""

import os
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.transfer.wire import LIMIT, receive

from vmferry.core.errors import InternalError
from vmferry.transfer.relay import SocketSink
from vmferry.transfer.session.receiver import Receiver
from vmferry.transfer.transport import frames
from vmferry.transfer.transport.buffers import ROOM, Buffer, Pool


class Fed:
    """An receiver, and what it said about its progress."""

    def __init__(self, window: int = 1 << 20) -> None:
        self.pool = Pool()
        self.told: list[bool] = []
        self.receiver = Receiver(self.pool, window, self.told.append)
        self.receiver.report()

    def data(self, offset: int, payload: bytes, *, soon: bool = False) -> bool:
        buffer = Buffer()
        buffer.payload[: len(payload)] = payload
        return self.receiver.deliver(offset, buffer.payload[: len(payload)], buffer, soon)

    def take_all(self) -> bytes:
        got = bytearray()
        while part := self.receiver.take():
            got += part
        return bytes(got)


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]]]:
    """A stream cut into frames that arrive in any order, some of them more than once."""
    size = draw(st.integers(0, 400_000))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, size - 1)), max_size=12)))
    ends = [cut for cut in cuts if 0 < cut < size] + ([size] if size else [])
    starts = [0, *ends][: len(ends)]
    parts = list(zip(starts, ends, strict=True))
    parts = [part for start, end in parts for part in _short(start, end)]
    again = draw(st.lists(st.sampled_from(parts), max_size=5)) if parts else []
    return bytes(os.urandom(size)), draw(st.permutations(parts + again))


def _short(start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        yield start, min(end, start + ROOM)
        start += ROOM


@given(arrivals(), st.booleans())
def test_any_order_and_any_repetition_gives_the_same_bytes(
    arrival: tuple[bytes, list[tuple[int, int]]], end_first: bool
) -> None:
    data, parts = arrival
    fed = Fed()
    if end_first:
        fed.receiver.finish(len(data))
    for start, end in parts:
        fed.data(start, data[start:end])
    if not end_first:
        fed.receiver.finish(len(data))
    assert fed.take_all() == data
    fed.receiver.end()
    assert fed.receiver.report()[0::2] == (len(data), True)


@settings(max_examples=50)
@given(arrivals(), st.integers(2048, 100_000))
def test_the_same_through_a_socket_that_takes_little(arrival: tuple[bytes, list[tuple[int, int]]], room: int) -> None:
    data, parts = arrival
    fed = Fed()
    there, here = socket.socketpair()
    with there, here:
        there.settimeout(LIMIT)
        sink = SocketSink(here)
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        fed.receiver.attach(sink)
        writer = threading.Thread(target=fed.receiver.pump, args=(sink,))
        writer.start()
        middle = len(parts) // 2

        def feed(some: list[tuple[int, int]]) -> None:
            for start, end in some:
                fed.data(start, data[start:end])

        readers = [threading.Thread(target=feed, args=(some,)) for some in (parts[:middle], parts[middle:])]
        for reader in readers:
            reader.start()
        assert receive(there, len(data)) == data
        fed.receiver.finish(len(data))
        for thread in (*readers, writer):
            thread.join(LIMIT)
            assert not thread.is_alive()
        fed.receiver.detach()
    assert fed.receiver.report()[0] == len(data)


def test_what_goes_straight_through_keeps_no_buffer() -> None:
    fed = Fed()
    there, here = socket.socketpair()
    with there, here:
        fed.receiver.attach(SocketSink(here))
        assert not fed.data(0, b"a" * 10_000)
        assert not fed.data(10_000, b"b" * 10_000, soon=True)
        assert receive(there, 20_000) == b"a" * 10_000 + b"b" * 10_000
        assert fed.told == [False, True]
        fed.receiver.detach()


def test_credit_is_what_was_taken_and_the_window() -> None:
    fed = Fed(window=200_000)
    receiver = fed.receiver
    assert receiver.report() == (0, frames.INITIAL_CREDIT, False)
    for number in range(6):
        fed.data(number * 200_000, bytes(200_000))
        assert len(receiver.take()) == 200_000
        receiver.report()
    assert receiver.report() == (1_200_000, 1_400_000, False)
    fed.data(1_200_000, bytes(200_000))
    with pytest.raises(InternalError, match="credit"):
        fed.data(1_400_000, b"x")


@pytest.mark.parametrize("offset", [frames.INITIAL_CREDIT, frames.INITIAL_CREDIT - 1, 1 << 40, 1 << 62])
def test_data_beyond_the_credit_is_refused(offset: int) -> None:
    with pytest.raises(InternalError, match="credit"):
        Fed().data(offset, b"xx")


def test_frames_that_overlap_are_refused() -> None:
    fed = Fed()
    fed.data(0, b"abcd")
    fed.receiver.take()
    assert not fed.data(0, b"abcd")
    with pytest.raises(InternalError, match="overlap"):
        fed.data(2, b"cdef")


def test_frames_behind_a_gap_are_bounded() -> None:
    fed = Fed()
    for number in range(frames.PENDING):
        fed.data(2 + 2 * number, b"x")
    with pytest.raises(InternalError, match="too many"):
        fed.data(1 << 19, b"x")


def test_small_frames_behind_a_gap_hold_little_memory() -> None:
    fed = Fed()
    assert not any(fed.data(1 + 1000 * number, bytes(1000)) for number in range(500))


@pytest.mark.parametrize("end", [0, 5, frames.INITIAL_CREDIT + 1])
def test_a_stream_ends_where_it_can(end: int) -> None:
    fed = Fed()
    fed.data(2, b"abcd")
    with pytest.raises(InternalError):
        fed.receiver.finish(end)


def test_a_stream_ends_once() -> None:
    fed = Fed()
    fed.receiver.finish(10)
    fed.receiver.finish(10)  # sent again over another connection
    with pytest.raises(InternalError):
        fed.receiver.finish(11)


def test_nothing_comes_after_the_end() -> None:
    fed = Fed()
    fed.receiver.finish(4)
    with pytest.raises(InternalError):
        fed.data(2, b"cdef")


def test_a_stop_at_once_drops_what_has_come_and_another_does_not() -> None:
    why = ConnectionResetError("why")
    fed, other = Fed(), Fed()
    for each, at_once in ((fed, True), (other, False)):
        each.data(0, bytes(100_000))
        each.receiver.stop(why, at_once=at_once)
        assert not each.data(100_000, b"x")
    with pytest.raises(ConnectionResetError, match="why"):
        fed.receiver.take()
    assert len(other.receiver.take()) == 100_000
    with pytest.raises(ConnectionResetError, match="why"):
        other.receiver.take()
