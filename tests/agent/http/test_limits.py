"""Operators who are limited to some VMs and destinations, on both hosts."""

from typing import TYPE_CHECKING

import pytest
from tests.agent.test_peer import offer, proposal

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import AccessError, UsageError
from vmferry.core.messages.offer import Caller
from vmferry.core.policy.restrictions import Restriction
from vmferry.core.policy.settings import HostSettings, SettingsChange
from vmferry.identity import access, limits
from vmferry.identity.access import Login, UnixUser, UserRole

if TYPE_CHECKING:
    from tests.agent.conftest import Node

TOKEN = "token ci"
ANN = "ann@EXAMPLE.COM"


def restrict(node: "Node", who: str = TOKEN, vms: str = "web*", to: str = "kvm2") -> None:
    node.client.change_settings(SettingsChange(restrictions=[Restriction(who=who, vms=[vms], to=[to])]))


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes by the socket is the operator `nobody`."""

    def nobody(config: Config, user: UnixUser, settings: HostSettings) -> Login:
        return Login(Caller(name="nobody", host=config.name, method="unix"), UserRole.OPERATOR)

    monkeypatch.setattr(access, "login", nobody)


def test_source_holds_her_to_her_vms(kvm1: "Node", request: pytest.FixtureRequest) -> None:
    kvm1.client.move("db01", "kvm2")  # root is not limited, and nobody is yet
    kvm1.end()
    restrict(kvm1, "nobody")
    request.getfixturevalue("operator")
    for ask in (kvm1.client.move, kvm1.client.check):
        for vm, to in (("db01", "kvm2"), ("web01", "kvm3")):
            with pytest.raises(AccessError) as caught:
                ask(vm, to)
            assert caught.value.code is codes.OPERATOR_RESTRICTED
            assert "nobody: web* to kvm2" in caught.value.reason
            assert f"--vm {vm} --to {to}" in caught.value.remedy
    assert kvm1.client.check("web01", "kvm2").vm == "web01"
    kvm1.job("0009", peer="kvm3")
    with pytest.raises(AccessError):
        kvm1.client.cancel("0009")
    assert [asked[0] for asked in kvm1.made.asked] == ["move", "check"]
    assert len(kvm1.client.vms()) == 1  # she may see them


def test_administrators_are_not_limited(kvm1: "Node") -> None:
    restrict(kvm1, "root", "web*", "kvm9")
    assert kvm1.client.check("db01", "kvm2").vm == "db01"


def test_destination_holds_the_named_caller_to_its_own_limits(kvm1: "Node", kvm2: "Node") -> None:
    kvm1.pair(kvm2)
    peer = kvm1.peer(kvm2)
    for who, vms, to in ((TOKEN, "db*", "kvm2"), (TOKEN, "web*", "kvm1"), ("@nogroup", "db*", "*")):
        restrict(kvm2, who, vms, to)
        name = "nobody" if who == "@nogroup" else TOKEN
        for ask in (lambda: peer.offer(offer(name)), lambda: peer.check(proposal(name))):  # noqa: B023
            with pytest.raises(AccessError) as caught:
                ask()
            assert caught.value.code.name == "operator-restricted"
            assert "kvm2" in caught.value.remedy
    assert kvm2.made.asked == []
    refused = kvm2.client.audit()[-1]
    assert (refused.result, refused.on_behalf_of, refused.caller) == ("operator-restricted", "nobody", "kvm1")
    restrict(kvm2)
    assert peer.offer(offer(TOKEN)).job_key


@pytest.mark.parametrize("principal", [ANN, "ann"])
def test_limits_of_a_principal_hold_on_the_socket_too(
    kvm1: "Node", request: pytest.FixtureRequest, principal: str
) -> None:
    """Who is limited as a user of the domain is not free as the user of this host who moves VMs as her."""
    kvm1.client.change_settings(SettingsChange(principals={"nobody": principal}))
    restrict(kvm1, ANN.lower(), "web*", "kvm2")
    request.getfixturevalue("operator")
    with pytest.raises(AccessError) as caught:
        kvm1.client.check("db01", "kvm2")
    assert caught.value.code is codes.OPERATOR_RESTRICTED
    assert kvm1.client.check("web01", "kvm2").vm == "web01"


def test_names_of_a_domain_have_no_case() -> None:
    assert limits.of_peer(Caller(name="Ann@EXAMPLE.COM", host="x", method="kerberos"))("ann@example.com")
    assert not limits.of_peer(Caller(name="Ann", host="x", method="unix"))("ann")  # names of hosts do


def test_settings_are_checked_and_on_record(kvm1: "Node") -> None:
    with pytest.raises(UsageError) as caught:
        restrict(kvm1, "no-such-user")
    assert caught.value.code is codes.PERSON_UNKNOWN
    restrict(kvm1)
    assert str(kvm1.client.settings().restrictions[0]) == "token ci: web* to kvm2"
    assert "web*" in str(kvm1.client.audit()[-1].about["restrictions"])


def test_each_limit_is_on_record_however_many_there_are(kvm1: "Node") -> None:
    """The record of a whole list would be cut short; and two who change it would undo what the other did."""
    for number in range(5):
        kvm1.client.restrict(Restriction(who=f"token {number}", vms=["web*"]))
    made = Restriction(who=ANN, vms=["db/*"], to=["kvm3"])
    assert kvm1.client.restrict(made).changed
    record = kvm1.client.audit()[-1]
    assert (record.action, record.about) == ("restrict_operator", {"who": ANN, "vms": '["db/*"]', "to": '["kvm3"]'})
    assert not kvm1.client.restrict(made).changed
    kvm1.client.unrestrict("@a/b")  # is no path
    assert len(kvm1.client.settings().restrictions) == 6
    kvm1.client.unrestrict(ANN)
    record = kvm1.client.audit()[-1]
    assert (record.action, record.about) == ("unrestrict_operator", {"who": ANN})
    assert made not in kvm1.client.settings().restrictions
    with pytest.raises(UsageError):
        kvm1.client.restrict(Restriction(who="no-such-user"))
