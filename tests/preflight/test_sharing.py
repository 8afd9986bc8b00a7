"""What a VM's files are to others: what blocks a move, what only stays."""

from typing import Any

import pytest
from tests.preflight.make import DISK, VM

from vmferry.core.kinds import CopiedBy
from vmferry.core.messages.finding import Finding, Severity
from vmferry.core.messages.offer import ArtifactPlan, MoveOptions
from vmferry.core.messages.use import By, Surroundings, Use
from vmferry.core.messages.vm import Contents, VmSnapshot
from vmferry.preflight.case import run
from vmferry.preflight.checks import OF_LEAVING, OF_VM
from vmferry.preflight.vm.sharing import Leaving

COPIED = ArtifactPlan(target="vda", path=DISK.path, shared=False, copied_by=CopiedBy.MIRROR)
SHARED = ArtifactPlan(target="vda", path=DISK.path, shared=True, copied_by=CopiedBy.NONE)
BY_VM = Surroundings(uses={DISK.path: [Use(by=By.VM, name="db01", role="a backing file of disk vda")]})
BY_IMAGE = Surroundings(uses={DISK.path: [Use(by=By.IMAGE, name="/srv/clone.qcow2", role="the backing file")]})
UNKNOWN = Surroundings(unknown=["VM db01: no answer"])


def find(
    plan: ArtifactPlan = COPIED, *, entry: str = "", device: str = "disk", vm: Any = None, **options: Any
) -> list[Finding]:
    domain = VM.live_xml.replace("<target dev='vda'", f"{entry}<target dev='vda'")
    seen: VmSnapshot = VM.model_copy(update={"live_xml": domain.replace("device='disk'", f"device='{device}'")})
    seen = seen.model_copy(update=vm or {})
    found = run(OF_LEAVING, Leaving(seen, [plan], MoveOptions(include_storage=True, **options), "kvm2"))
    assert all("{" not in finding.detail + finding.remedy for finding in found)
    return found


def said(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity.value) for finding in findings]


def test_a_disk_of_the_vms_own_is_no_matter() -> None:
    assert find() == []
    assert find(SHARED) == []


def test_a_shareable_disk_needs_both_hosts_to_see_it() -> None:
    assert said(find(entry="<shareable/>")) == [("disk-shareable", "blocks")]
    assert said(find(entry="<shareable/>", keep_source_disks=True)) == [("disk-shareable", "blocks")]
    assert find(SHARED, entry="<shareable/>") == []


def test_what_another_vm_uses_blocks_unless_it_is_to_stay() -> None:
    (found,) = find(vm={"around": BY_VM})
    assert (found.code, found.severity) == ("disk-used-elsewhere", Severity.BLOCKS)
    assert "a backing file of disk vda of VM db01" in found.detail
    assert said(find(vm={"around": BY_VM}, keep_source_disks=True)) == [("disk-used-elsewhere", "warns")]
    assert find(SHARED, vm={"around": BY_VM}) == []


@pytest.mark.parametrize("around", [BY_IMAGE, UNKNOWN])
def test_what_an_image_uses_or_what_is_not_known_stays(around: Surroundings) -> None:
    (found,) = find(vm={"around": around})
    assert (found.code, found.severity) == ("disk-stays", Severity.WARNS)
    assert find(vm={"around": around}, keep_source_disks=True) == []


@pytest.mark.parametrize(("device", "entry"), [("cdrom", ""), ("floppy", ""), ("disk", "<readonly/>")])
def test_a_medium_in_several_drives_stays_and_blocks_nothing(device: str, entry: str) -> None:
    assert find(vm={"around": BY_VM}, device=device, entry=entry) == []
    found = find(vm={"around": BY_VM}, device=device, entry=entry, remove_source_media=True)
    assert said(found) == [("disk-stays", "warns")]


def test_snapshots_inside_an_image_are_named() -> None:
    inside = {"contents": {"vda": Contents(snapshots=["clean", "before-upgrade"])}}
    (found,) = find(vm=inside)
    assert (found.code, found.severity) == ("disk-has-snapshots", Severity.BLOCKS)
    assert "clean, before-upgrade" in found.detail
    assert said(find(vm=inside, keep_source_disks=True)) == [("disk-has-snapshots", "warns")]
    assert find(SHARED, vm=inside) == []
    assert find(vm=inside | {"snapshots": 2}) == [], "libvirt knows of them: vm-has-snapshots"


def test_a_link_is_named_with_its_file() -> None:
    (found,) = find(vm={"links": {"vda": "/data/real.qcow2"}})
    assert (found.code, found.severity) == ("disk-is-link", Severity.WARNS)
    assert "/data/real.qcow2" in found.detail


@pytest.mark.parametrize(
    ("device", "change", "code", "command"),
    [
        ("cdrom", {"replaced": ["vda"]}, "disk-replaced", "change-media web01 vda --eject"),
        ("disk", {"replaced": ["vda"]}, "disk-replaced", "blockcopy web01 vda"),
    ],
)
def test_a_file_that_only_qemu_has_still_open(device: str, change: dict[str, Any], code: str, command: str) -> None:
    domain = VM.live_xml.replace("device='disk'", f"device='{device}'")
    (found,) = run(OF_VM, VM.model_copy(update={"live_xml": domain} | change))
    assert (found.code, found.severity) == (code, Severity.BLOCKS)
    assert command in found.remedy


def test_a_disk_of_the_definition_alone_that_another_vm_may_write_to_is_not_copied() -> None:
    idle = DISK.model_copy(update={"target": "next-vdb", "path": "/a/next.qcow2", "idle": True})
    used = Surroundings(uses={idle.path: [Use(by=By.VM, name="db01", role="its disk vda")]})
    plan = ArtifactPlan(target=idle.target, path=idle.path, shared=False, copied_by=CopiedBy.FILE)
    (found,) = find(plan, vm={"disks": [idle], "around": used})
    assert (found.code, found.severity) == ("definition-disk-unsupported", Severity.BLOCKS)
    assert "its disk vda of VM db01" in found.detail
    assert "`virsh detach-disk web01 vdb --config`" in found.remedy
    assert find(plan, vm={"disks": [idle]}) == []
    assert find(plan.model_copy(update={"shared": True}), vm={"disks": [idle], "around": used}) == []
