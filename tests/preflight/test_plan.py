"""How a VM would be on the destination."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.preflight.make import HERE, PLACE, case, proposal, xml

from vmferry.core import domainxml, hostpolicy
from vmferry.core.errors import UsageError
from vmferry.core.offer import MoveOptions
from vmferry.core.xmldiff import differences
from vmferry.preflight import plan
from vmferry.preflight.case import run
from vmferry.preflight.checks import OF_MOVE

_NAME = st.from_regex(r"[a-z][a-z0-9.-]{0,14}", fullmatch=True).filter(lambda name: name != plan.UNPLUGGED)


def mapped(**networks: str) -> MoveOptions:
    return MoveOptions(include_storage=True, map_networks=networks)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        (MoveOptions(), "/var/lib/libvirt/images/web01.qcow2"),
        (MoveOptions(storage_path="/srv/vms/"), "/srv/vms/web01.qcow2"),
        (MoveOptions(storage_path="/srv/vms", disk_paths={"vda": "/fast/a.qcow2"}), "/fast/a.qcow2"),
    ],
)
def test_where_a_disk_goes(options: MoveOptions, path: str) -> None:
    assert plan.paths(proposal(options=options)) == {"vda": path}


def test_a_disk_is_copied_or_shared() -> None:
    (copied,) = case().plan.disks
    assert (copied.copied_by, copied.shared) == ("mirror", False)
    assert "unmap" in case().plan.live_xml
    assert "unmap" not in case().plan.persistent_xml
    (shared,) = case(places=[PLACE.model_copy(update={"shared": True})]).plan.disks
    assert (shared.copied_by, shared.shared) == ("none", True)


def test_a_network_goes_on_another() -> None:
    found = case(proposal(options=mapped(default="lan")), networks={"lan": True})
    assert domainxml.networks(found.plan.persistent_xml) == ["lan", "br0"]
    assert run(OF_MOVE, found) == []


def test_a_network_goes_on_a_bridge_and_a_bridge_on_a_network() -> None:
    found = case(proposal(options=mapped(default="br0", br0="lan")), networks={"lan": True})
    first = differences(xml(), found.plan.persistent_xml)[0]
    assert first == "domain/devices/interface@type is 'bridge' instead of 'network'"
    assert domainxml.networks(found.plan.live_xml) == ["br0", "lan"]
    assert run(OF_MOVE, found) == []


def test_a_network_that_is_mapped_to_none_is_unplugged() -> None:
    found = case(proposal(options=mapped(default="none", br0="none")), networks={}, bridges=[])
    interfaces = domainxml.parse_domain(found.plan.live_xml).findall("devices/interface")
    assert [one.get("type") for one in interfaces] == ["ethernet", "ethernet"]
    assert [left for one in interfaces for left in (*one.findall("source"), *one.findall("target"))] == []
    assert [link.get("state") for one in interfaces for link in one.findall("link")] == ["down", "down"]
    assert interfaces[0].find("mac") is not None, "the guest keeps its card"
    assert run(OF_MOVE, found) == []


def test_a_mapping_to_what_is_not_there_is_found() -> None:
    (found,) = run(OF_MOVE, case(proposal(options=mapped(br0="br7"))))
    assert (found.code, found.fields["network"]) == ("network-missing", "br7")


@given(_NAME)
def test_only_what_is_mapped_changes(name: str) -> None:
    vm = proposal(options=mapped(br0=name))
    made = plan.make(vm, HERE)
    places = differences(xml(), made.persistent_xml)
    assert all("interface" in place for place in places)
    assert domainxml.networks(made.persistent_xml)[0] == "default"
    assert hostpolicy.violations(made.persistent_xml, HERE.policy) == []


def test_the_xml_must_be_of_the_vm_that_is_named() -> None:
    with pytest.raises(UsageError):
        plan.make(proposal(xml().replace("web01</name>", "db01</name>")), HERE)
