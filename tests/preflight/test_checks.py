"""Every check: silent when all is well, and one fault for each code."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.preflight.make import (
    DISK,
    MEDIUM,
    ON,
    PATH,
    PLACE,
    READ_ONLY,
    THERE,
    UUID,
    UUIDS,
    VM,
    case,
    end,
    proposal,
    xml,
)

from vmferry.core.codes import carried as carried_codes
from vmferry.core.codes import checks as check_codes
from vmferry.core.codes import doctor as doctor_codes
from vmferry.core.codes import needs as needs_codes
from vmferry.core.errors import Code, Exit, VmferryError
from vmferry.core.kinds import SUSPENDED
from vmferry.core.libvirt import domainxml
from vmferry.core.libvirt.displays import Obstacle
from vmferry.core.messages.finding import Finding, Severity, blocker
from vmferry.core.messages.offer import Artifact, MoveOptions
from vmferry.core.messages.snapshot import DiskTarget, Resources
from vmferry.core.messages.vm import Contents, Later, Unmovable
from vmferry.core.options import Encryption
from vmferry.core.policy.networks import Network
from vmferry.core.policy.settings import HostSettings, Protection
from vmferry.preflight import checks as all_checks
from vmferry.preflight.case import Case, DataRoute, run
from vmferry.preflight.checks import OF_HOST, OF_MOVE, OF_ROUTE, OF_VM

PASSED_ON = "<hostdev mode='subsystem' type='pci'><source><address bus='1'/></source></hostdev>"
OTHER = DISK.model_copy(update={"target": "vdb", "path": "/var/lib/libvirt/images/b/web01.qcow2"})
STORAGE = MoveOptions(include_storage=True)


NVRAM = DiskTarget(target="nvram", path="/var/lib/libvirt/qemu/nvram/web01_VARS.fd")
VARIABLES = (
    "<loader readonly='yes' type='pflash'>/usr/share/OVMF/a.fd</loader>"
    f"<nvram template='/usr/share/OVMF/v.fd'>{NVRAM.path}</nvram>"
)


TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
VSOCK = "<vsock model='virtio'><cid auto='no' address='7'/></vsock>"


def needing(domain: str, **resources: Any) -> Case:
    """Give the case of a host that has just these of what VMs take for granted."""
    return case(proposal(domain), resources=Resources(**resources))


def with_card(part: str) -> str:
    return xml().replace("<model type='virtio'/></interface>", f"<model type='virtio'/>{part}</interface>")


def with_disks(*disks: Artifact, **options: Any) -> Any:
    """Offer the VM with disks, all of one folder and name there."""
    more = "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disk.path}'/>"
        f"<target dev='{disk.target}' bus='virtio'/></disk>"
        for disk in disks[1:]
    )
    return proposal(xml(device=more), disks=list(disks), options=MoveOptions(include_storage=True, **options))


VIDEO = "<video><model type='virtio'{}</video>"
ONLY = HostSettings(
    migration=True,
    encryption=Protection.OPTIONAL,
    any_network=False,
    networks=[Network(subnet="10.20.0.0/24")],
)
HOST_FAULTS: list[tuple[str, HostSettings]] = [
    ("migration-disabled", ONLY.model_copy(update={"migration": False})),
    ("encryption-required", ONLY.model_copy(update={"encryption": Protection.REQUIRED})),
    ("migration-network-missing", ONLY.model_copy(update={"networks": [Network(subnet="10.30.0.0/24")]})),
    ("migration-network-missing", ONLY.model_copy(update={"networks": []})),
]
VM_FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("vm-not-running", {"state": "paused"}),
    ("vm-busy", {"moved_by": "0123456789ab", "job": "a migration"}),
    ("vm-in-use", {"job": "a backup"}),
    ("disk-has-block-job", {"block_jobs": {"vda": "a block copy"}}),
    ("vm-has-saved-state", {"managed_save": True}),
    ("vm-has-snapshots", {"snapshots": 2}),
    ("vm-has-snapshots", {"checkpoints": 1}),
    ("disk-unsupported", {"unmovable": {"vdb": Unmovable(why="it is a block disk", advice="copy it")}}),
    ("disk-file-missing", {"unmovable": {"sda": Unmovable(why="a.iso is gone", advice="Eject it", missing=True)}}),
    ("definition-disk-unsupported", {"later": {"vdb": Later(path="/dev/sdz", why="it is a block disk")}}),
    (
        "vm-not-migratable",
        {"live_xml": xml().replace("</model>", "</model><feature policy='require' name='invtsc'/>")},
    ),
    ("vm-not-migratable", {"live_xml": xml().replace("match='exact'", "match='exact' migratable='off'")}),
    ("vm-not-migratable", {"live_xml": xml().replace("<target dev='vda'", "<transient/><target dev='vda'")}),
    ("vm-not-migratable", {"live_xml": xml(device="<memory model='dimm'><target/></memory>")}),
    ("vm-not-migratable", {"live_xml": xml(device=VIDEO.format("><acceleration accel3d='yes'/></model>"))}),
    ("vm-not-migratable", {"live_xml": xml(device=VIDEO.format(" blob='on'/>"))}),
    ("vm-not-migratable", {"lock_manager": "sanlock"}),
    ("disk-bitmap-name", {"contents": {"vda": Contents(bitmaps=["b" * 244])}}),
    ("disk-replaced", {"replaced": ["vda"]}),
]
FAULTS: list[tuple[str, Severity, Case]] = [
    ("same-host-uuid", Severity.BLOCKS, case(there={"uuid": UUIDS[1]})),
    ("same-hostname", Severity.WARNS, case(there={"hostname": "kvm2"})),
    ("name-taken", Severity.BLOCKS, case(names={"u-8": "web01"})),
    ("name-taken", Severity.BLOCKS, case(names={UUID: "web01"})),
    ("uuid-taken", Severity.BLOCKS, case(names={UUID: "old-web01"})),
    ("machine-unknown", Severity.BLOCKS, case(machines=["pc-q35-6.2"])),
    ("machine-unknown", Severity.BLOCKS, case(machines=None)),
    ("qemu-newer", Severity.WARNS, case(qemu=10_000_002)),
    ("qemu-older", Severity.WARNS, case(there={"qemu": 10_000_002})),
    ("libvirt-older", Severity.WARNS, case(there={"libvirt": 11_003_000})),
    ("cpu-incompatible", Severity.BLOCKS, case(cpu_refusal="Host CPU does not provide required features: avx2")),
    (
        "cpu-no-way-back",
        Severity.WARNS,
        case(proposal(persistent=xml().replace("mode='custom'", "mode='host-model'")), cpu_same=False),
    ),
    (
        "definition-chain-closed",
        Severity.WARNS,
        case(places=[PLACE.model_copy(update={"shared": True})]),
    ),
    (
        "disk-volume-becomes-file",
        Severity.WARNS,
        case(
            proposal(
                xml()
                .replace("<disk type='file'", "<disk type='volume'")
                .replace(f"<source file='{PATH}'/>", "<source pool='default' volume='web01.qcow2'/>"),
                definition={"vda": "vda"},
            )
        ),
    ),
    (
        "emulator-other",
        Severity.WARNS,
        case(
            proposal(xml().replace("/usr/bin/qemu-system-x86_64", "/usr/bin/kvm-spice")),
            emulators=["/usr/bin/qemu-system-x86_64"],
            emulator="/usr/bin/qemu-system-x86_64",
        ),
    ),
    (
        "socket-moved",
        Severity.WARNS,
        case(
            proposal(
                xml(
                    device="<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/web01.agent'/>"
                    "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
                )
            )
        ),
    ),
    ("amount-excessive", Severity.BLOCKS, case(proposal(xml(top="<iothreads>129</iothreads>")))),
    ("memory-short", Severity.BLOCKS, case(memory=(1 << 30) - 1)),
    (
        "huge-pages-short",
        Severity.BLOCKS,
        case(proposal(xml(top="<memoryBacking><hugepages/></memoryBacking>"))),
    ),
    (
        "boot-file-missing",
        Severity.BLOCKS,
        case(proposal(xml(os="<kernel>/usr/share/OVMF/k</kernel>")), missing_files=["/usr/share/OVMF/k"]),
    ),
    (
        "boot-file-missing",
        Severity.WARNS,
        case(
            proposal(persistent=xml(os="<loader>/usr/share/OVMF/b.fd</loader>")), missing_files=["/usr/share/OVMF/b.fd"]
        ),
    ),
    (
        "firmware-variables-exist",
        Severity.BLOCKS,
        case(proposal(xml(os=VARIABLES)), variables=NVRAM.model_copy(update={"taken": True})),
    ),
    *(
        (
            "firmware-variables-unplaced",
            Severity.BLOCKS,
            case(proposal(xml(os=VARIABLES)), variables=NVRAM.model_copy(update={what: False})),
        )
        for what in ("folder_exists", "allowed", "writable")
    ),
    (
        "definition-variables-differ",
        Severity.WARNS,
        case(proposal(xml(os=VARIABLES), xml(os=VARIABLES.replace("_VARS", ""))), variables=NVRAM),
    ),
    (
        "tpm-missing",
        Severity.BLOCKS,
        case(proposal(xml(device="<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>")), tpm=False),
    ),
    (
        "tpm-state-stays",
        Severity.WARNS,
        case(proposal(xml(device=TPM.replace("version", "persistent_state='yes' version")))),
    ),
    ("tpm-missing", Severity.WARNS, case(proposal(persistent=xml(device=TPM)), tpm=False)),
    ("cpus-missing", Severity.BLOCKS, needing(xml(top="<vcpu cpuset='8-9'>1</vcpu>"), cpus={0, 1})),
    (
        "cpus-missing",
        Severity.WARNS,
        needing(xml(top="<cputune><vcpupin vcpu='0' cpuset='1-2'/></cputune>"), cpus={0, 1}),
    ),
    ("network-filter-missing", Severity.BLOCKS, needing(with_card("<filterref filter='clean'/>"), filters=["other"])),
    (
        "network-portgroup-missing",
        Severity.WARNS,
        needing(xml().replace("network='default'", "network='default' portgroup='dmz'"), portgroups={"default": []}),
    ),
    ("interface-name-taken", Severity.BLOCKS, needing(xml().replace("vnet0", "lan7"), interfaces=["lo", "lan7"])),
    ("mac-taken", Severity.WARNS, needing(xml(), macs={"52:54:00:93:00:01": "db01"})),
    ("vsock-cid-taken", Severity.BLOCKS, needing(xml(device=VSOCK), cids={7: ("db01", True)})),
    ("vsock-cid-taken", Severity.WARNS, needing(xml(device=VSOCK), cids={7: ("db01", False)})),
    ("device-node-missing", Severity.BLOCKS, needing(xml(device=VSOCK), missing_nodes=["/dev/vhost-vsock"])),
    (
        "confinement-missing",
        Severity.BLOCKS,
        case(proposal(xml().replace("</domain>", "<seclabel type='dynamic' model='selinux'/></domain>"))),
    ),
    ("network-missing", Severity.BLOCKS, case(networks={})),
    (
        "definition-network-missing",
        Severity.WARNS,
        case(proposal(persistent=xml(device="<interface type='network'><source network='lan'/></interface>"))),
    ),
    ("network-missing", Severity.BLOCKS, case(bridges=["br1"])),
    (
        "display-port-taken",
        Severity.BLOCKS,
        case(displays=[Obstacle("vnc", "127.0.0.1", 5950, "VM db01")]),
    ),
    ("display-address-missing", Severity.BLOCKS, case(displays=[Obstacle("vnc", "192.0.2.1", 5950, "")])),
    ("network-inactive", Severity.BLOCKS, case(networks={"default": False})),
    ("disk-not-shared", Severity.BLOCKS, case(proposal(options=MoveOptions()))),
    (
        "storage-path-missing",
        Severity.BLOCKS,
        case(places=[PLACE.model_copy(update={"folder_exists": False})]),
    ),
    ("storage-path-forbidden", Severity.BLOCKS, case(places=[PLACE.model_copy(update={"allowed": False})])),
    ("storage-full", Severity.BLOCKS, case(places=[PLACE.model_copy(update={"free": 1 << 30})])),
    ("disk-exists", Severity.BLOCKS, case(places=[PLACE.model_copy(update={"taken": True})])),
    (
        "shared-disk-in-use",
        Severity.BLOCKS,
        case(
            proposal(domainxml.with_ends(xml(), ["vda"])),
            places=[PLACE.model_copy(update={"shared": True, "used": "its disk vda, VM db01"})],
        ),
    ),
    (
        "disk-path-unusable",
        Severity.BLOCKS,
        case(places=[PLACE.model_copy(update={"path": "/var/lib/libvirt/images/.vmferry-1-vda"})]),
    ),
    (
        "medium-differs",
        Severity.BLOCKS,
        case(
            proposal(READ_ONLY, disks=[MEDIUM]),
            places=[PLACE.model_copy(update={"taken": True, "differs": "it has another size"})],
        ),
    ),
    (
        "storage-path-unwritable",
        Severity.BLOCKS,
        case(places=[PLACE.model_copy(update={"writable": False})]),
    ),
    (
        "storage-path-unreachable",
        Severity.WARNS,
        case(places=[PLACE.model_copy(update={"reachable": False})]),
    ),
    (
        "storage-no-direct-io",
        Severity.BLOCKS,
        case(
            proposal(xml().replace("type='qcow2'", "type='qcow2' cache='none'")),
            places=[PLACE.model_copy(update={"direct": False})],
        ),
    ),
    ("device-forbidden", Severity.BLOCKS, case(proposal(xml(os="<kernel>/etc/shadow</kernel>")))),
    ("libvirt-refused", Severity.BLOCKS, case(refusal="unsupported configuration: no such sound card")),
    ("vmferry-differs", Severity.WARNS, case(there={"vmferry": "0.9.0"})),
    ("clock-differs", Severity.WARNS, case(clock=1030.0)),
    ("clock-differs", Severity.WARNS, case(clock=970.0)),
    ("apparmor-rules-missing", Severity.WARNS, case(confinement_rules=False)),
    (
        "apparmor-rules-missing",
        Severity.WARNS,
        case(there={"confinement": ["apparmor"], "confinement_rules": False}),
    ),
    ("selinux-untried", Severity.WARNS, case(confinement=["selinux", "dac"])),
    (
        "emulated-guest-loses-writes",
        Severity.WARNS,
        case(proposal(xml().replace("type='kvm'", "type='qemu'"))),
    ),
]
APART = {
    "disks-same-path",  # of two disks
    "definition-drive-differs",  # these warn, unlike all others of the VM itself
    "definition-disk-differs",
    "disk-bitmaps-stay",
    "device-host-bound",  # what no other host has is no longer harmless to this one's policy either
    "migration-network-not-common",
}


def codes_of(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def test_where_all_is_well_nothing_is_found() -> None:
    for source in (True, False):
        assert run(OF_HOST, end(ON, source=source)) == []
        assert run(OF_HOST, end(ONLY, source=source, encryption=Encryption.OFF)) == []
    assert run(OF_VM, VM) == []
    assert run(OF_MOVE, case()) == []
    assert run(OF_ROUTE, DataRoute(end(ONLY), "kvm2", ["10.30.0.2", "10.20.0.2"])) == []
    assert run(OF_ROUTE, DataRoute(end(), "kvm2", ["10.30.0.2"])) == []


@pytest.mark.parametrize("source", [True, False])
@pytest.mark.parametrize(("code", "settings"), HOST_FAULTS)
def test_a_fault_of_one_hosts_settings(code: str, settings: HostSettings, source: bool) -> None:
    (found,) = run(OF_HOST, end(settings, source=source, encryption=Encryption.OFF))
    assert (found.code, found.severity) == (code, Severity.BLOCKS)
    assert (bool(found.source), bool(found.destination)) == (source, not source)
    assert ("kvm1" if source else "kvm2") in found.detail
    assert "{" not in found.detail + found.remedy


def test_hosts_that_share_no_network() -> None:
    (found,) = run(OF_ROUTE, DataRoute(end(ONLY), "kvm2", ["10.30.0.2", "kvm2.example"]))
    assert (found.code, found.severity) == ("migration-network-not-common", Severity.BLOCKS)
    assert (found.source, found.destination) == ("10.20.0.0/24", "10.30.0.2, kvm2.example")


@pytest.mark.parametrize(("code", "change"), VM_FAULTS)
def test_a_fault_of_the_vm_itself(code: str, change: dict[str, Any]) -> None:
    (found,) = run(OF_VM, VM.model_copy(update=change))
    assert (found.code, found.severity) == (code, Severity.BLOCKS)
    assert found.source
    assert "{" not in found.detail + found.remedy


@pytest.mark.parametrize(
    ("state", "reason", "command"),
    [
        ("paused", "", "virsh resume 'web 01'"),
        ("paused", "I/O error", "virsh domblkerror 'web 01'"),
        ("paused", "crashed", "virsh destroy 'web 01'"),
        ("suspended", "", "virsh dompmwakeup 'web 01'"),
        ("shut off", "", "virsh start 'web 01'"),
        ("crashed", "", "virsh start 'web 01'"),
        ("shutting down", "", "virsh start 'web 01'"),
        ("no state", "", "virsh domstate --reason 'web 01'"),
    ],
)
def test_a_vm_that_does_not_run_is_brought_to_run_by_what_it_is(state: str, reason: str, command: str) -> None:
    (found,) = run(OF_VM, VM.model_copy(update={"name": "web 01", "state": state, "reason": reason}))
    assert f"`{command}`" in found.remedy


@pytest.mark.parametrize(
    ("later", "code", "command"),
    [
        (
            Later(path="/iso/one.iso", drive=True),
            "definition-drive-differs",
            "virsh change-media web01 sda --eject --config",
        ),
        (Later(path="/a/next.qcow2"), "definition-disk-differs", "virsh detach-disk web01 sda --config"),
    ],
)
def test_what_only_the_definition_has_is_named_and_keeps_nothing(later: Later, code: str, command: str) -> None:
    (found,) = run(OF_VM, VM.model_copy(update={"later": {"sda": later}}))
    assert (found.code, found.severity) == (code, Severity.WARNS)
    assert later.path in found.detail
    assert f"`{command}`" in found.remedy


def test_what_of_bitmaps_is_not_carried_is_named_and_no_more() -> None:
    held = Contents(bitmaps=["full", "b" * 243, "c" * 300], idle_bitmaps=["full", "c" * 300])
    (found,) = run(OF_VM, VM.model_copy(update={"contents": {"vda": held}}))
    assert (found.code, found.severity) == ("disk-bitmaps-stay", Severity.WARNS)
    assert "full" in found.detail
    assert run(OF_VM, VM.model_copy(update={"lock_manager": "lockd"})) == []
    # A file that is copied as it is has all of them.
    whole = VM.model_copy(update={"disks": [MEDIUM], "contents": {"vda": held}})
    assert run(OF_VM, whole) == []


def test_what_is_there_or_is_chosen_anew_there_is_no_finding() -> None:
    there = Resources(
        cpus=frozenset({0, 1}), filters=["clean"], interfaces=["vnet0", "macvtap1"], cids={7: ("db01", True)}
    )
    vm = with_card("<filterref filter='clean'/>").replace("<os>", "<vcpu cpuset='0-3,^2-3'>1</vcpu><os>")
    vm = vm.replace("</devices>", VSOCK.replace("auto='no'", "auto='yes'") + "</devices>")
    labelled = "<seclabel type='dynamic' model='apparmor'/><seclabel type='none' model='none'/></domain>"
    assert "confinement-missing" not in codes_of(run(OF_MOVE, case(proposal(vm.replace("</domain>", labelled)))))
    assert run(OF_MOVE, case(proposal(vm), resources=there)) == []


def test_a_bridge_of_open_vswitch_is_none_of_the_kernels() -> None:
    port = "<source bridge='br-int'/><virtualport type='openvswitch'/>"
    vm = xml().replace("<source bridge='br0'/>", port)
    assert codes_of(run(OF_MOVE, case(proposal(vm)))) == ["network-missing"]
    assert run(OF_MOVE, case(proposal(vm), resources=Resources(interfaces=["br-int"]))) == []


def test_a_device_of_the_host_in_the_definition_alone_is_taken_out_there() -> None:
    found = run(OF_MOVE, case(proposal(persistent=xml(device=PASSED_ON))))
    assert codes_of(found) == ["device-host-bound", "device-forbidden"]
    assert "`virsh detach-device web01 FILE --config`" in found[0].remedy


def test_a_steady_clock_lets_a_vm_with_invtsc_move() -> None:
    steady = xml(top="<clock offset='utc'><timer name='tsc' frequency='2000000000'/></clock>")
    with_it = steady.replace("</model>", "</model><feature policy='require' name='invtsc'/>")
    assert run(OF_VM, VM.model_copy(update={"live_xml": with_it})) == []


@pytest.mark.parametrize(("code", "severity", "fault"), FAULTS)
def test_a_fault_of_the_move(code: str, severity: Severity, fault: Case) -> None:
    (found,) = run(OF_MOVE, fault)
    assert (found.code, found.severity) == (code, severity)
    assert found.source or found.destination
    assert "{" not in found.detail + found.remedy


def test_each_code_of_a_check_has_a_test() -> None:
    causes: set[Code] = set()
    for checks in (OF_HOST, OF_VM, OF_MOVE, OF_ROUTE):
        causes |= {code for check in checks for code in check.causes}
    tested = {code for code, _ in [*HOST_FAULTS, *VM_FAULTS]} | {code for code, _, _ in FAULTS}
    assert {code.name for code in causes} == tested | APART


# What a lab on one machine cannot make: another clock, other kernel modules, older programs, a slow libvirt.
NOT_IN_THE_LAB = {
    "clock-differs",
    "apparmor-rules-missing",
    "selinux-untried",
    "libvirt-too-old",
    "qemu-too-old",
    "dirty-rate-unmeasured",
}


def test_each_code_is_seen_in_the_lab_or_cannot_be() -> None:
    lists = [some for name, some in vars(all_checks).items() if name.startswith("OF_")]
    known = {code for some in lists for check in some for code in check.causes}
    for module in (carried_codes, check_codes, doctor_codes, needs_codes):
        known |= {code for code in vars(module).values() if isinstance(code, Code)}
    text = "".join(file.read_text() for file in (Path(__file__).parents[1] / "lab").rglob("test_*.py"))
    assert {code.name for code in known if f'"{code.name}"' not in text} == NOT_IN_THE_LAB


@pytest.mark.parametrize(
    "device",
    [
        PASSED_ON,
        "<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>",
        "<filesystem type='mount'><driver type='virtiofs'/><source dir='/srv'/><target dir='srv'/></filesystem>",
        "<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>",
        "<serial type='dev'><source path='/dev/ttyS0'/></serial>",
    ],
)
def test_a_device_of_the_host_is_named(device: str) -> None:
    found = run(OF_MOVE, case(proposal(xml(device=device))))
    assert codes_of(found) == ["device-host-bound", "device-forbidden"]


def test_a_disk_that_is_shared_needs_neither_storage_nor_room() -> None:
    shared = PLACE.model_copy(update={"shared": True, "taken": True, "free": 0, "writable": False})
    closed = domainxml.with_ends(xml(), ["vda"])
    assert run(OF_MOVE, case(proposal(closed, options=MoveOptions()), places=[shared])) == []


def test_a_folder_that_is_not_allowed_is_told_once() -> None:
    options = MoveOptions(include_storage=True, storage_path="/etc")
    place = PLACE.model_copy(update={"path": "/etc/web01.qcow2", "allowed": False})
    assert codes_of(run(OF_MOVE, case(proposal(options=options), places=[place]))) == ["storage-path-forbidden"]


def test_two_disks_need_room_for_both() -> None:
    places = [
        PLACE.model_copy(update={"free": 3 << 30}),
        PLACE.model_copy(update={"target": "vdb", "path": OTHER.path, "free": 3 << 30}),
    ]
    (found,) = run(OF_MOVE, case(with_disks(DISK, OTHER), places=places))
    assert (found.code, found.fields["disk"], found.fields["needed"]) == ("storage-full", "vdb", 4 << 30)
    apart = [places[0], places[1].model_copy(update={"device": 2})]
    assert run(OF_MOVE, case(with_disks(DISK, OTHER), places=apart)) == []


def test_two_disks_cannot_have_one_path() -> None:
    places = [PLACE, PLACE.model_copy(update={"target": "vdb"})]
    found = run(OF_MOVE, case(with_disks(DISK, OTHER), places=places))
    assert codes_of(found) == ["disks-same-path"]
    assert "vda and vdb" in found[0].detail
    assert "--disk vdb=PATH" in found[0].remedy


def test_huge_pages_that_are_free_will_do() -> None:
    pages = "<memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages></memoryBacking>"
    assert run(OF_MOVE, case(proposal(xml(top=pages)), huge_pages={1 << 30: 1 << 30}, memory=0)) == []


def test_a_release_more_or_less_is_no_difference() -> None:
    assert run(OF_MOVE, case(qemu=7_002_019, there={"qemu": 7_002_022})) == []
    assert run(OF_MOVE, case(libvirt=11_003_000)) == []


def test_a_cpu_of_its_own_can_come_back_from_anywhere() -> None:
    assert run(OF_MOVE, case(cpu_same=False)) == []


def test_a_cpu_that_libvirt_is_not_to_check_does_not_block() -> None:
    unchecked = xml().replace("match='exact'", "match='exact' check='none'")
    (found,) = run(OF_MOVE, case(proposal(unchecked), cpu_refusal="Host CPU does not provide avx2"))
    assert (found.code, found.severity) == ("cpu-incompatible", Severity.WARNS)


def test_an_emulated_guest_that_flushes_its_translations_is_safe() -> None:
    safe = xml(os="<cmdline>quiet pti=on</cmdline>").replace("type='kvm'", "type='qemu'")
    assert run(OF_MOVE, case(proposal(safe))) == []


def test_what_blocks_comes_first_and_gives_the_error_of_the_move() -> None:
    found = run(OF_MOVE, case(there={"hostname": "kvm2"}, networks={}))
    assert codes_of(found) == ["network-missing", "same-hostname"]
    first = blocker(found)
    assert first is found[0]
    error = first.error()
    assert (error.code.name, error.exit_code, error.reason) == ("network-missing", Exit.PREFLIGHT, first.detail)
    assert blocker(found[1:]) is None
    assert VmferryError.from_problem(error.problem()).reason == first.detail


@given(st.floats(min_value=1, max_value=2e9), st.floats(min_value=1, max_value=2e9))
def test_clocks_are_compared_both_ways(here: float, there: float) -> None:
    host = THERE.model_copy(update={"clock": there})
    found = run(OF_MOVE, case(proposal(host=host), clock=here))
    assert codes_of(found) == (["clock-differs"] if abs(here - there) > 5 else [])


def test_remedy_of_a_missing_network_names_the_vms_own() -> None:
    options = MoveOptions(include_storage=True, map_networks={"br0": "br-dmz"})
    found = blocker(run(OF_MOVE, case(proposal(options=options))))
    assert found is not None
    assert found.detail == "kvm2 has no network or bridge br-dmz, which web01 needs."
    assert "--map-network br0=NAME" in found.remedy
    assert "--map-network br0=none" in found.remedy


def test_a_vm_that_somebody_suspended_is_moved_as_it_is() -> None:
    assert list(run(OF_VM, VM.model_copy(update={"state": "paused", "reason": SUSPENDED}))) == []
