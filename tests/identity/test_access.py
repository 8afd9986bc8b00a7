"""Who may do what."""

import os
from pathlib import Path

import pytest

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import VmferryError
from vmferry.core.messages.offer import Caller
from vmferry.core.policy.settings import HostSettings
from vmferry.identity.access import UnixUser, UserRole, login, require, require_peer, require_people
from vmferry.store.peers import Peer


@pytest.fixture
def config(tmp_path: Path) -> Config:
    import grp

    return Config(name="kvm1", state_folder=tmp_path, group=grp.getgrall()[-1].gr_name)


def test_root_is_administrator_and_the_group_operators(config: Config) -> None:
    group = config.group_id()
    assert group is not None
    root = login(config, UnixUser(0, frozenset()))
    assert (root.caller, root.role) == (Caller(name="root", host="kvm1", method="unix"), UserRole.ADMINISTRATOR)
    assert login(config, UnixUser(54321, frozenset({7, group}))).role is UserRole.OPERATOR


def test_anybody_else_is_refused_by_name(config: Config) -> None:
    with pytest.raises(VmferryError) as caught:
        login(config, UnixUser(54321, frozenset({os.getgid() + 40000})))
    assert caught.value.code is codes.NOT_ALLOWED
    assert "uid 54321" in caught.value.reason


def test_without_the_group_only_root(config: Config) -> None:
    alone = config.model_copy(update={"group": "no-such-group"})
    assert login(alone, UnixUser(0, frozenset())).role is UserRole.ADMINISTRATOR
    with pytest.raises(VmferryError):
        login(alone, UnixUser(54321, frozenset({0})))


def test_settings_name_people_by_user_and_group(config: Config) -> None:
    import grp
    import pwd

    ann = next(user for user in reversed(pwd.getpwall()) if user.pw_gid != config.group_id())
    other = next(entry for entry in grp.getgrall() if entry.gr_gid not in (config.group_id(), ann.pw_gid))
    user = UnixUser(ann.pw_uid, frozenset({ann.pw_gid, other.gr_gid}))
    for role, settings in (
        (UserRole.VIEWER, HostSettings(viewers=[ann.pw_name])),
        (UserRole.OPERATOR, HostSettings(viewers=[ann.pw_name], operators=[f"@{other.gr_name}"])),
        (UserRole.ADMINISTRATOR, HostSettings(administrators=[f"@{other.gr_name}"], viewers=["@none"])),
    ):
        assert login(config, user, settings).role is role
    nobody = HostSettings(administrators=[f"@no-{ann.pw_name}", other.gr_name, "@no-such-group"])
    with pytest.raises(VmferryError):
        login(config, UnixUser(54321, user.groups - {config.group_id()}), nobody)


def test_people_must_exist() -> None:
    require_people(["root", "@root"], "kvm1")
    for name, kind in (("no-such-user", "user"), ("@no-such-group", "group")):
        with pytest.raises(VmferryError) as caught:
            require_people(["root", name], "kvm1")
        assert caught.value.code is codes.PERSON_UNKNOWN
        assert caught.value.fields == {"host": "kvm1", "kind": kind, "name": name.removeprefix("@")}


def test_a_role_includes_those_below(config: Config) -> None:
    root = login(config, UnixUser(0, frozenset()))
    require(config, root, UserRole.VIEWER, "look")
    viewer = type(root)(root.caller, UserRole.VIEWER)
    with pytest.raises(VmferryError) as caught:
        require(config, viewer, UserRole.OPERATOR, "move VMs")
    assert "role operator" in caught.value.remedy


@pytest.mark.parametrize(("callers", "allowed"), [(("*",), True), (("alice",), True), (("bob",), False), ((), False)])
def test_peer_speaks_for_its_callers_only(config: Config, callers: tuple[str, ...], allowed: bool) -> None:
    peer = Peer("kvm2", "10.0.0.2", 6601, "", "f", callers, 0.0, "root")
    alice = Caller(name="alice", host="kvm2", method="unix")
    if allowed:
        require_peer(config, peer, alice)
        return
    with pytest.raises(VmferryError) as caught:
        require_peer(config, peer, alice)
    assert caught.value.code is codes.NOT_ALLOWED
