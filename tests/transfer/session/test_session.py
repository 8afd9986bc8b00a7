import os
import socket
import threading
from contextlib import suppress

import pytest
from tests.transfer.double import Wire
from tests.transfer.wire import HERE, LIMIT, Heard, Streams, credentials, listening, sessions

from vmferry.core import jobkey
from vmferry.core.errors import AccessError, InternalError
from vmferry.core.policy.networks import Local, Route
from vmferry.transfer.session import connections as module
from vmferry.transfer.session.connect import SessionListener
from vmferry.transfer.session.keepalive import broadcast
from vmferry.transfer.session.sender import Sender
from vmferry.transfer.session.session import Session
from vmferry.transfer.transport import frames
from vmferry.transfer.transport.base import Transport

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_messages_cross_in_order_both_ways(encryption: bool) -> None:
    with sessions(encryption=encryption) as (source, destination):
        here, there = Heard(), Heard()
        for number in range(50):
            source.send({"number": number})
            destination.send({"number": -number})
        destination.on_message(there)  # those that came before are kept for it
        source.on_message(here)
        assert there.wait(50) == [{"number": number} for number in range(50)]
        assert here.wait(50) == [{"number": -number} for number in range(50)]


def test_a_message_that_is_too_long_is_refused_here(transport: Transport | None) -> None:
    with sessions(transport=transport) as (source, _), pytest.raises(ValueError):
        source.send({"text": "x" * (1 << 20)})


def test_connections_are_named(encryption: bool) -> None:
    with sessions(encryption=encryption, connections=3) as (source, destination):
        word = "TLS" if encryption else "plain"
        assert source.connections == destination.connections
        assert len(source.connections) == 4
        assert source.connections[0].startswith("127.0.0.1 -> 127.0.0.1:")
        assert source.connections[3].startswith("127.0.0.1 <- 127.0.0.1:")
        assert all(name.endswith(f" ({word})") for name in source.connections)
        assert source.version == destination.version == 1


def test_streams_are_announced_in_the_order_of_their_opening(transport: Transport | None) -> None:
    with sessions(transport=transport, connections=4) as (source, destination):
        kinds = [f"kind{letter}" for letter in "abcdefghijklmnopqrst"]
        for kind in kinds:
            source.open(kind)
        streams = Streams(destination)
        streams.wait(len(kinds))
        assert [kind for kind, _ in streams.all] == kinds


def test_either_side_opens(transport: Transport | None) -> None:
    with sessions(transport=transport) as (source, destination):
        here, there = Streams(source), Streams(destination)
        mine, theirs = source.open("rpc"), destination.open("file")
        mine.send(b"from the source")
        theirs.send(b"from the destination")
        assert there.wait(1)[0].recv() == b"from the source"
        assert here.wait(1)[0].recv() == b"from the destination"


def test_a_handler_that_fails_resets_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    with sessions() as (source, destination):

        def fail(kind: str, stream: object) -> None:
            raise OSError("QEMU is not there")

        destination.on_open(fail)
        stream, heard = source.open("memory"), Heard()
        stream.on_reset(heard)
        assert heard.wait() == ["QEMU is not there"]
        assert "could not be taken" in caplog.text


def test_too_many_streams_are_refused_here(transport: Transport | None) -> None:
    with sessions(transport=transport) as (source, _):
        for _ in range(64):
            source.open("memory")
        with pytest.raises(InternalError):
            source.open("memory")


def test_bytes_are_counted_alike_on_both_sides(transport: Transport | None) -> None:
    with sessions(transport=transport) as (source, destination):
        streams = Streams(destination)
        stream = source.open("file")
        stream.send(os.urandom(1_000_000))
        stream.send_fin()
        there = streams.wait(1)[0]
        while there.recv():
            pass
        assert stream.wait_acknowledged(LIMIT)
        assert 1_000_000 < source.sent == destination.received < 1_010_000


# --- how a session ends -------------------------------------------------------------------------------------------


def test_a_close_is_heard_after_all_messages(transport: Transport | None) -> None:
    with sessions(transport=transport) as (source, destination):
        heard = Heard()
        destination.on_message(heard)
        source.send({"do": "bye"})
        source.close(linger=LIMIT)
        destination.on_broken(heard)
        assert heard.wait(2) == [{"do": "bye"}, "the peer closed the session"]
        assert destination.peer_closed


def test_close_waits_until_all_has_arrived(transport: Transport | None) -> None:
    with sessions(transport=transport) as (source, destination):
        streams, got = Streams(destination), bytearray()
        stream = source.open("file")
        data = os.urandom(5_000_000)

        def receive() -> None:
            there = streams.wait(1)[0]
            while part := there.recv():
                got.extend(part)

        receiver = threading.Thread(target=receive)
        receiver.start()
        stream.send(data)
        stream.send_fin()
        source.close(linger=LIMIT)
        receiver.join(LIMIT)
        assert got == data


def test_an_ordinary_end_warns_of_nothing(encryption: bool, caplog: pytest.LogCaptureFixture) -> None:
    for first in (0, 1):
        with sessions(encryption=encryption) as both:
            heard = Heard()
            both[1 - first].on_broken(heard)
            both[first].close(LIMIT)
            assert heard.wait(1) == ["the peer closed the session"]
            both[1 - first].close()  # its threads have ended, so all that they log is there
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []


def test_a_session_closed_here_is_not_broken(transport: Transport | None) -> None:
    with sessions(transport=transport) as (source, _):
        heard = Heard()
        source.on_broken(heard)
        source.close()
        assert heard.all == []
        with pytest.raises(ConnectionAbortedError):
            source.open("memory")
        with pytest.raises(ConnectionAbortedError):
            source.send({})


def test_an_abort_tells_why(transport: Transport | None) -> None:
    with sessions(transport=transport) as (source, destination):
        heard = Heard()
        destination.on_broken(heard)
        source.abort("the disk is full")
        assert heard.wait() == ["the disk is full"]


def test_a_broken_session_wakes_everybody_at_once(transport: Transport | None) -> None:
    with sessions(transport=transport) as (source, destination):
        heard = Heard()
        source.on_broken(heard)
        streams = Streams(destination)
        full, empty = source.open("memory"), source.open("rpc")
        streams.wait(2)
        failures = Heard()

        def sends() -> None:
            try:
                while True:
                    full.send(bytes(1 << 20))
            except ConnectionAbortedError as error:
                failures(error)

        def receives() -> None:
            try:
                empty.recv()
            except ConnectionAbortedError as error:
                failures(error)

        def waits() -> None:
            try:
                full.wait_acknowledged(LIMIT)
            except ConnectionAbortedError as error:
                failures(error)

        for what in (sends, receives):
            threading.Thread(target=what).start()
        while full.unacked.offset < 1 << 20:
            threading.Event().wait(0.001)
        threading.Thread(target=waits).start()
        destination.abort("the host burns")
        assert len(failures.wait(3)) == 3
        assert heard.wait() == ["the host burns"]
        with pytest.raises(ConnectionAbortedError):
            full.send(b"more")


def test_the_end_is_told_to_who_asks_later(transport: Transport | None) -> None:
    with sessions(transport=transport) as (source, destination):
        source.abort("enough")
        stream_heard, session_heard = Heard(), Heard()
        destination.on_broken(session_heard)
        session_heard.wait()
        with pytest.raises(ConnectionAbortedError):
            destination.open("memory")
        again = Heard()
        destination.on_broken(again)
        assert stream_heard.all == []


def test_why_a_session_was_ended_stays_known_if_the_peer_hangs_up_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer heard the reason and hung up before this end had ended, which then took that for the reason."""
    with sessions(transport=Wire()) as (source, destination):
        hung_up = Heard()
        source.on_broken(hung_up)

        def tell_and_wait(sender: Sender, data: bytes) -> None:
            broadcast(sender, data)
            hung_up.wait()
            assert destination._over.wait(LIMIT)

        def refuse(_message: object) -> None:
            raise frames.broken("that is no message")

        monkeypatch.setattr("vmferry.transfer.session.session.broadcast", tell_and_wait)
        heard = Heard()
        destination.on_broken(heard)
        destination.on_message(refuse)
        source.send({"do": "x"})
        assert "that is no message" in str(heard.wait()[0])


# --- who gets in ----------------------------------------------------------------------------------------------------


def test_another_key_is_refused() -> None:
    with listening() as listener:
        with pytest.raises(AccessError) as caught:
            Session.dial(Route(*listener.addresses[0]), credentials("source", key=jobkey.new()))
        assert caught.value.code.name == "job-key-wrong"
        with pytest.raises(TimeoutError):
            listener.accept(0.0)


def test_another_job_is_refused() -> None:
    with listening() as listener:
        with pytest.raises(AccessError) as caught:
            Session.dial(Route(*listener.addresses[0]), credentials("source", job="job-2"))
        assert caught.value.code.name == "job-key-wrong"
        with pytest.raises(TimeoutError, match="job-2"):
            listener.accept(0.2)


@pytest.mark.parametrize("side", ["own", "peer"])
def test_another_certificate_is_refused(side: str) -> None:
    wrong = credentials("source", own="stranger") if side == "own" else credentials("source", peer="stranger")
    with listening() as listener:
        with pytest.raises(AccessError) as caught:
            Session.dial(Route(*listener.addresses[0]), wrong)
        assert caught.value.code.name == "worker-certificate-wrong"
        with pytest.raises(TimeoutError):
            listener.accept(0.0)


@pytest.mark.parametrize("source", [True, False])
def test_encryption_goes_off_only_if_both_say_so(source: bool) -> None:
    with listening(credentials("destination", encryption=not source)) as listener:
        with pytest.raises(InternalError, match="encryption"):
            Session.dial(Route(*listener.addresses[0]), credentials("source", encryption=source))
        with pytest.raises(TimeoutError, match="encryption"):
            listener.accept(0.2)


def test_who_says_nothing_does_not_keep_others_out() -> None:
    with listening() as listener:
        silent = [socket.create_connection(listener.addresses[0]) for _ in range(8)]
        dialled = Session.dial(Route(*listener.addresses[0]), credentials("source"))
        listener.accept(LIMIT).close()
        dialled.close()
        for sock in silent:
            sock.close()


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n\r\n", b"VMFY\0\1\xff\xff\xff\xff", os.urandom(5000), b""])
def test_junk_is_refused(junk: bytes, encryption: bool) -> None:
    with listening(credentials("destination", encryption=encryption)) as listener:
        with socket.create_connection(listener.addresses[0], timeout=LIMIT) as sock, suppress(OSError):
            # It may hang up before it has all.
            sock.sendall(junk)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
        dialled = Session.dial(Route(*listener.addresses[0]), credentials("source", encryption=encryption))
        listener.accept(LIMIT).close()
        dialled.close()


def test_a_listener_takes_one_port_for_all_addresses() -> None:
    with socket.create_server((HERE, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InternalError) as caught:
            SessionListener([Local(HERE)], (port, port), credentials("destination"))
        assert caught.value.code.name == "ports-taken"
    listener = SessionListener([Local(one) for one in (HERE, "127.0.0.2", "::1")], (0, 0), credentials("destination"))
    assert len({port for _, port in listener.addresses}) == 1
    assert [host for host, _ in listener.addresses] == [HERE, "127.0.0.2", "::1"]
    dialled = Session.dial(Route(*listener.addresses[2]), credentials("source"))
    assert dialled.connections[0].startswith("::1 -> [::1]:")
    dialled.close()
    listener.close()


def test_a_closed_listener_says_so() -> None:
    with listening() as listener:
        listener.close()
        with pytest.raises(ConnectionAbortedError):
            listener.accept(LIMIT)


def test_a_silent_peer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENT", 0.3)
    monkeypatch.setattr(module, "_LOOK", 0.05)
    with sessions() as (source, _):  # pings are 2 s apart
        heard = Heard()
        source.on_broken(heard)
        assert "was lost" in str(heard.wait()[0])


def test_pings_keep_a_session_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENT", 0.5)
    monkeypatch.setattr(module, "_IDLE", 0.1)
    monkeypatch.setattr(module, "_LOOK", 0.05)
    with sessions() as (source, destination):
        assert not source._over.wait(1.0)
        assert not destination._over.is_set()
