"""How a VM would be on the destination."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.preflight.make import DISK, HERE, MEDIUM, PATH, PLACE, READ_ONLY, UUID, UUIDS, case, proposal, xml

from vmferry.core.errors import UsageError
from vmferry.core.kinds import ArtifactType, CopiedBy
from vmferry.core.libvirt import capabilities, domainxml, hostpolicy
from vmferry.core.libvirt.xmldiff import differences
from vmferry.core.messages.offer import Artifact, MoveOptions
from vmferry.preflight import plan
from vmferry.preflight.case import Case, run
from vmferry.preflight.checks import OF_MOVE

_NAME = st.from_regex(r"[a-z][a-z0-9.-]{0,14}", fullmatch=True).filter(lambda name: name != plan.UNPLUGGED)


DIMM = "<memory model='dimm'><target><size unit='GiB'>1</size><node>0</node></target></memory>" * 2


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


VARIABLES = Artifact(
    **DISK.model_dump()
    | {
        "type": ArtifactType.FIRMWARE_VARIABLES,
        "target": "nvram",
        "path": "/var/lib/libvirt/qemu/nvram/web01_VARS.fd",
        "format": "raw",
        "virtual_size": 1,
    }
)


def test_a_vm_has_one_file_with_variables() -> None:
    named = xml(os=f"<nvram>{VARIABLES.path}</nvram>")
    with pytest.raises(UsageError, match="more than one"):
        case(proposal(named, disks=[DISK, VARIABLES], variables=VARIABLES))


def test_all_that_is_offered_has_a_plan_in_the_same_order() -> None:
    """The source holds the grant to it."""
    named = xml(os=f"<nvram>{VARIABLES.path}</nvram>")
    vm = proposal(named, disks=[VARIABLES, DISK])
    planned = plan.artifacts(vm, case(vm).plan.disks)
    assert [(one.type, one.target, one.copied_by) for one in planned] == [
        (ArtifactType.FIRMWARE_VARIABLES, "nvram", CopiedBy.MEMORY),
        (ArtifactType.DISK, "vda", CopiedBy.MIRROR),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"path": "/etc/shadow"},
        {"format": "qcow2"},
        {"target": "vda"},
        {"virtual_size": 1 << 40},
    ],
)
def test_the_variables_that_are_offered_are_those_of_the_xml(change: dict[str, Any]) -> None:
    """The destination makes a file of that path and size."""
    named = xml(os=f"<nvram template='/usr/share/OVMF/v.fd'>{VARIABLES.path}</nvram>")
    offered = VARIABLES.model_copy(update=change)
    if not change:
        assert case(proposal(named, variables=offered)).plan.live_xml
        change = {"nowhere": True}
        named = xml()
    with pytest.raises(UsageError, match="variables"):
        case(proposal(named, variables=offered))


def test_a_disk_is_copied_or_shared() -> None:
    (copied,) = case().plan.disks
    assert (copied.copied_by, copied.shared) == ("mirror", False)
    assert "unmap" not in case().plan.live_xml
    assert "unmap" not in case().plan.persistent_xml
    present = PLACE.model_copy(update={"taken": True, "present": True, "free": 0, "writable": False})
    medium = case(proposal(READ_ONLY, disks=[MEDIUM]), places=[present])
    assert [(disk.copied_by, disk.made) for disk in medium.plan.disks] == [("present", False)]
    assert run(OF_MOVE, medium) == []
    (written,) = case(places=[present]).plan.disks  # only what nobody writes can be the same on both
    assert written.copied_by == "mirror"
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


def drive(path: str, device: str = "cdrom") -> str:
    source = f"<source file='{path}'/>" if path else ""
    return (
        f"<disk type='file' device='{device}'><driver name='qemu' type='raw'/>{source}"
        "<target dev='sda' bus='sata'/></disk>"
    )


def defined(found: Case) -> dict[str, str | None]:
    return {disk.target: disk.path for disk in domainxml.disks(found.plan.persistent_xml)}


NEXT = DISK.model_copy(update={"target": "next-vda", "path": "/var/lib/libvirt/images/b/next.qcow2", "idle": True})
NEXT_PLACE = PLACE.model_copy(update={"target": "next-vda", "path": NEXT.path})


def test_the_definitions_disk_is_mapped_only_where_it_is_the_running_vms() -> None:
    other = xml().replace(DISK.path, NEXT.path)
    # As an older source offers it: without a word on the definition's disks.
    found = case(proposal(persistent=other))
    assert defined(found) == {"vda": NEXT.path}
    assert [one.code for one in run(OF_MOVE, found)] == ["device-forbidden"]


def test_a_disk_for_the_next_start_goes_along_and_is_the_definitions() -> None:
    there = xml().replace(DISK.path, NEXT.path)
    vm = proposal(persistent=there, disks=[DISK, NEXT], definition={"vda": "next-vda"})
    found = case(vm, places=[PLACE, NEXT_PLACE])
    assert [(one.target, one.copied_by) for one in found.plan.disks] == [("vda", "mirror"), ("next-vda", "file")]
    assert defined(found) == {"vda": NEXT.path}
    assert domainxml.disks(found.plan.live_xml)[0].path == DISK.path
    assert run(OF_MOVE, found) == []


def test_a_disk_that_has_another_name_in_the_definition_stays_the_same_disk() -> None:
    renamed = xml().replace("dev='vda' bus='virtio'", "dev='sda' bus='sata'")
    found = case(proposal(persistent=renamed, definition={"sda": "vda"}), places=[PLACE])
    assert defined(found) == {"sda": PLACE.path}
    assert run(OF_MOVE, found) == []


def test_a_medium_of_the_definition_alone_is_taken_out_and_blocks_nothing() -> None:
    found = case(proposal(xml(device=drive("")), xml(device=drive("/iso/old.iso")), definition={"vda": "vda"}))
    assert defined(found) == {"vda": PLACE.path, "sda": None}
    assert run(OF_MOVE, found) == []
    # What a source says of a disk that it does not offer counts for nothing.
    hostile = case(proposal(persistent=xml(device=drive("/iso/old.iso", "disk")), definition={"sda": "sda"}))
    assert [one.code for one in run(OF_MOVE, hostile)] == ["device-forbidden"]


MACVTAP = "<interface type='direct' trustGuestRxFilters='yes'><mac address='52:54:00:93:00:02'/>" + (
    "<source dev='eth0' mode='bridge'/><target dev='macvtap0'/><model type='virtio'/></interface>"
)


def test_a_macvtap_device_is_mapped_like_a_network() -> None:
    device, name = MACVTAP, "eth0"
    assert domainxml.places(xml(device=device)) == ["default", "br0", name]
    assert run(OF_MOVE, case(proposal(xml(device=device))))[0].code == "device-forbidden"
    for there in ("default", "br0", "none"):
        found = case(proposal(xml(device=device), options=mapped(**{name: there})))
        assert run(OF_MOVE, found) == []
        assert name not in domainxml.places(found.plan.live_xml)
        interface = domainxml.parse_domain(found.plan.live_xml).findall("devices/interface")[-1]
        assert interface.find("model[@type='virtio']") is not None
        assert interface[0].tag == "mac"
        assert (interface.find("target"), interface.get("trustGuestRxFilters")) == (None, None)


@pytest.mark.parametrize(
    ("named", "present", "own", "taken"),
    [
        ("/usr/bin/kvm-spice", ["/usr/bin/qemu-system-x86_64"], "/usr/bin/qemu-system-x86_64", None),
        ("/usr/bin/qemu-system-x86_64", ["/usr/bin/qemu-system-x86_64", "/usr/bin/kvm"], "/usr/bin/kvm", "named"),
        ("/usr/bin/kvm-spice", ["/usr/bin/qemu-system-x86_64"], "/opt/odd/qemu", "named"),
        ("/usr/bin/kvm-spice", None, "/usr/bin/qemu-system-x86_64", "named"),
        ("", ["/usr/bin/qemu-system-x86_64"], "/usr/bin/qemu-system-x86_64", "named"),
    ],
)
def test_a_program_that_is_not_there_gives_way_to_libvirts_own(
    named: str, present: list[str] | None, own: str, taken: str | None
) -> None:
    here = HERE.model_copy(update={"emulators": present, "emulator": own})
    assert capabilities.chosen(named, here.emulators, here.emulator) == (named if taken else own)


def test_a_socket_that_the_vm_names_is_left_to_libvirt() -> None:
    channel = (
        "<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/channels/x.org.qemu.guest_agent.0'/>"
        "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
    )
    found = case(proposal(xml(device=channel)))
    for planned in (found.plan.live_xml, found.plan.persistent_xml):
        assert domainxml.sockets(planned) == {}
        assert domainxml.parse_domain(planned).find("devices/channel/source") is None
    assert [finding.code for finding in run(OF_MOVE, found)] == ["socket-moved"]
    connects = case(proposal(xml(device=channel.replace("bind", "connect"))))
    assert run(OF_MOVE, connects)[0].code == "device-forbidden"


TARGET, OTHER = "<target dev='vda'", "<target dev='vdb'"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"vm": "web02"}, "of another VM"),
        ({"uuid": UUIDS[0]}, "of another VM"),
        ({"domain": xml(top="<name>web02</name>")}, "it has 2 <name>"),
        ({"domain": xml(top=f"<uuid>{UUIDS[0]}</uuid>")}, "it has 2 <uuid>"),
        ({"domain": xml().replace("<name>web01", "<name> web01")}, "of another VM"),
        ({"domain": xml().replace(UUID, UUID.upper())}, "of another VM"),
        ({"persistent": xml().replace(UUID, f" {UUID}")}, "of another VM"),
        ({"domain": xml().replace("1024</memory>", "1500</memory>")}, "another amount of memory"),
        ({"domain": xml().replace("</devices>", DIMM + "</devices>")}, "another amount of memory"),
        ({"domain": xml().replace(TARGET, OTHER)}, "a disk vda that the XML does not have"),
        (
            {"domain": xml().replace(PATH, "/images/db01.qcow2")},
            "a disk vda that the XML does not have",
        ),
        ({"domain": xml().replace(TARGET, f"<readonly/>{TARGET}")}, "lets the VM write to it otherwise"),
        ({"domain": xml().replace("type='qcow2'", "type='raw'")}, "another format of the disk vda"),
        ({"disks": [DISK.model_copy(update={"readonly": True})]}, "lets the VM write to it otherwise"),
        ({"disks": [DISK, DISK]}, "a disk is offered twice"),
        ({"disks": [DISK, DISK.model_copy(update={"target": "vdb"})]}, "a disk vdb that the XML does not have"),
    ],
)
def test_what_the_source_says_of_a_vm_is_what_its_xml_says(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        case(proposal(**changes))
