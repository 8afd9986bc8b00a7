import hashlib
import os
import socket
import threading

import pytest
from tests.transfer.wire import LIMIT, Heard, Streams, pair, receive, sessions

from vmferry.transfer.relay import Relay
from vmferry.transfer.session.session import Session

pytestmark = pytest.mark.usefixtures("nothing_left")


class Joined:
    """A local socket here and one there, and what joins them."""

    def __init__(self, source: Session, destination: Session, streams: Streams) -> None:
        self.here, mine = pair()
        self.there, theirs = pair()
        count = len(streams.all)
        self.near = Relay(source.open("memory"), mine)
        self.far = Relay(streams.wait(count + 1)[count], theirs)

    def finish(self) -> None:
        self.here.close()
        self.there.close()
        assert self.near.done.wait(LIMIT)
        assert self.far.done.wait(LIMIT)


def test_bytes_cross_both_ways_at_once(encryption: bool) -> None:
    with sessions(encryption=encryption) as (source, destination):
        streams = Streams(destination)
        joins = [Joined(source, destination, streams) for _ in range(3)]
        data = [os.urandom(1 << 20) * size for size in (20, 7, 3)]
        digests: dict[tuple[int, str], str] = {}

        def write(sock: socket.socket, what: bytes) -> None:
            sock.sendall(what)
            sock.shutdown(socket.SHUT_WR)

        def read(sock: socket.socket, key: tuple[int, str]) -> None:
            digest = hashlib.sha256()
            while part := sock.recv(1 << 20):
                digest.update(part)
            digests[key] = digest.hexdigest()

        threads = []
        for number, (join, what) in enumerate(zip(joins, data, strict=True)):
            threads += [
                threading.Thread(target=write, args=(join.here, what)),
                threading.Thread(target=write, args=(join.there, what[::-1])),
                threading.Thread(target=read, args=(join.there, (number, "there"))),
                threading.Thread(target=read, args=(join.here, (number, "here"))),
            ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        for number, what in enumerate(data):
            assert digests[number, "there"] == hashlib.sha256(what).hexdigest()
            assert digests[number, "here"] == hashlib.sha256(what[::-1]).hexdigest()
        for join in joins:
            join.finish()
            assert join.near.error is None
            assert join.far.error is None


def test_each_direction_ends_for_itself() -> None:
    with sessions() as (source, destination):
        join = Joined(source, destination, Streams(destination))
        join.here.sendall(b"the question")
        join.here.shutdown(socket.SHUT_WR)
        assert receive(join.there, 12) == b"the question"
        assert join.there.recv(1) == b""
        join.there.sendall(b"the answer")
        assert receive(join.here, 10) == b"the answer"
        assert not join.near.done.is_set()
        join.there.shutdown(socket.SHUT_WR)
        assert join.here.recv(1) == b""
        join.finish()


def test_acknowledged_means_written_to_the_socket_there() -> None:
    with sessions() as (source, destination):
        streams = Streams(destination)
        stream = source.open("memory")
        there, theirs = pair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        far = streams.wait(1)[0]
        stream.send(bytes(600_000))
        assert not stream.wait_acknowledged(0.05)
        assert stream.acknowledged() == 0
        relay = Relay(far, theirs)
        receive(there, 600_000)
        assert stream.wait_acknowledged(LIMIT)
        assert stream.acknowledged() == 600_000
        there.close()
        stream.send_fin()
        assert relay.done.wait(LIMIT)


def test_a_reader_who_does_not_read_holds_the_writer_back_and_nobody_else() -> None:
    with sessions() as (source, destination):
        streams = Streams(destination)
        stuck, other = Joined(source, destination, streams), Joined(source, destination, streams)
        stuck.here.setblocking(False)
        written = 0
        while True:  # until nothing has gone for a while
            try:
                written += stuck.here.send(bytes(1 << 20))
            except BlockingIOError:
                stuck.here.settimeout(0.3)
                try:
                    written += stuck.here.send(bytes(1 << 20))
                except TimeoutError:
                    break
                stuck.here.setblocking(False)
            assert written < 64 << 20
        writer = threading.Thread(target=other.here.sendall, args=(bytes(20 << 20),))
        writer.start()
        receive(other.there, 20 << 20)
        writer.join(LIMIT)
        source.send({"do": "go"})
        heard = Heard()
        destination.on_message(heard)
        heard.wait()
        stuck.here.close()
        receive(stuck.there, written)
        assert stuck.there.recv(1) == b""
        stuck.finish()
        other.finish()


def test_a_local_program_that_dies_resets_the_stream() -> None:
    with sessions() as (source, destination):
        join = Joined(source, destination, Streams(destination))
        join.there.close()  # no end of stream can say that nothing is read any more
        with pytest.raises(OSError):
            join.here.sendall(bytes(100 << 20))
        join.finish()
        assert isinstance(join.near.error, ConnectionResetError)


class Failing(Relay):
    """One that meets something that nobody thought of."""

    def _outward(self) -> None:
        raise KeyError("x")


def test_whatever_fails_ends_both_directions_and_is_known() -> None:
    """The thread ended without a word, and QEMU's connection stayed open."""
    with sessions() as (source, destination):
        streams = Streams(destination)
        here, mine = pair()
        there, theirs = pair()
        near = Failing(source.open("memory"), mine)
        far = Relay(streams.wait(1)[0], theirs)
        assert here.recv(1) == b""
        assert there.recv(1) == b""
        here.close()
        there.close()
        assert near.done.wait(LIMIT)
        assert far.done.wait(LIMIT)
        assert isinstance(near.error, KeyError)


def test_a_broken_session_ends_local_connections() -> None:
    with sessions() as (source, destination):
        join = Joined(source, destination, Streams(destination))
        destination.abort("gone")
        assert join.here.recv(1) == b""
        assert join.there.recv(1) == b""
        join.finish()
        assert isinstance(join.near.error, ConnectionAbortedError)


def test_tiny_writes_are_carried_in_order() -> None:
    with sessions() as (source, destination):
        join = Joined(source, destination, Streams(destination))
        data = os.urandom(20_000)
        for start in range(0, len(data), 7):
            join.here.send(data[start : start + 7])
        assert receive(join.there, len(data)) == data
        join.finish()
