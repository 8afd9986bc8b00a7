"""Host settings: their defaults, what is refused by name, and what a change is shown as."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vmferry.core import codes
from vmferry.core.errors import PreflightError, UsageError
from vmferry.core.options import Encryption, Performance
from vmferry.core.policy import settings
from vmferry.core.policy.networks import Local, Network
from vmferry.core.policy.settings import Authentication, HostSettings, Protection, SettingsChange, SettingsFile

HOST = [Local("10.91.0.1", 24, "mgmt"), Local("10.92.0.1", 24, "mig"), Local("10.94.0.1", 24, "mig2")]
MIGRATION, SECOND = Network(subnet="10.92.0.0/24", priority=20), Network(subnet="10.94.0.0/24", priority=10)


def test_a_new_host_takes_part_in_nothing_and_encrypts() -> None:
    new = HostSettings()
    assert not new.migration
    assert new.encryption is Protection.REQUIRED
    assert (new.max_migrations, new.max_storage_migrations) == (2, 2)
    assert new.any_network
    with pytest.raises(PreflightError) as caught:
        settings.require_enabled(new, "kvm1")
    assert caught.value.code is codes.MIGRATION_DISABLED
    assert "kvm1" in caught.value.reason
    assert "vmferry migration enable" in caught.value.remedy
    settings.require_enabled(new.model_copy(update={"migration": True}), "kvm1")


@pytest.mark.parametrize("option", [*Authentication, *Performance])
def test_what_is_not_built_is_refused_by_name(option: Authentication | Performance) -> None:
    name = type(option).__name__.lower()
    change = SettingsChange.model_validate({name: option})
    if option in settings.BUILT:
        assert getattr(settings.changed(HostSettings(), change), name) is option
        return
    with pytest.raises(UsageError) as caught:
        settings.changed(HostSettings(), change)
    assert caught.value.code is codes.NOT_BUILT
    assert f"--{name} {option.value}" in caught.value.reason


def test_a_change_leaves_the_rest_alone() -> None:
    before = HostSettings(max_migrations=5, networks=[MIGRATION])
    after = settings.changed(before, SettingsChange(any_network=False))
    assert after == before.model_copy(update={"any_network": False})
    assert settings.changed(after, SettingsChange(networks=[MIGRATION, SECOND])).networks == [SECOND, MIGRATION]
    assert settings.changed(after, SettingsChange(networks=[])).networks == []


def test_a_network_is_listed_once() -> None:
    with pytest.raises(ValidationError, match="twice"):
        SettingsChange.model_validate({"networks": [{"subnet": "10.92.0.0/24"}, {"subnet": "10.92.0.1/24"}]})


def test_differences_are_in_words() -> None:
    before = HostSettings(networks=[MIGRATION])
    after = HostSettings(migration=True, networks=[SECOND, MIGRATION.model_copy(update={"priority": 5})])
    assert [(one.name, one.before, one.after) for one in settings.differences(before, after)] == [
        ("migration", "no", "yes"),
        ("network 10.92.0.0/24", "priority 20", "priority 5"),
        ("network 10.94.0.0/24", "absent", "priority 10"),
    ]
    assert settings.differences(before, before) == []


def test_advice_is_about_networks_that_do_not_do_what_one_thinks() -> None:
    assert settings.advice(HostSettings(), HOST) == []
    assert "--only-listed-networks" in settings.advice(HostSettings(networks=[MIGRATION]), HOST)[0]
    assert "No network is listed" in settings.advice(HostSettings(any_network=False), HOST)[0]
    only = HostSettings(any_network=False, networks=[MIGRATION])
    assert settings.advice(only, HOST) == []
    assert settings.advice(only, HOST[:1]) == ["This host has no address inside 10.92.0.0/24."]


def test_advice_is_about_what_was_changed() -> None:
    other = HostSettings(networks=[MIGRATION, SECOND])
    before = HostSettings(networks=[MIGRATION])
    assert settings.advice(before, HOST[:1], other) == []  # one of them was removed
    assert settings.advice(other, HOST[:1], before) == ["This host has no address inside 10.94.0.0/24."]
    assert settings.advice(other.model_copy(update={"max_migrations": 3}), HOST[:1], other) == []


def test_a_limit_without_effect_is_noted() -> None:
    odd = HostSettings(max_storage_migrations=79)
    assert "79, has no effect" in settings.advice(odd, HOST)[0]
    assert settings.advice(odd.model_copy(update={"max_migrations": 1}), HOST, odd) == []
    assert settings.advice(HostSettings(max_storage_migrations=2), HOST) == []


def test_encryption_may_be_left_out_only_where_the_host_lets() -> None:
    with pytest.raises(PreflightError) as caught:
        settings.require_encryption(HostSettings(), Encryption.OFF, "kvm2")
    assert caught.value.code is codes.ENCRYPTION_DIFFERS
    settings.require_encryption(HostSettings(), Encryption.REQUIRED, "kvm2")
    settings.require_encryption(HostSettings(encryption=Protection.OPTIONAL), Encryption.OFF, "kvm2")


def test_a_worker_listens_in_listed_networks_only_and_is_held_to_their_interfaces() -> None:
    only = HostSettings(any_network=False, networks=[MIGRATION, SECOND])
    assert settings.listening(only, HOST, ["10.91.0.0/24"], "10.91.0.1") == [HOST[2], HOST[1]]
    assert settings.listening(only, HOST[:1], [], "10.91.0.1") == []


def test_a_host_that_keeps_to_its_networks_must_be_in_one() -> None:
    only = HostSettings(any_network=False, networks=[MIGRATION, SECOND])
    settings.require_network(only, HOST, "kvm1")
    settings.require_network(only.model_copy(update={"any_network": True}), HOST[:1], "kvm1")
    with pytest.raises(PreflightError) as caught:
        settings.require_network(only, HOST[:1], "kvm1")
    assert caught.value.code is codes.MIGRATION_NETWORK_MISSING
    assert "10.94.0.0/24, 10.92.0.0/24" in caught.value.reason


def test_where_any_network_will_do_the_sources_are_offered_too() -> None:
    assert settings.listening(HostSettings(), HOST, [], "kvm1.example") == [Local("kvm1.example")]
    assert settings.listening(HostSettings(), HOST, ["10.92.0.0/24"], "10.91.0.1") == [
        Local("10.92.0.1"),
        Local("10.91.0.1"),
    ]
    listed = HostSettings(networks=[SECOND])
    found = settings.listening(listed, HOST, ["10.94.0.0/24"], "10.94.0.1")
    assert found == [Local("10.94.0.1")]


def settings_of(numbers: list[int], any_network: bool, migration: bool) -> HostSettings:
    listed = [Network(subnet=f"10.{number}.0.0/16", priority=number % 3) for number in numbers]
    return HostSettings(migration=migration, any_network=any_network, networks=listed)


ANY = st.builds(settings_of, st.lists(st.integers(0, 9), max_size=5, unique=True), st.booleans(), st.booleans())


@given(ANY, ANY)
def test_a_change_to_other_settings_gives_these_and_then_changes_nothing(
    before: HostSettings, after: HostSettings
) -> None:
    change = SettingsFile.model_validate(after.model_dump())
    assert settings.changed(before, change) == after
    assert settings.changed(after, change) == after
    assert bool(settings.differences(before, after)) is (before != after)
