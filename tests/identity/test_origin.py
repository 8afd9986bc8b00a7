"""Callers by kind: what each can reach, what it is called, and what a person's role and limits come from."""

from pathlib import Path
from typing import Any

import pytest

from vmferry.config import Config
from vmferry.core.errors import AccessError
from vmferry.core.messages.offer import Caller
from vmferry.core.policy.settings import HostSettings
from vmferry.identity.access import UnixUser, UserRole
from vmferry.identity.kerberos import Accepted
from vmferry.identity.origin import (
    Audience,
    CertifiedHost,
    DomainUser,
    LocalUser,
    Origin,
    RolePolicy,
    SiteHost,
    Stranger,
    TokenUser,
)
from vmferry.store.peers import Peer

PEER = Peer("kvm2", "10.0.0.2", 6601, "", "ab" * 32, ("*",), 0.0, "root")
TICKET = Accepted(principal="ann@EXAMPLE", answer=b"yes", credential="hers", logon=None, delegation=None)
KINDS: list[tuple[Origin, Audience, str | None, str, str]] = [
    (LocalUser(UnixUser(0, frozenset())), Audience.PEOPLE, "root", "unix", "unix"),
    (TokenUser("ci", "operator", "10.0.0.9"), Audience.PEOPLE, "token ci", "token", "10.0.0.9"),
    (DomainUser(TICKET, "10.0.0.9"), Audience.PEOPLE, "ann@EXAMPLE", "kerberos", "10.0.0.9"),
    (CertifiedHost("ab" * 32, "10.0.0.2"), Audience.HOSTS, "SHA-256 " + "ab" * 32, "certificate", "10.0.0.2"),
    (
        SiteHost(b"x", "trust", "10.0.0.2"),
        Audience.HOSTS,
        "SHA-256 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        "certificate",
        "10.0.0.2",
    ),
    (Stranger("10.0.0.9", b"bound"), Audience.STRANGERS, None, "none", "10.0.0.9"),
]
IDS = [type(origin).__name__ for origin, *_ in KINDS]
PEOPLE = [origin for origin, audience, *_ in KINDS if audience is Audience.PEOPLE]
OTHERS = [origin for origin, audience, *_ in KINDS if audience is not Audience.PEOPLE]


class Known:
    """Hosts that are known, by certificate and of the site."""

    def by_fingerprint(self, fingerprint: str) -> Peer | None:
        return PEER if fingerprint == PEER.fingerprint else None

    def admit(self, origin: SiteHost, reach: str) -> Peer:
        assert reach == ":6601"
        return PEER


def policy(tmp_path: Path, **settings: Any) -> RolePolicy:
    return RolePolicy(Config(name="kvm1", state_folder=tmp_path), HostSettings(**settings), dict)


@pytest.mark.parametrize(("origin", "audience", "name", "method", "address"), KINDS, ids=IDS)
def test_what_the_gate_and_the_audit_log_read(
    origin: Origin, audience: Audience, name: str | None, method: str, address: str
) -> None:
    assert (origin.audience, origin.name, origin.method, origin.address) == (audience, name, method, address)
    assert (origin.stranger() is origin) is (audience is Audience.STRANGERS)
    assert origin.proved_by_request is (method in ("token", "kerberos"))


def test_all_kinds_are_here() -> None:
    kinds = {kind.__name__ for kind in Origin.__subclasses__() if kind.__module__ == Origin.__module__}
    assert {type(origin).__name__ for origin, *_ in KINDS} == kinds


@pytest.mark.parametrize("origin", OTHERS, ids=lambda one: type(one).__name__)
def test_who_is_no_person_gets_no_role(origin: Origin, tmp_path: Path) -> None:
    for refused in (
        lambda: origin.login(policy(tmp_path)),
        lambda: origin.is_caller(Caller(name="root", host="kvm1", method="unix"), policy(tmp_path)),
    ):
        with pytest.raises(AccessError) as caught:
            refused()
        assert caught.value.code.name == "not-authenticated"


@pytest.mark.parametrize("origin", PEOPLE, ids=lambda one: type(one).__name__)
def test_who_is_no_host_is_none(origin: Origin) -> None:
    assert origin.host(Known(), ":6601") is None
    assert Stranger("10.0.0.9").host(Known(), ":6601") is None


def test_hosts_are_found_by_what_they_showed() -> None:
    assert CertifiedHost(PEER.fingerprint, "10.0.0.2").host(Known(), "") == PEER
    assert CertifiedHost("cd" * 32, "10.0.0.2").host(Known(), "") is None
    assert SiteHost(b"x", "trust", "10.0.0.2").host(Known(), ":6601") == PEER


def test_roles_and_limits_of_people(tmp_path: Path) -> None:
    known = policy(tmp_path, operators=["ann@example"], principals={"root": "ann"})
    local, token, domain = PEOPLE
    assert [one.login(known).role for one in PEOPLE] == [UserRole.ADMINISTRATOR, UserRole.OPERATOR, UserRole.OPERATOR]
    named = [one.login(known).caller for one in PEOPLE]
    assert [one.name for one in named] == ["root", "token ci", "ann@EXAMPLE"]
    tests = [one.is_caller(caller, known) for one, caller in zip(PEOPLE, named, strict=True)]
    assert [[is_caller(who) for who in ("root", "token ci", "ann@example")] for is_caller in tests] == [
        [True, False, False],
        [False, True, False],
        [False, False, True],
    ]
    assert [one.principal(caller, known) for one, caller in zip(PEOPLE, named, strict=True)] == ["ann", None, None]
    assert (local.credential, token.credential, domain.credential) == (None, None, "hers")
    assert list(domain.headers) == [(b"www-authenticate", b"Negotiate eWVz")]


def test_connections_are_counted_by_who_made_them() -> None:
    assert LocalUser(UnixUser(7, frozenset())).share == LocalUser(UnixUser(7, frozenset({1}))).share
    assert LocalUser(UnixUser(7, frozenset())).share != LocalUser(UnixUser(8, frozenset())).share
    assert CertifiedHost("ab", "10.0.0.2").share == CertifiedHost("ab", "10.0.0.3").share
    assert SiteHost(b"x", "", "").share != SiteHost(b"y", "", "").share
    assert Stranger("10.0.0.2").share == Stranger("10.0.0.3").share
