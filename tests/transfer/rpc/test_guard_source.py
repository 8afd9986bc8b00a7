import pytest
from tests.transfer.rpc import captured
from tests.transfer.rpc.captured import Libvirtd, calls, refused

from vmferry.core.errors import InternalError
from vmferry.transfer.rpc import protocol
from vmferry.transfer.rpc.guard import Watcher
from vmferry.transfer.rpc.protocol import KeepAlive, MessageStatus, MessageType, Procedure
from vmferry.transfer.rpc.xdr import Writer

ERROR = b"\0" * 44  # a virNetMessageError that says nothing


# --- towards the source -------------------------------------------------------------------------------------


def test_libvirtds_events_do_not_reach_the_source() -> None:
    capture = captured.load("plain")
    libvirtd = Libvirtd(capture)
    libvirtd.send(*calls(capture)[:6])
    event = protocol.read(protocol.build(protocol.REMOTE_PROGRAM, 318, MessageType.MESSAGE, 0, b"x" * 8))
    assert libvirtd.guard.see_reply(event) == b""
    late = protocol.read(protocol.build(protocol.REMOTE_PROGRAM, Procedure.OPEN, MessageType.REPLY, 2))
    assert libvirtd.guard.see_reply(late) == b""


def test_a_pong_from_the_source_answers_nothing() -> None:
    refused(captured.load("plain"), [protocol.read(protocol.PONG)], "keepalive")
    refused(
        captured.load("plain"),
        [protocol.read(protocol.build(protocol.KEEPALIVE_PROGRAM, KeepAlive.PING, MessageType.MESSAGE, 0, b"more"))],
        "keepalive",
    )


@pytest.mark.parametrize("move", captured.MOVES)
def test_the_source_knows_the_reply_that_ends_its_copy(move: str) -> None:
    capture = captured.load(move)
    watcher = Watcher()
    successes = []
    for way, message in capture.messages:
        if way == ">":
            watcher.see_call(message)
        elif message.program == protocol.REMOTE_PROGRAM:
            if watcher.is_finish_success(message):
                successes.append(message.procedure)
            watcher.check_reply(message)
    assert watcher.finish_wanted == capture.succeeded
    assert successes == ([Procedure.FINISH] if capture.succeeded else [])


def test_a_finish_that_failed_ends_nothing() -> None:
    watcher = Watcher()
    finish = captured.load("plain").call(Procedure.FINISH)
    watcher.see_call(finish)
    failed = protocol.build(
        finish.program, finish.procedure, MessageType.REPLY, finish.serial, ERROR, MessageStatus.ERROR
    )
    other = protocol.build(finish.program, finish.procedure, MessageType.REPLY, finish.serial + 1)
    assert not watcher.is_finish_success(protocol.read(failed))
    assert not watcher.is_finish_success(protocol.read(other))


def test_the_sources_libvirt_gets_only_its_answers() -> None:
    capture = captured.load("plain")
    watcher = Watcher()
    prepare = capture.call(Procedure.PREPARE)
    watcher.check_reply(protocol.read(protocol.PONG))
    with pytest.raises(InternalError, match="nobody waits"):
        watcher.check_reply(protocol.read(protocol.build(prepare.program, prepare.procedure, MessageType.REPLY, 9)))
    watcher.see_call(prepare)
    elsewhere = Writer().opaque(b"").optional_string("tcp://10.0.0.1:1").data
    with pytest.raises(InternalError, match=r"10\.0\.0\.1"):
        watcher.check_reply(
            protocol.read(protocol.build(prepare.program, prepare.procedure, MessageType.REPLY, 9, elsewhere))
        )
