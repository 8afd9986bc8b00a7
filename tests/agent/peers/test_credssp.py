"""CredSSP sign-ins under way: which belong to whom, for how long, and how many."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.agent.peers.test_incoming_signin import ANN, BOUND, World, refused, ticket, vm

from vmferry.agent.peers.credssp import AT_ONCE, LASTS, CredSspSignIns
from vmferry.core import codes
from vmferry.core.messages.signin import CredSspAnswer, CredSspMessage, SignIn
from vmferry.core.policy.settings import Authentication, HostSettings
from vmferry.identity import certificates
from vmferry.identity.credssp import STEPS
from vmferry.store.peers import Peer, PeerKind


class Acceptor:
    """Stands in for the protocol: three messages, the last of which is `end`."""

    logon = ticket().logon

    def __init__(self, *asked: Any) -> None:
        self.complete = False

    def step(self, token: bytes) -> bytes | None:
        self.complete = token == b"end"
        return None if self.complete else b"go on"

    def user(self) -> Any:
        return ANN, self.logon


class Door:
    """A destination that uses CredSSP."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.settings.save(HostSettings(operators=[ANN], authentication=Authentication.CREDSSP))
        self.credssp = CredSspSignIns(world.sign_ins, acceptor=Acceptor, clock=lambda: world.now)  # type: ignore[arg-type]

    def begin(self, **changes: Any) -> CredSspAnswer:
        asked = self.world.request(authentication=Authentication.CREDSSP, tokens={}, **changes)
        return self.say(b"begin", begin=asked)

    def say(
        self,
        word: bytes,
        session: str = "",
        begin: SignIn | None = None,
        address: str = "10.0.0.1",
        bound: bytes = BOUND,
    ) -> CredSspAnswer:
        step = CredSspMessage(session=session, begin=begin, token=base64.b64encode(word).decode())
        return self.credssp.step(step, address, bound)

    def enter(self) -> CredSspAnswer:
        return self.say(b"end", self.begin().session)


@pytest.fixture
def door(tmp_path: Path) -> Any:
    world = World(tmp_path)
    yield Door(world)
    world.database.close()


def test_who_says_all_of_it_is_let_in(door: Door) -> None:
    first = door.begin()
    assert (base64.b64decode(first.token), first.done) == (b"go on", None)
    answer = door.say(b"end", first.session)
    assert answer.done is not None
    assert answer.done.caller == ANN
    peer = door.world.peers.get("kvm1")
    assert peer is not None
    door.world.sign_ins.require(peer, vm(storage=True), answer.done.secret)
    refused(codes.BAD_REQUEST, lambda: door.say(b"end", first.session))


def test_a_session_is_one_connections(door: Door) -> None:
    session = door.begin().session
    refused(codes.BAD_REQUEST, lambda: door.say(b"end", session, address="10.0.0.9"))
    session = door.begin().session
    refused(codes.BAD_REQUEST, lambda: door.say(b"end", session, bound=b"other"))
    refused(codes.BAD_REQUEST, lambda: door.say(b"end", "0" * 32))


def test_a_session_ends(door: Door) -> None:
    session = door.begin().session
    door.world.now = LASTS + 1
    refused(codes.BAD_REQUEST, lambda: door.say(b"end", session))
    session = door.begin().session
    for _ in range(STEPS - 2):
        door.say(b"more", session)
    refused(codes.BAD_REQUEST, lambda: door.say(b"more", session))


def test_only_some_at_once(door: Door) -> None:
    for _ in range(AT_ONCE):
        door.begin()
    refused(codes.BAD_REQUEST, door.begin)
    door.world.now = LASTS + 1
    door.begin()


def test_where_it_is_not_wanted(door: Door) -> None:
    door.world.settings.save(HostSettings(operators=[ANN], authentication=Authentication.KERBEROS))
    refused(codes.AUTHENTICATION_DIFFERS, door.begin)
    door.world.settings.save(HostSettings(operators=[ANN], authentication=Authentication.CREDSSP))
    refused(codes.AUTHENTICATION_DIFFERS, door.world.enter)
    config = door.world.config.model_copy(update={"forbid_credssp": True})
    door.credssp = replace(door.credssp, sign_ins=replace(door.world.sign_ins, config=config))
    refused(codes.CREDSSP_FORBIDDEN, door.begin)


def test_a_password_takes_no_hosts_name_away(door: Door) -> None:
    """The domain vouches for the user, not for the host that brings her password."""
    door.world.peers.meet(Peer("kvm1", "x", 1, "PEM", "another", (), 0.0, "the domain", PeerKind.DOMAIN))
    refused(codes.PEER_NAME_TAKEN, door.enter)
    door.world.peers.remove("kvm1")
    door.enter()
    door.enter()
    peer = door.world.peers.get("kvm1")
    assert peer is not None
    assert peer.fingerprint == certificates.fingerprint(door.world.certificate)
