"""Settings over the API: stored, effective at once, and refused where they cannot be."""

from typing import TYPE_CHECKING

import pytest

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import UsageError, VmferryError
from vmferry.core.messages.api import NetworkChange
from vmferry.core.messages.offer import Caller
from vmferry.core.options import Performance
from vmferry.core.policy.networks import Network
from vmferry.core.policy.restrictions import Restriction
from vmferry.core.policy.settings import HostSettings, Protection, SettingsChange
from vmferry.identity import access
from vmferry.identity.access import Login, UnixUser, UserRole
from vmferry.store.database import Database
from vmferry.store.settings import Settings

if TYPE_CHECKING:
    from tests.agent.conftest import Node


def test_a_new_host_has_the_defaults(kvm1: "Node") -> None:
    assert kvm1.client.settings() == HostSettings()
    assert kvm1.client.host().settings == HostSettings()
    assert kvm1.client.networks() == []


def test_a_change_is_stored_and_another_process_reads_it(kvm1: "Node") -> None:
    answer = kvm1.client.change_settings(SettingsChange(encryption=Protection.OPTIONAL, max_migrations=4))
    assert answer.changed
    assert answer.settings == HostSettings(encryption=Protection.OPTIONAL, max_migrations=4)
    assert kvm1.client.settings() == answer.settings
    assert kvm1.client.host().encryption == "optional"
    with Database(kvm1.config.database) as database:
        assert Settings(database).host() == answer.settings
    again = kvm1.client.change_settings(SettingsChange(max_migrations=4))
    assert not again.changed


def test_changes_are_logged_with_who_made_them(kvm1: "Node", caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "vmferry.agent")
    kvm1.client.enable()
    assert "root set migration from no to yes" in caplog.text


def test_what_is_not_built_changes_nothing(kvm1: "Node") -> None:
    with pytest.raises(UsageError) as caught:
        kvm1.client.change_settings(SettingsChange(performance=Performance.SMB, max_migrations=4))
    assert caught.value.code is codes.NOT_BUILT
    assert kvm1.client.settings() == HostSettings()


def test_networks(kvm1: "Node") -> None:
    client = kvm1.client
    answer = client.add_network("10.20.0.7/24", 10)
    assert answer.changed
    assert answer.settings.networks == [Network(subnet="10.20.0.0/24", priority=10)]
    assert "taken as its subnet" in answer.notes[0]
    assert answer.notes[1] == "This host has no address inside 10.20.0.0/24."
    assert "--only-listed-networks" in answer.notes[2]
    again = client.add_network("10.20.0.0/24")
    assert not again.changed
    assert again.notes == ["10.20.0.0/24 is listed already; nothing was changed."]
    assert client.add_network("fd20::1").settings.networks[1].subnet == "fd20::1/128"
    assert client.set_network("fd20::1/128", NetworkChange(priority=1)).settings.networks[0].subnet == "fd20::1/128"
    assert client.set_network("fd20::1", NetworkChange(subnet="fd21::/64")).settings.networks[0].priority == 1
    assert [network.subnet for network in client.networks()] == ["fd21::/64", "10.20.0.0/24"]
    assert client.remove_network("fd21::/64").changed
    with pytest.raises(VmferryError) as caught:
        client.remove_network("fd21::/64")
    assert caught.value.code is codes.NETWORK_UNKNOWN
    with pytest.raises(VmferryError) as caught:
        client.add_network("127.0.0.0/8")
    assert caught.value.code is codes.NETWORK_INVALID
    only = client.change_settings(SettingsChange(any_network=False, networks=[]))
    assert "no VM can come or go" in only.notes[0]


def test_disabling_asks_about_moves_in_progress(kvm1: "Node") -> None:
    kvm1.client.enable()
    kvm1.client.move("web01", "kvm2")
    with pytest.raises(UsageError) as caught:
        kvm1.client.disable()
    assert caught.value.code is codes.MOVES_IN_PROGRESS
    assert "0001: web01" in caught.value.reason
    assert kvm1.client.settings().migration
    answer = kvm1.client.disable("wait")
    assert answer.jobs == ["0001"]
    assert not kvm1.client.settings().migration
    assert [asked[0] for asked in kvm1.made.asked] == ["move"]


def test_disabling_can_cancel_them(kvm1: "Node") -> None:
    kvm1.client.enable()
    kvm1.client.move("web01", "kvm2")
    kvm1.made.raises = UsageError(codes.TOO_LATE, job="0001")
    answer = kvm1.client.disable("cancel")
    assert kvm1.made.asked[-1][:2] == ("cancel", "0001")
    assert answer.jobs == ["0001"]
    assert "has passed its commit" in answer.notes[0]
    kvm1.end()
    assert kvm1.client.disable().jobs == []


def test_who_moves_vms_may_see_the_settings_and_not_change_them(kvm1: "Node", monkeypatch: pytest.MonkeyPatch) -> None:
    def operator(config: Config, user: UnixUser, settings: HostSettings) -> Login:
        return Login(Caller(name="ann", host=config.name, method="unix"), UserRole.OPERATOR)

    monkeypatch.setattr(access, "login", operator)
    assert kvm1.client.settings() == HostSettings()
    assert kvm1.client.networks() == []
    for attempt in (
        kvm1.client.enable,
        kvm1.client.disable,
        lambda: kvm1.client.change_settings(SettingsChange(encryption=Protection.OPTIONAL)),
        lambda: kvm1.client.add_network("10.20.0.0/24"),
        lambda: kvm1.client.set_network("10.20.0.0/24", NetworkChange(priority=1)),
        lambda: kvm1.client.remove_network("10.20.0.0/24"),
    ):
        with pytest.raises(VmferryError) as caught:
            attempt()
        assert caught.value.code is codes.NOT_ALLOWED
        assert "role administrator" in caught.value.remedy
    assert kvm1.client.settings() == HostSettings()


def test_people_are_looked_for_before_they_are_kept(kvm1: "Node") -> None:
    answer = kvm1.client.change_settings(SettingsChange(operators=["root", "@root", "root"]))
    assert answer.settings.operators == ["@root", "root"]
    with pytest.raises(UsageError) as caught:
        kvm1.client.change_settings(SettingsChange(viewers=["no-such-user"], max_migrations=5))
    assert caught.value.code is codes.PERSON_UNKNOWN
    assert kvm1.client.settings().max_migrations == 2
    assert kvm1.client.change_settings(SettingsChange(operators=[])).settings.operators == []
    with pytest.raises(ValueError, match="neither a user"):
        SettingsChange(operators=["a,b"])


def test_groups_of_the_domain_are_looked_up_once_and_forgotten_with_their_names(kvm1: "Node") -> None:
    group = "@ops@LAB.TEST"
    kvm1.client.change_settings(SettingsChange(operators=[group, "ann@LAB.TEST"], viewers=["@S-1-5-32-545"]))
    assert kvm1.stores.settings.sids() == {group: "@S-1-5-21-1-2-3-1200"}
    kvm1.client.change_settings(SettingsChange(max_migrations=3))
    assert kvm1.stores.settings.sids() == {group: "@S-1-5-21-1-2-3-1200"}
    kvm1.client.change_settings(SettingsChange(operators=["ann@LAB.TEST"]))
    assert kvm1.stores.settings.sids() == {}


def test_a_group_that_is_only_limited_is_looked_up_too(kvm1: "Node") -> None:
    kvm1.client.restrict(Restriction(who="@ops@LAB.TEST", vms=["web*"]))
    assert kvm1.stores.settings.sids() == {"@ops@LAB.TEST": "@S-1-5-21-1-2-3-1200"}


def test_settings_are_tried_and_not_changed(kvm1: "Node") -> None:
    before = kvm1.client.settings()
    answer = kvm1.client.try_settings(SettingsChange(max_migrations=5, max_storage_migrations=9))
    assert (answer.changed, answer.settings.max_migrations, len(answer.notes)) == (True, 5, 1)
    with pytest.raises(UsageError) as caught:
        kvm1.client.try_settings(SettingsChange(operators=["nobody-of-that-name"]))
    assert caught.value.code is codes.PERSON_UNKNOWN
    assert kvm1.client.settings() == before
