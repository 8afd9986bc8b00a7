"""A codec in a session: what it saves, who uses it, and what a peer cannot make of it."""

import os
import secrets
import threading
import time
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.transfer.codecs import Zlib, knows
from tests.transfer.double import Wire
from tests.transfer.wire import HERE, LIMIT, Heard, Streams, credentials, sessions

from vmferry.core.errors import InternalError, VmferryError
from vmferry.core.policy.networks import Route
from vmferry.transfer.session.demux import Demux
from vmferry.transfer.session.options import SessionOptions
from vmferry.transfer.session.stream import Stream
from vmferry.transfer.transport import codec, frames, hello
from vmferry.transfer.transport.base import Transport
from vmferry.transfer.transport.buffers import Buffer
from vmferry.transfer.transport.dialer import Dialer
from vmferry.transfer.transport.frames import HEADER, INITIAL_CREDIT, Type

pytestmark = pytest.mark.usefixtures("nothing_left")

_MIB = 1 << 20
_TEXT = b"the same again and again. " * 4000


def test_both_ways_arrive_and_less_crosses(transport: Transport | None) -> None:
    both = SessionOptions(knows(Zlib()))
    with sessions(transport=transport, options=(both, both)) as (source, destination):
        streams = Streams(destination)
        near = source.open("memory", "zlib")
        far = streams.wait(1)[0]
        assert far.codec.name == "zlib"
        noise = os.urandom(_MIB)
        want = [_TEXT * 20 + noise, noise + _TEXT * 30]
        got = [b"", b""]
        near.send(b"first")  # its acknowledgement says that the stream is known there
        assert far.recv() == b"first"
        assert near.wait_acknowledged(LIMIT)

        def send(stream: Stream, data: bytes) -> None:
            stream.send(data)
            stream.send_fin()

        def receive(number: int, stream: Stream) -> None:
            while part := stream.recv():
                got[number] += part

        threads = [threading.Thread(target=send, args=one) for one in ((near, want[0]), (far, want[1]))]
        threads += [threading.Thread(target=receive, args=one) for one in ((0, far), (1, near))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert got == want
        assert near.wait_acknowledged(LIMIT)
        assert near.sent == near.acknowledged() == len(want[0]) + 5
        for sent in (source.sent, destination.sent):
            assert _MIB < sent < _MIB + len(_TEXT)  # the noise as it is, and hardly anything of the text


def _wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def test_more_than_the_credit_may_be_kept_in_little(transport: Transport | None) -> None:
    """Credit is bytes that the receiver holds, decoded; the window is bytes on the way."""
    both = SessionOptions(knows(Zlib()))
    with sessions(transport=transport, options=(both, both)) as (source, destination):
        streams = Streams(destination)
        near = source.open("memory", "zlib")
        streams.wait(1)
        near.send(b"x")
        _wait(lambda: near.unacked.announced)  # nothing is encoded before
        stopped = Heard()

        def send() -> None:
            try:
                while True:
                    near.send(bytes(_MIB))
            except OSError as error:
                stopped(error)

        thread = threading.Thread(target=send)
        thread.start()
        _wait(lambda: INITIAL_CREDIT < near.unacked.credit < near.unacked.offset + (1 << 18))
        assert near.unacked.offset <= near.unacked.credit
        assert near.unacked.inflight < _MIB
        source.close()
        stopped.wait()
        thread.join(LIMIT)


@pytest.mark.parametrize(
    ("ours", "theirs"), [((Zlib(),), ()), ((), (Zlib(),)), ((), ())], ids=["source", "destination", "neither"]
)
def test_only_what_both_know_is_used(ours: tuple[Zlib, ...], theirs: tuple[Zlib, ...]) -> None:
    wire = Wire()
    with sessions(transport=wire, options=(SessionOptions(knows(*ours)), SessionOptions(knows(*theirs)))) as (
        source,
        destination,
    ):
        streams = Streams(destination)
        near = source.open("memory", "zlib")
        far = streams.wait(1)[0]
        assert (near.codec, far.codec) == (codec.IDENTITY, codec.IDENTITY)
        near.send(_TEXT)
        assert far.recv() == _TEXT
        assert near.wait_acknowledged(LIMIT)
        assert source.features == destination.features == tuple(sorted(hello.FEATURES))


# --- a release without codecs --------------------------------------------------------------------------------------

# Recorded before streams had parameters.
_HELLO = (
    b'VMFY\x00\x01\x00\x00\x01\x03{"versions":[1],"features":["control-mac","finished"],"job":"job-1","session":"'
    + b"0" * 32
    + b'","direction":"forward","index":0,"forward":2,"back":1,"encrypted":false,"nonce":"'
    + b"1" * 64
    + b'"}'
)
_ANSWER = b'VMFY\x00\x01\x00\x00\x00~{"version":1,"features":["control-mac","finished"],"nonce":"' + b"2" * 64 + b'"}'
_WELCOME = b'VMFY\x00\x01\x00\x00\x00\x10{"welcome":true}'
_OPEN = bytes.fromhex("0000000101000000000000000000000000000006") + b"\0\0\0\0memory"
_DATA = bytes.fromhex("0000000302010000000000000000000700000003") + b"\0\0\0\0abc"


class _Recorded:
    """A connection that keeps what is sent, and on which nothing comes."""

    encrypted = False
    interface = None
    local = peer = (HERE, 1)

    def __init__(self) -> None:
        self.sent = b""

    def secure(self, seconds: float) -> None: ...

    def start(self) -> None: ...

    def cut(self) -> None: ...

    def close(self) -> None: ...

    def explain(self, error: OSError) -> Exception:
        return error

    def send(self, data: bytes | memoryview) -> None:
        self.sent += data

    def fill(self, view: memoryview) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def hung_up(self) -> bool:
        return False


def _kept(send: Callable[[bytes | memoryview], None], sent: list[bytes]) -> Callable[[bytes | memoryview], None]:
    def both(data: bytes | memoryview) -> None:
        sent.append(bytes(data))
        send(data)

    return both


def test_an_older_peer_gets_the_bytes_that_it_always_got(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _Recorded()
    monkeypatch.setattr(secrets, "token_hex", lambda size: ("0", "1")[size > 16] * 2 * size)
    wire = Wire()
    monkeypatch.setattr(wire, "dial", lambda _route, _seconds: made)
    dialer = Dialer(wire, Route(HERE, 1), credentials("source", encryption=False), SessionOptions().features)
    with pytest.raises(ConnectionResetError):
        dialer.dial(2, 1)
    assert made.sent == _HELLO
    said = hello.read(hello.Hello, _HELLO[hello.HEAD :])
    assert hello.pack(hello.choose(said, "2" * 64, "kvm1", features=SessionOptions(knows(Zlib())).features)) == _ANSWER
    assert hello.pack(hello.Welcome()) == _WELCOME
    assert frames.pack(1, Type.OPEN, 0, frames.opening("memory", {})) == _OPEN
    assert frames.pack(3, Type.DATA, 7, b"abc", 1) == _DATA


def test_a_session_with_an_older_peer_sends_the_frames_that_it_always_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    with sessions(transport=wire, options=(SessionOptions(knows(Zlib())), SessionOptions())) as (source, _):
        sent: list[bytes] = []
        for carrier in source._demux.sender.carriers():
            monkeypatch.setattr(carrier, "send", _kept(carrier.send, sent))
        stream = source.open("memory", "zlib")
        assert stream.wait_acknowledged(LIMIT)
        stream.send(_TEXT)
        opened, data = [frame for frame in sent if frame[:4] == b"\0\0\0\1"][:2]
        assert opened == _OPEN
        assert data == HEADER.pack(1, Type.DATA, data[5], 0, 0, len(_TEXT), 0) + _TEXT


# --- a peer that keeps to no rule ----------------------------------------------------------------------------------


class _Attacked:
    """A destination's streams, and frames that come to them."""

    def __init__(self) -> None:
        self.codec = Zlib()
        self.opened: list[Stream] = []
        self.demux = Demux(
            source=False,
            on_broken=lambda _reason: None,
            on_opened=self.opened.append,
            codecs=codec.common(knows(self.codec), ["codec-zlib"]),
        )
        self.rules = frames.rules(["codec-zlib"])

    def take(self, frame: bytes) -> None:
        stream, kind, flags, offset, length, raw = frames.parse(frame, self.rules)
        buffer = Buffer(max(len(frame), HEADER.size + length))
        buffer.view[: len(frame)] = frame
        self.demux.handle(stream, kind, flags, offset, length, raw, buffer)


def _opening(payload: bytes = b"memory codec=zlib") -> bytes:
    return frames.pack(1, Type.OPEN, 0, payload)


def _encoded(payload: bytes, raw: int, offset: int = 0) -> bytes:
    return HEADER.pack(1, Type.DATA, 0, 0, offset, len(payload), raw) + payload


_BOMB = zlib.compress(bytes(_MIB * 64), 9)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ([_opening(), _encoded(_BOMB, _MIB * 64)], "claims to decode"),
        ([_opening(), _encoded(_BOMB, 0xFFFFFFFF)], "claims to decode"),
        ([_opening(), _encoded(b"x" * 10, 10)], "claims to decode"),
        ([_opening(), _encoded(b"x" * 10, 9)], "claims to decode"),
        ([_opening(), _encoded(zlib.compress(bytes(_MIB)), _MIB, 1)], "beyond the credit"),
        ([_opening(), frames.pack(1, Type.FIN, 999), _encoded(zlib.compress(bytes(1000)), 1000)], "beyond the credit"),
        ([_opening(b"memory"), _encoded(zlib.compress(bytes(1000)), 1000)], "has no codec"),
        ([_encoded(zlib.compress(bytes(1000)), 1000)], "has no codec"),
        ([_opening(b"memory codec=zstd")], "not agreed on"),
        ([_opening(b"memory codec=")], "not agreed on"),
        ([_opening(), _opening(b"memory")], "opened twice"),
        ([_opening(b" codec=zlib")], "without a kind"),
        ([_opening(b"memory " + b"x" * 200)], "payload of"),
        ([HEADER.pack(1, Type.FIN, 0, 0, 0, 0, 5)], "unknown flags"),
        ([HEADER.pack(1, Type.OPEN, 0, 0, 0, 6, 50) + b"memory"], "unknown flags"),
    ],
)
def test_what_is_too_much_is_refused_before_it_is_decoded(attack: list[bytes], said: str) -> None:
    attacked = _Attacked()
    for frame in attack[:-1]:
        attacked.take(frame)
    with pytest.raises(InternalError, match=said):
        attacked.take(attack[-1])
    assert attacked.codec.decoded == 0


@pytest.mark.parametrize(
    "payload", [_BOMB[:5000], b"no zlib at all", zlib.compress(bytes(999)), zlib.compress(bytes(1001))[:-1], b"\0" * 20]
)
def test_what_does_not_decode_to_what_it_says_is_refused(payload: bytes) -> None:
    attacked = _Attacked()
    attacked.take(_opening())
    with pytest.raises(InternalError, match="decode"):
        attacked.take(_encoded(payload, 100_000 if len(payload) > 1000 else 1000))


def test_what_has_come_already_is_not_decoded_again() -> None:
    attacked = _Attacked()
    attacked.take(_opening(b"memory codec=zlib later=thing"))  # what a newer release adds
    frame = _encoded(zlib.compress(_TEXT), len(_TEXT))
    for _ in range(3):
        attacked.take(frame)
    assert attacked.codec.decoded == 1
    assert attacked.opened[0].recv() == _TEXT
    attacked.take(frame)
    assert attacked.codec.decoded == 1


@given(st.binary(max_size=200), st.integers(0, 2 * _MIB), st.integers(0, 2 * _MIB))
def test_any_encoded_frame_is_taken_or_refused(payload: bytes, raw: int, offset: int) -> None:
    attacked = _Attacked()
    attacked.take(_opening())
    try:
        attacked.take(_encoded(payload, raw, offset))
    except VmferryError:
        pass


def test_a_stream_whose_open_has_not_come_is_not_acknowledged() -> None:
    """A connection was lost and everything said again, this too: the peer sent the OPEN no more, which was lost."""
    attacked = _Attacked()
    attacked.take(frames.pack(1, Type.DATA, 0, b"early"))
    attacked.demux._repeat_acks()
    assert [stream.id for stream in attacked.demux.acker._due] == [frames.CONTROL]
