"""Peers, invitations and settings."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vmferry.core import codes
from vmferry.core.errors import VmferryError
from vmferry.core.policy.settings import HostSettings
from vmferry.store.database import Database
from vmferry.store.invitations import LIFETIME, Invitations
from vmferry.store.peers import Peer, Peers
from vmferry.store.settings import Settings
from vmferry.store.tokens import KEPT, TokenRow, Tokens

KVM2 = Peer("kvm2", "10.0.0.2", 6601, "PEM", "f2", ("root", "alice"), 1000.0, "root")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "vmferry.db") as opened:
        yield opened


def test_peers(database: Database) -> None:
    peers = Peers(database)
    peers.add(KVM2)
    peers.add(replace(KVM2, name="kvm3", fingerprint="f3"))
    assert peers.get("kvm2") == peers.by_fingerprint("f2") == KVM2
    assert [peer.name for peer in peers.all()] == ["kvm2", "kvm3"]
    assert peers.remove("kvm2")
    assert not peers.remove("kvm2")
    assert peers.get("kvm2") is None


def test_pairing_again_replaces_the_same_host_only(database: Database) -> None:
    peers = Peers(database)
    peers.add(KVM2)
    moved = replace(KVM2, name="kvm2b", address="10.0.0.9")
    peers.add(moved)
    assert peers.all() == [moved]
    with pytest.raises(VmferryError) as caught:
        peers.add(replace(moved, fingerprint="another"), "kvm1")
    assert caught.value.code is codes.PEER_NAME_TAKEN
    assert peers.all() == [moved]


def test_invitation_is_good_once(database: Database) -> None:
    invitations = Invitations(database)
    invitations.create(b"secret", ["alice"], "root")
    assert invitations.redeem(b"other") is None
    found = invitations.redeem(b"secret")
    assert found is not None
    assert found.callers == ("alice",)
    assert invitations.redeem(b"secret") is None


def test_invitation_expires(database: Database) -> None:
    now = 1000.0
    invitations = Invitations(database, lambda: now)
    assert invitations.create(b"secret", ["*"], "root") == now + LIFETIME
    now += LIFETIME
    assert invitations.redeem(b"secret") is None
    invitations.create(b"next", ["*"], "root")
    assert len(database.rows("SELECT * FROM invitations")) == 1  # the old one is gone


def test_secret_is_not_at_rest(database: Database) -> None:
    Invitations(database).create(b"a secret of some length", ["*"], "root")
    for file in database.path.parent.iterdir():
        content = file.read_bytes()
        assert b"a secret of some length" not in content
        assert b"a secret of some length".hex().encode() not in content


def test_invitation_survives_what_fails_after_it(database: Database) -> None:
    invitations = Invitations(database)
    invitations.create(b"secret", ["*"], "root")

    def fail() -> None:
        with database.transaction():
            assert invitations.redeem(b"secret") is not None
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert invitations.redeem(b"secret") is not None


def test_tokens(database: Database) -> None:
    now = 1000.0
    tokens = Tokens(database, lambda: now)
    row = TokenRow("1f3a9c2e", "ci", "operator", "d" * 64, now, "root", now + 60)
    tokens.create(row)
    assert tokens.all() == [row]
    assert tokens.get("1f3a9c2e") == row
    assert tokens.get("ci") is None
    with pytest.raises(VmferryError) as caught:
        tokens.create(replace(row, id="00000001"))
    assert caught.value.code is codes.API_TOKEN_NAME_TAKEN
    now += 10
    tokens.revoke("ci", "ann")
    found = tokens.get("1f3a9c2e")
    assert found is not None
    assert (found.revoked_at, found.revoked_by) == (1010.0, "ann")
    now += 10
    tokens.revoke("1f3a9c2e", "bob")  # once more: it stays as it is
    assert tokens.get("1f3a9c2e") == found
    with pytest.raises(VmferryError) as caught:
        tokens.revoke("none", "ann")
    assert caught.value.code is codes.API_TOKEN_UNKNOWN


def test_name_of_a_token_is_free_again_and_the_new_one_is_meant(database: Database) -> None:
    now = 1000.0
    tokens = Tokens(database, lambda: now)
    row = TokenRow("00000001", "ci", "operator", "d" * 64, now, "root", now + 60)
    tokens.create(row)
    now += 60
    assert row.ended(now)
    tokens.create(replace(row, id="00000002", created_at=now, expires_at=now + 60))
    assert tokens.revoke("ci", "root").id == "00000002"
    now += KEPT + 60
    tokens.create(replace(row, id="00000003", expires_at=now + 60))
    assert [row.id for row in tokens.all()] == ["00000003"]


def test_settings(database: Database) -> None:
    settings = Settings(database)
    assert settings.get("limits", 2) == 2
    settings.set("limits", {"moves": 3})
    settings.set("limits", {"moves": 4})
    assert settings.get("limits") == {"moves": 4}


def test_host_settings_survive_and_later_defaults_reach_what_was_never_set(database: Database) -> None:
    settings = Settings(database)
    assert settings.host() == HostSettings()
    with settings.held() as now:
        settings.save(now.model_copy(update={"migration": True}))
    assert settings.host() == HostSettings(migration=True)
    assert settings.get("host") == {"migration": True}
