"""The relays of libvirt's calls: whatever fails in them ends the move at once, with its reason."""

import queue
import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from tests.transfer.rpc import captured
from tests.transfer.worker.ends import locked

from vmferry.core.errors import VmferryError
from vmferry.transfer.rpc import protocol
from vmferry.transfer.rpc.protocol import Procedure
from vmferry.transfer.rpc.relay import CommittingRelay, GuardedRelay
from vmferry.transfer.session.stream import Stream

LIMIT = 10.0


class Way:
    """The other end of a stream: what a relay sends and receives, and why it was given up."""

    def __init__(self) -> None:
        self.sent: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.comes: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.over: queue.SimpleQueue[str] = queue.SimpleQueue()

    def send(self, data: bytes) -> None:
        self.sent.put(bytes(data))

    def recv(self) -> bytes:
        return self.comes.get()

    def send_fin(self) -> None:
        pass

    def on_reset(self, listener: Callable[[str], None]) -> None:
        pass

    def reset(self, reason: str) -> None:
        self.over.put(reason)
        self.comes.put(b"")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of libvirtd's connection: the relay's, and libvirtd's own."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(LIMIT)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("kind", [locked, lambda: KeyError("x")])
def test_a_commit_that_cannot_be_journaled_cuts_libvirt_off(
    pair: tuple[socket.socket, socket.socket], kind: Callable[[], Exception]
) -> None:
    """The guest stands still: libvirt hears at once that there is no reply, and lets it run on."""
    ours, libvirtd = pair
    way = Way()
    failed: queue.SimpleQueue[Exception] = queue.SimpleQueue()
    error = kind()
    relay = CommittingRelay(cast(Stream, way), ours)

    def commit() -> bool:
        raise error

    relay.on_commit = commit
    relay.on_read = lambda _read: failed.put(AssertionError("the reply was passed on"))
    relay.on_failed = failed.put
    relay.start()
    capture = captured.load("plain")
    finish = capture.call(Procedure.FINISH)
    calls = captured.calls(capture)
    for message in calls[: calls.index(finish) + 1]:  # nothing later: the connection is cut
        libvirtd.sendall(message.raw)
    assert way.over.get(timeout=LIMIT)
    assert failed.get(timeout=LIMIT) is error
    reply = next(m for w, m in capture.messages if w == "<" and m.serial == finish.serial and m.procedure == 306)
    way.comes.put(reply.raw)
    while libvirtd.recv(1 << 16):
        pass
    assert failed.empty()


@pytest.mark.parametrize("failing", ["prepare", "prepared", None])
@pytest.mark.parametrize("move", ["plain", "taken"])
def test_a_copy_is_announced_before_libvirt_makes_it(
    pair: tuple[socket.socket, socket.socket], move: str, failing: str | None
) -> None:
    """What cannot be journaled does not pass: neither Prepare, nor its reply."""
    ours, libvirtd = pair
    capture = captured.load(move)
    way = Way()
    failed: queue.SimpleQueue[Any] = queue.SimpleQueue()
    noted: list[object] = []
    relay = GuardedRelay(cast(Stream, way), ours, capture.authorised)

    def note(what: object, step: str) -> None:
        noted.append(what)
        if step == failing:
            raise locked()

    relay.on_prepare = lambda: note("announced", "prepare")
    relay.on_prepared = lambda made: note(made, "prepared")
    relay.on_failed = failed.put
    relay.start()
    for way_there, message in capture.messages:
        if message.program != protocol.REMOTE_PROGRAM:
            continue
        is_prepare = message.procedure == Procedure.PREPARE
        if way_there == ">":
            way.comes.put(message.raw)
            passed = libvirtd.recv(len(message.raw), socket.MSG_WAITALL)
            assert (passed == message.raw) is not (is_prepare and failing == "prepare")
            assert noted == (["announced"] if is_prepare else [])
        else:
            libvirtd.sendall(message.raw)
            if not (is_prepare and failing):
                assert way.sent.get(timeout=LIMIT) == message.raw
        if is_prepare and (way_there == "<" or failing == "prepare"):
            break
    if failing:
        assert isinstance(failed.get(timeout=LIMIT), VmferryError)
        assert "locked" in way.over.get(timeout=LIMIT)
        assert way.sent.empty()
    assert noted == (["announced"] if failing == "prepare" else ["announced", move != "taken"])


def test_a_finish_that_cannot_be_journaled_is_not_answered(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, libvirtd = pair
    capture = captured.load("plain")
    way = Way()
    failed: queue.SimpleQueue[Any] = queue.SimpleQueue()
    relay = GuardedRelay(cast(Stream, way), ours, capture.authorised)

    def note() -> None:
        raise locked()

    relay.on_finish = note
    relay.on_failed = failed.put
    relay.start()
    finish = capture.call(Procedure.FINISH)
    for way_there, message in capture.messages:
        if message.program != protocol.REMOTE_PROGRAM:
            continue
        if way_there == ">":
            way.comes.put(message.raw)
            libvirtd.recv(len(message.raw), socket.MSG_WAITALL)
        else:
            libvirtd.sendall(message.raw)
        if message.raw == finish.raw:
            break
        if way_there == "<":
            way.sent.get(timeout=LIMIT)
    error = failed.get(timeout=LIMIT)
    assert isinstance(error, VmferryError)
    assert "locked" in way.over.get(timeout=LIMIT)
    assert way.sent.empty()
