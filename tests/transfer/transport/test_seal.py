"""Control messages of a session in the clear: nobody on the path says anything in a worker's place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.transfer.wire import LIMIT, Heard, credentials, dialer, listening

from vmferry.core.errors import PreflightError, VmferryError
from vmferry.core.policy.networks import Route
from vmferry.transfer.session.session import Session
from vmferry.transfer.transport import frames, hello, seal
from vmferry.transfer.transport.frames import Type
from vmferry.transfer.transport.handshake import Established
from vmferry.transfer.transport.seal import Seal, key

pytestmark = pytest.mark.usefixtures("nothing_left")

GO = b'{"do": "go"}'
ABORT = b'{"do": "abort"}'


@given(st.binary(), st.binary())
def test_only_the_next_message_of_the_peer_is_good(first: bytes, second: bytes) -> None:
    made = key(credentials("source"), "0" * 32)

    def ends() -> tuple[Seal, Seal]:
        return Seal(made, source=True), Seal(made, source=False)

    source, destination = ends()
    tags = [source.tag(first), source.tag(second)]
    assert [destination.check(first, tags[0]), destination.check(second, tags[1])] == [True, True]
    for attempt in (
        [(first, tags[0]), (first, tags[0])],  # replayed
        [(second, tags[1])],  # another one left out
        [(first + b"x", tags[0])],  # changed
        [(first, b"")],
        [(first, bytes(seal.SIZE))],
    ):
        _, heard = ends()
        assert not [heard.check(*said) for said in attempt][-1]
    reflected, _ = ends()
    assert not reflected.check(first, tags[0])
    other = Seal(key(credentials("source"), "1" * 32), source=False)
    assert not other.check(first, tags[0])  # of another session
    other = Seal(key(replace(credentials("source"), job="job-2"), "0" * 32), source=False)
    assert not other.check(first, tags[0])  # of another job


class Path:
    """Somebody on the path, who sees all and sends what they like on the source's connections."""

    def __init__(self, made: list[Established]) -> None:
        self._made = made
        self._source = Seal(made[0].control_key, source=True)
        self._offset = 0

    def source_says(self, body: bytes) -> bytes:
        """Have the source say something; gives what the path sees."""
        seen = len(body).to_bytes(4, "big") + body + self._source.tag(body)
        self.send(seen)
        return seen

    def send(self, seen: bytes) -> None:
        self._made[0].carrier.send(frames.pack(0, Type.DATA, self._offset, seen))
        self._offset += len(seen)


@contextmanager
def on_the_path() -> Iterator[tuple[Path, Session, Heard, Heard]]:
    with listening(credentials("destination", encryption=False)) as listener:
        made = dialer(Route(*listener.addresses[0]), credentials("source", encryption=False)).dial(2, 1)
        session = listener.accept(LIMIT)
        heard, broken = Heard(), Heard()
        session.on_message(heard)
        session.on_broken(broken)
        try:
            yield Path(made), session, heard, broken
        finally:
            for one in made:
                one.carrier.cut()
                one.carrier.close()
            session.close()


def test_a_message_of_somebody_on_the_path_ends_the_session_and_is_not_heard() -> None:
    forgeries: list[Callable[[bytes], bytes]] = [
        lambda _: len(GO).to_bytes(4, "big") + GO + bytes(seal.SIZE),  # made up
        lambda said: said,  # sent again
        lambda said: said.replace(b'"copy"', b'"go!!"'),  # changed
    ]
    for forge in forgeries:
        with on_the_path() as (path, _, heard, broken):
            said = path.source_says(b'{"do": "copy"}')
            assert heard.wait(1) == [{"do": "copy"}]
            path.send(forge(said))
            assert "not the peer's" in str(broken.wait()[0])
            assert heard.all == [{"do": "copy"}]


def test_the_other_ends_own_words_are_not_taken_back() -> None:
    with on_the_path() as (path, session, heard, broken):
        session.send({"do": "go"})
        body = b'{"do": "go"}'
        tag = Seal(path._made[0].control_key, source=False).tag(body)
        path.send(len(body).to_bytes(4, "big") + body + tag)
        assert "not the peer's" in str(broken.wait()[0])
        assert heard.all == []


@pytest.mark.parametrize("old", ["source", "destination"])
def test_a_release_without_seals_is_refused_in_the_clear_alone(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = hello.choose
    for encryption in (True, False):
        with listening(credentials("destination", encryption=encryption)) as listener:
            if old == "destination":
                monkeypatch.setattr(
                    hello, "choose", lambda said, nonce, peer, features: choose(said, nonce, peer, features=())
                )
            route, mine = Route(*listener.addresses[0]), credentials("source", encryption=encryption)
            source = dialer(route, mine, () if old == "source" else hello.FEATURES)
            if encryption:
                made = source.dial(1, 1)
                session = listener.accept(LIMIT)
                assert session.features == ()
                for one in made:
                    one.carrier.close()
                session.close()
                continue
            with pytest.raises(VmferryError) as refused:
                source.dial(1, 1)
            assert isinstance(refused.value, PreflightError)
            assert refused.value.code.name == "release-older"
