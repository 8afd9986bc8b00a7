"""A source that has the job key and keeps to no rule."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.transfer.wire import LIMIT, Heard, Streams, credentials, dialer, listening

from vmferry.core.policy.networks import Route
from vmferry.transfer.session.session import Session
from vmferry.transfer.transport import frames
from vmferry.transfer.transport.frames import CREDIT, HEADER, Type
from vmferry.transfer.transport.seal import Seal

pytestmark = pytest.mark.usefixtures("nothing_left")

_MOST = (1 << 32) - 1


class Hostile:
    """The source's end of a session, as bare connections."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._made = dialer(Route(*address), credentials("source", encryption=False)).dial(2, 1)

    def sealed(self, raw: bytes) -> bytes:
        """Give a control message, the first and only one, as a peer with the job key sends it."""
        tag = Seal(self._made[0].control_key, source=True).tag(raw)
        return data(0, 0, len(raw).to_bytes(4, "big") + raw + tag)

    def send(self, data: bytes, connection: int = 0) -> None:
        self._made[connection].carrier.send(data)

    def close(self) -> None:
        for one in self._made:
            one.carrier.cut()
            one.carrier.close()


@contextmanager
def attacked() -> Iterator[tuple[Hostile, Session]]:
    with listening(credentials("destination", encryption=False)) as listener:
        hostile = Hostile(listener.addresses[0])
        session = listener.accept(LIMIT)
        try:
            yield hostile, session
        finally:
            hostile.close()
            session.close()


def data(stream: int, offset: int, payload: bytes) -> bytes:
    return frames.pack(stream, Type.DATA, offset, payload)


def opening(stream: int, kind: bytes = b"memory") -> bytes:
    return frames.pack(stream, Type.OPEN, 0, kind)


def acknowledging(stream: int, offset: int = 0, credit: int = 0, flags: int = 0) -> bytes:
    return frames.pack(stream, Type.ACK, offset, CREDIT.pack(credit), flags)


def message(raw: bytes) -> Callable[[Hostile], bytes]:
    return lambda hostile: hostile.sealed(raw)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (bytes(24), "no frame of type 0"),
        (b"\xff" * 24, "no frame of type 255"),
        (HEADER.pack(1, Type.DATA, 0, 0, 0, (1 << 20) + 1, 0), "payload of 1048577 bytes"),
        (HEADER.pack(1, Type.DATA, 0, 0, 0, 0, 0), "payload of 0 bytes"),
        (data(2, 0, b"x"), "no stream 2"),
        (data(257, 0, b"x"), "no stream 257"),
        (acknowledging(2), "no stream 2"),
        (opening(2), "no stream 2"),
        (opening(0), "wrong side"),
        (opening(1) + opening(1, b"disk"), "opened twice"),
        (opening(1, b"RPC"), "without a kind"),
        (b"".join(opening(number) for number in range(1, 260, 2)), "too many streams"),
        (opening(1) + data(1, frames.INITIAL_CREDIT + (20 << 20), b"x"), "beyond the credit"),
        (opening(1) + data(1, 1 << 62, b"x"), "beyond the credit"),
        (opening(1) + b"".join(data(1, 2 * at, b"x") for at in range(1, 1030)), "too many frames"),
        (opening(1) + frames.pack(1, Type.FIN, 4) + data(1, 4, b"x"), "beyond the credit or the end"),
        (opening(1) + frames.pack(1, Type.FIN, 4) + frames.pack(1, Type.FIN, 5), "ends where it cannot"),
        (opening(1) + acknowledging(1, 1), "never sent"),
        (opening(1) + acknowledging(1, 0, 0, frames.ENDED), "never sent"),
        (acknowledging(0, 1 << 40), "never sent"),
        (acknowledging(0, 0, 0, frames.GONE), "control stream was given up"),
        (message(b"no JSON"), "no JSON"),
        (message(b"[1]"), "no JSON object"),
        (message(b"[" * 100_000), "no JSON"),
        (data(0, 0, b"\xff\xff\xff\xff"), "too long"),
        (data(0, 0, b"\0\0\0\x09abc") + frames.pack(0, Type.FIN, 7), "cut off"),
        (frames.pack(0, Type.RESET, 0, b"I give up"), "I give up"),
        (frames.pack(0, Type.RESET, 0, b"\x1b[2J\n"), "?[2J?"),
    ],
)
def test_a_broken_rule_ends_the_session(
    attack: bytes | Callable[[Hostile], bytes], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with attacked() as (hostile, session):
        heard = Heard()
        session.on_broken(heard)
        session.on_message(lambda _message: None)
        with suppress(OSError):  # it may be over before all is sent
            hostile.send(attack if isinstance(attack, bytes) else attack(hostile))
        assert said in str(heard.wait()[0])
    assert "could not be handled" not in caplog.text


def test_what_is_only_late_or_repeated_does_no_harm() -> None:
    with attacked() as (hostile, session):
        streams, heard = Streams(session), Heard()
        session.on_message(heard)
        hostile.send(data(3, 0, b"early"), 1)
        hostile.send(frames.pack(3, Type.FIN, 5), 1)
        hostile.send(data(3, 0, b"early") + opening(3) + opening(3) + opening(1))
        assert [stream.id for stream in streams.wait(2)] == [1, 3]
        assert streams.all[1][1].recv() == b"early"
        assert streams.all[1][1].recv() == b""
        hostile.send(frames.pack(1, Type.RESET, 0, b"never mind") * 2)
        hostile.send(data(1, 0, b"late") + frames.pack(1, Type.FIN, 4) + opening(1) + acknowledging(1))
        hostile.send(frames.pack(9, Type.RESET) + opening(9) + opening(7) + opening(5))
        streams.wait(4)
        assert [stream.id for _, stream in streams.all] == [1, 3, 5, 7]
        hostile.send(hostile.sealed(b'{"still": "here"}'))
        assert heard.wait() == [{"still": "here"}]


def test_who_never_acknowledges_makes_us_hold_little() -> None:
    with attacked() as (hostile, session):
        streams = Streams(session)
        hostile.send(opening(1) + acknowledging(1, 0, 1 << 61))
        stream = streams.wait(1)[0]
        stopped = Heard()

        def send() -> None:
            try:
                while True:
                    stream.send(bytes(1 << 20))
            except OSError as error:
                stopped(error)

        threading.Thread(target=send).start()
        assert not session._over.wait(0.3)
        assert stream.unacked.offset <= 3 << 20
        session.close()
        stopped.wait()


numbers = st.integers(0, 12) | st.integers(0, _MOST)
offsets = st.integers(0, 40) | st.integers(0, (1 << 64) - 1) | st.just(frames.INITIAL_CREDIT)


@st.composite
def frame(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from([*Type, Type.DATA, Type.OPEN]))
    payload = {
        Type.OPEN: st.sampled_from([b"memory", b"rpc", b"file", b"\xff", b"Memory"]),
        Type.DATA: st.binary(min_size=1, max_size=64),
        Type.ACK: st.binary(min_size=8, max_size=8) | st.integers(0, 1 << 63).map(CREDIT.pack),
        Type.RESET: st.binary(max_size=64),
    }.get(kind, st.just(b""))
    raw = frames.pack(draw(numbers), kind, draw(offsets), draw(payload), draw(st.integers(0, 3)))
    return draw(st.just(raw) | st.binary(max_size=60).map(raw.__add__))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(frame(), st.integers(0, 1)), max_size=30))
def test_anything_ends_or_goes_on(caplog: pytest.LogCaptureFixture, attack: list[tuple[bytes, int]]) -> None:
    """Whatever comes: no thread dies of it, nothing hangs, and whoever waits is told."""
    caplog.set_level(logging.ERROR)
    with attacked() as (hostile, session):
        ended = Heard()
        session.on_message(lambda _message: None)
        session.on_broken(ended)
        session.on_open(lambda _kind, stream: stream.send(b"hello"))
        with suppress(OSError):
            for raw, connection in attack:
                hostile.send(raw, connection)
        hostile.close()
        ended.wait()
    assert "could not be handled" not in caplog.text
