"""Ways into a destination, as the source chooses them."""

from pathlib import Path
from typing import Any

import pytest

from vmferry.agent.peers.outgoing_signin import OutgoingSignIn
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.ad.keytab import KeytabEntry as Account
from vmferry.core.errors import AccessError
from vmferry.core.messages.offer import Caller, MoveOptions
from vmferry.core.messages.signin import SignedIn
from vmferry.core.policy.settings import Authentication, HostSettings
from vmferry.identity import certificates
from vmferry.identity.signin import SignInHost
from vmferry.store.database import Database
from vmferry.store.peers import Peer, PeerKind, Peers
from vmferry.store.settings import Settings

THEIRS, _ = certificates.create("kvm2")


class World:
    """A source with keys, and a destination that lets everybody in."""

    def __init__(self, folder: Path) -> None:
        config = Config(name="kvm1", state_folder=folder)
        self.database = Database(config.database)
        self.peers, self.settings = Peers(self.database), Settings(self.database)
        self.there = True
        self.asked: list[Any] = []
        users = folder / "passwd"
        users.write_text("root:x:0:0::/root:/bin/sh\nbackup:x:34:34::/:/bin/sh\n")
        keys: Any = self
        self.entrance = OutgoingSignIn(config, "MINE", self.peers, self.settings, keys, self.sign_in, local_users=users)

    def serves(self, service: str) -> bool:
        return self.there

    def account(self) -> Account:
        return Account("KVM1$", "LAB.TEST", 2)

    def impersonate(self, principal: str) -> str:
        return f"for {principal}"

    def sign_in(self, config: Config, place: SignInHost, *asked: Any) -> tuple[SignedIn, str]:
        self.asked = [place, *asked]
        return SignedIn(name="kvm2", tokens={}, caller=asked[2], secret="5ec3e7"), THEIRS

    def enter(self, caller: Caller, credential: Any = None, *, storage: bool = False) -> Any:
        return self.entrance.enter("kvm2", MoveOptions(include_storage=storage), caller, credential)


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(tmp_path)
    yield made
    made.database.close()


def user(name: str, method: str = "unix") -> Caller:
    return Caller(name=name, host="kvm1", method=method)


def test_without_keys_hosts_take_each_others_word(world: World) -> None:
    world.there = False
    assert world.enter(user("root")) is None
    world.there = True
    world.settings.save(HostSettings(authentication=Authentication.CERTIFICATE))
    assert world.enter(user("root")) is None


def test_a_ticket_is_used_as_it_is(world: World) -> None:
    entry = world.enter(user("ann@LAB.TEST", "kerberos"), "hers", storage=True)
    assert world.asked == [SignInHost("kvm2", "kvm2", 6601), "MINE", "hers", "ann@LAB.TEST", ("migration", "storage")]
    assert entry.secret == "5ec3e7"
    assert entry.caller == user("ann@LAB.TEST", "kerberos")
    assert (entry.peer.kind, entry.peer.fingerprint) == (PeerKind.DOMAIN, certificates.fingerprint(THEIRS))
    assert world.peers.get("kvm2") == entry.peer


def test_a_known_host_is_sought_where_it_was(world: World) -> None:
    world.peers.add(Peer("kvm2", "10.0.0.2", 7000, THEIRS, certificates.fingerprint(THEIRS), ("*",), 0.0, "root"))
    assert world.enter(user("ann@LAB.TEST", "kerberos"), "hers").peer.kind is PeerKind.PAIRED
    assert world.asked[0] == SignInHost("kvm2", "10.0.0.2", 7000)
    assert world.asked[-1] == ("migration",)


@pytest.mark.parametrize(
    ("named", "principal"), [("ann@OTHER.TEST", "ann@OTHER.TEST"), ("operator", "operator@LAB.TEST")]
)
def test_a_user_of_this_host_is_who_the_settings_say(world: World, named: str, principal: str) -> None:
    world.settings.save(HostSettings(principals={"root": named}))
    world.enter(user("root"))
    assert world.asked[2:4] == [f"for {principal}", principal]


@pytest.mark.parametrize("caller", [user("root"), user("backup"), user("nobody-of-this-name"), user("ci", "token")])
def test_who_is_nobody_in_the_domain_is_told_both_ways_out(world: World, caller: Caller) -> None:
    with pytest.raises(AccessError) as caught:
        world.enter(caller)
    assert caught.value.code is codes.PRINCIPAL_MISSING
    assert "kinit" in caught.value.remedy
    assert "--principal" in caught.value.remedy
    assert world.asked == []


def test_a_user_who_is_not_in_this_hosts_file_comes_from_the_domain(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmferry.agent.peers.outgoing_signin.pwd.getpwnam", lambda name: name)
    for name, principal in (
        ("ann", "ann@LAB.TEST"),
        ("ann@lab.test", "ann@LAB.TEST"),
        ("ann@partner.test", "ann@PARTNER.TEST"),
    ):
        world.asked.clear()
        world.enter(user(name))
        assert world.asked[3] == principal
    with pytest.raises(AccessError) as caught:  # of a domain that nobody can tell from this
        world.enter(user("PARTNER\\ann"))
    assert caught.value.code is codes.PRINCIPAL_MISSING
    world.settings.save(HostSettings(principals={"PARTNER\\ann": "ann@PARTNER.TEST"}))
    world.asked.clear()
    world.enter(user("PARTNER\\ann"))
    assert world.asked[3] == "ann@PARTNER.TEST"
