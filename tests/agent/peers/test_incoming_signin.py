"""Sign-ins at a destination: what a ticket has to say, and what it is good for afterwards."""

import base64
from pathlib import Path
from typing import Any

import pytest
from tests.preflight.make import proposal

from vmferry.agent.peers.incoming_signin import LASTS, MOST, SignIns
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.ad.keytab import KeytabEntry
from vmferry.core.ad.pac import DelegationInfo, LogonInfo
from vmferry.core.errors import Code, VmferryError
from vmferry.core.job import Role, State
from vmferry.core.messages.offer import Caller, MoveOptions
from vmferry.core.messages.signin import SignIn
from vmferry.core.policy.restrictions import Restriction
from vmferry.core.policy.settings import Authentication, HostSettings
from vmferry.identity import certificates, kerberos
from vmferry.identity.kerberos import Accepted
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer, PeerKind, Peers
from vmferry.store.settings import Settings

ANN = "ann@LAB.TEST"
BOUND = b"tls-server-end-point:x"
GROUP = "S-1-5-21-1-2-3-1200"


def ticket(
    service: str = kerberos.MIGRATION, by: str = "KVM1$@LAB.TEST", principal: str = ANN, **logon: Any
) -> Accepted:
    said = {"name": "ann", "domain": "LAB", "sid": "S-1-5-21-1-2-3-1105", "groups": frozenset({GROUP})}
    known = LogonInfo(**{"protected": False, "sensitive": False} | said | logon)
    acted = DelegationInfo(f"{service}/kvm2".replace(" ", "\\ "), (by,))
    return Accepted(principal, known, acted, b"answer", None)


class Keys:
    """Stands in for the keytab: a token is the name of a ticket."""

    def __init__(self) -> None:
        self.tickets = {b"migration": ticket(), b"storage": ticket(kerberos.STORAGE)}
        self.there = True

    def serves(self, service: str) -> bool:
        return self.there

    def account(self) -> KeytabEntry:
        return KeytabEntry("KVM2$", "LAB.TEST", 1)

    def accept(self, token: bytes, bound: bytes) -> Accepted:
        assert bound == BOUND
        return self.tickets[token]


class World:
    """A destination that knows operator ann, and kvm1's certificate."""

    def __init__(self, folder: Path) -> None:
        self.config = Config(name="kvm2", state_folder=folder)
        self.database = Database(self.config.database)
        self.peers, self.settings = Peers(self.database), Settings(self.database)
        self.settings.save(HostSettings(operators=[ANN]))
        self.keys = Keys()
        self.now = 0.0
        keys: Any = self.keys
        self.jobs = Jobs(self.database)
        self.sign_ins = SignIns(self.config, self.peers, self.settings, keys, self.jobs, clock=lambda: self.now)
        self.certificate, key = certificates.create("kvm1")
        self.key = folder / "key"
        self.key.write_text(key)

    def request(self, *services: str, **changes: Any) -> SignIn:
        made = SignIn(
            authentication=Authentication.KERBEROS,
            name="kvm1",
            reach=":6601",
            certificate=self.certificate,
            proof=base64.b64encode(certificates.prove(self.key, BOUND)).decode(),
            tokens={one: base64.b64encode(one.encode()).decode() for one in services or ("migration",)},
        )
        return made.model_copy(update=changes)

    def enter(self, *services: str) -> tuple[Peer, str]:
        secret = self.sign_ins.take(self.request(*services), "10.0.0.1", BOUND).secret
        peer = self.peers.get("kvm1")
        assert peer is not None
        return peer, secret


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(tmp_path)
    yield made
    made.database.close()


def refused(code: Code, call: Any) -> VmferryError:
    with pytest.raises(VmferryError) as caught:
        call()
    assert caught.value.code is code, caught.value
    return caught.value


def vm(caller: str = ANN, *, storage: bool = False) -> Any:
    return proposal(caller=Caller(name=caller, host="kvm1", method="kerberos")).model_copy(
        update={"options": MoveOptions(include_storage=storage)}
    )


def test_a_host_is_known_by_its_certificate_from_then_on(world: World) -> None:
    answer = world.sign_ins.take(world.request(), "10.0.0.1", BOUND)
    assert (answer.name, answer.caller) == ("kvm2", ANN)
    assert base64.b64decode(answer.tokens["migration"]) == b"answer"
    peer = world.peers.by_fingerprint(certificates.fingerprint(world.certificate))
    assert peer is not None
    assert (peer.name, peer.address, peer.port, peer.kind, peer.callers) == (
        *("kvm1", "10.0.0.1", 6601),
        *(PeerKind.DOMAIN, ()),
    )


def test_it_is_good_for_that_user_from_that_host_for_a_while(world: World) -> None:
    peer, secret = world.enter()
    world.sign_ins.require(peer, vm(), secret)
    refused(codes.SIGN_IN_NEEDED, lambda: world.sign_ins.require(peer, vm(), ""))
    refused(codes.SIGN_IN_NEEDED, lambda: world.sign_ins.require(peer, vm(), "0" * 64))
    refused(codes.SIGN_IN_NEEDED, lambda: world.sign_ins.require(peer, vm("bob@LAB.TEST"), secret))
    other = Peer("kvm3", "x", 1, "PEM", "f3", ("*",), 0.0, "root")
    refused(codes.SIGN_IN_NEEDED, lambda: world.sign_ins.require(other, vm(), secret))
    world.now = LASTS + 1
    refused(codes.SIGN_IN_NEEDED, lambda: world.sign_ins.require(peer, vm(), secret))
    world.enter()
    assert secret not in world.sign_ins.passes


def test_without_a_job_it_is_heard_as_long_as_a_sign_in_lasts(world: World) -> None:
    peer, _ = world.enter()
    world.sign_ins.require_recent(peer)
    world.now = LASTS + 1
    refused(codes.SIGN_IN_NEEDED, lambda: world.sign_ins.require_recent(peer))
    world.jobs.create("0001", Role.DESTINATION, "web01", "kvm1", Caller(name=ANN, host="kvm1", method="x"), {})
    world.sign_ins.require_recent(peer)
    world.jobs.end("0001", State.FAILED, None, None)
    refused(codes.SIGN_IN_NEEDED, lambda: world.sign_ins.require_recent(peer))
    world.sign_ins.require_recent(Peer("kvm3", "x", 1, "PEM", "f3", ("*",), 0.0, "root"))


def test_a_host_has_no_more_than_some_sign_ins(world: World) -> None:
    first = world.enter()[1]
    peer, last = [world.enter() for _ in range(MOST)][-1]
    assert len(world.sign_ins.passes) == MOST
    refused(codes.SIGN_IN_NEEDED, lambda: world.sign_ins.require(peer, vm(), first))
    world.sign_ins.require(peer, vm(), last)


def test_storage_takes_a_ticket_of_its_own(world: World) -> None:
    peer, secret = world.enter("migration")
    error = refused(codes.SERVICE_NOT_PROVEN, lambda: world.sign_ins.require(peer, vm(storage=True), secret))
    assert "cifs/kvm2" in error.reason
    peer, secret = world.enter("migration", "storage")
    world.sign_ins.require(peer, vm(storage=True), secret)
    refused(codes.SIGN_IN_WRONG, lambda: world.enter("storage"))


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (ticket(kerberos.STORAGE), "cifs/kvm2"),
        (ticket("host"), "host/kvm2"),
        (ticket(by="KVM3$@LAB.TEST"), "KVM3$"),
        (ticket(by="kvm1@LAB.TEST"), "kvm1"),
        (ticket(by="KVM1$@PARTNER.TEST"), "KVM1$@PARTNER.TEST"),
        (Accepted(ANN, ticket().logon, None, b"", None), "the user's own"),
        (Accepted(ANN, ticket().logon, DelegationInfo("x", ()), b"", None), "the user's own"),
        (Accepted(ANN, None, ticket().delegation, b"", None), "Active Directory"),
    ],
)
def test_what_a_ticket_has_to_say(world: World, shown: Accepted, why: str) -> None:
    world.keys.tickets[b"migration"] = shown
    assert why in refused(codes.SIGN_IN_WRONG, world.enter).reason
    assert world.peers.all() == []


@pytest.mark.parametrize("mark", ["protected", "sensitive"])
def test_who_must_not_be_acted_for_is_refused(world: World, mark: str) -> None:
    marks: dict[str, Any] = {mark: True}
    world.keys.tickets[b"migration"] = ticket(**marks)
    refused(codes.USER_PROTECTED, world.enter)


def test_tickets_of_two_users_are_not_one_sign_in(world: World) -> None:
    world.keys.tickets[b"storage"] = ticket(kerberos.STORAGE, principal="bob@LAB.TEST")
    refused(codes.SIGN_IN_WRONG, lambda: world.enter("migration", "storage"))


def test_she_needs_a_role_here_by_name_or_by_group(world: World) -> None:
    world.settings.save(HostSettings(viewers=[ANN]))
    refused(codes.NOT_ALLOWED, world.enter)
    world.settings.save(HostSettings(operators=[f"@{GROUP}"]))
    world.enter()
    world.settings.save(HostSettings(operators=["@vmferry operators@LAB.TEST"]))
    refused(codes.NOT_ALLOWED, world.enter)
    world.settings.set("sids", {"@vmferry operators@LAB.TEST": f"@{GROUP}"})
    world.enter()


def test_a_local_user_of_that_name_is_somebody_else(world: World) -> None:
    world.settings.save(HostSettings(operators=["ann"], administrators=["root"]))
    refused(codes.NOT_ALLOWED, world.enter)
    world.keys.tickets[b"migration"] = ticket(principal="root@LAB.TEST")
    refused(codes.NOT_ALLOWED, world.enter)


def test_a_certificate_that_is_anothers(world: World, tmp_path: Path) -> None:
    _, key = certificates.create("kvm3")
    (tmp_path / "key").write_text(key)
    refused(codes.SIGN_IN_WRONG, world.enter)
    refused(codes.BAD_REQUEST, lambda: world.sign_ins.take(world.request(proof="?"), "10.0.0.1", BOUND))
    refused(codes.BAD_REQUEST, lambda: world.sign_ins.take(world.request(certificate="PEM"), "10.0.0.1", BOUND))


def test_authentications_that_differ_are_both_named(world: World) -> None:
    world.keys.there = False
    error = refused(codes.AUTHENTICATION_DIFFERS, world.enter)
    assert "kvm1 authenticates moves with kerberos, kvm2 with certificate" in error.reason


def test_without_kerberos_a_paired_hosts_word_counts_and_a_met_ones_does_not(world: World) -> None:
    paired = Peer("kvm3", "x", 1, "PEM", "f3", ("ann",), 0.0, "root")
    world.settings.save(HostSettings(authentication=Authentication.CERTIFICATE))
    world.sign_ins.require(paired, vm("ann"), "")
    refused(codes.NOT_ALLOWED, lambda: world.sign_ins.require(paired, vm("bob"), ""))
    met = Peer("kvm1", "x", 1, "PEM", "f1", ("*",), 0.0, "the domain", PeerKind.DOMAIN)
    refused(codes.SIGN_IN_NEEDED, lambda: world.sign_ins.require(met, vm("ann"), ""))
    world.settings.save(HostSettings(authentication=Authentication.KERBEROS))
    refused(codes.SIGN_IN_NEEDED, lambda: world.sign_ins.require(paired, vm("ann"), ""))


def test_a_paired_host_stays_one(world: World) -> None:
    pem = world.certificate
    world.peers.add(Peer("kvm1", "old", 1, pem, certificates.fingerprint(pem), ("*",), 0.0, "root"))
    peer, _ = world.enter()
    assert (peer.kind, peer.address) == (PeerKind.PAIRED, "old")
    world.peers.remove("kvm1")
    world.peers.add(Peer("kvm1", "old", 1, "PEM", "another", ("*",), 0.0, "root"))
    refused(codes.PEER_NAME_TAKEN, world.enter)


def test_she_is_held_to_what_she_is_limited_to_here(world: World) -> None:
    """Also by a group that only her ticket tells."""
    peer, secret = world.enter()
    for who in (ANN, f"@{GROUP}"):
        world.settings.save(HostSettings(operators=[ANN], restrictions=[Restriction(who=who, vms=["db*"])]))
        error = refused(codes.OPERATOR_RESTRICTED, lambda: world.sign_ins.require(peer, vm(), secret))
        assert "db*" in error.reason + error.remedy
        world.settings.save(HostSettings(operators=[ANN], restrictions=[Restriction(who=who, vms=["web*"])]))
        world.sign_ins.require(peer, vm(), secret)
    world.settings.save(
        HostSettings(authentication=Authentication.CERTIFICATE, restrictions=[Restriction(who="ann", vms=["db*"])])
    )
    paired = Peer("kvm3", "x", 1, "PEM", "f3", ("ann",), 0.0, "root")
    refused(codes.OPERATOR_RESTRICTED, lambda: world.sign_ins.require(paired, vm("ann"), ""))
