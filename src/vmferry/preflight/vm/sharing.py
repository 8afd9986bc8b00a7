"""Who else uses the source's files, and which of them a move would leave behind.

Only the destination can tell which disks both hosts see; only the source knows who else uses their files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vmferry.core import codes
from vmferry.core.libvirt import domainxml
from vmferry.core.libvirt.domainxml import DiskEntry
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import Artifact, ArtifactPlan, MoveOptions
from vmferry.core.messages.use import By
from vmferry.core.messages.vm import VmSnapshot
from vmferry.preflight.case import Check


@dataclass(frozen=True, slots=True)
class Leaving:
    """A VM that is to leave a host, as that host sees it.

    Arguments:
        vm: with who else uses its files.
        plans: what the destination would do with each disk.
        options: of the move.
        destination: the destination's name.
    """

    vm: VmSnapshot
    plans: Sequence[ArtifactPlan]
    options: MoveOptions
    destination: str


def _sharing(case: Leaving) -> Iterator[Finding]:
    vm = case.vm
    shared = {plan.target for plan in case.plans if plan.shared}
    entries = {entry.target: entry for entry in domainxml.disks(vm.live_xml)}
    for disk in vm.disks:
        entry = entries.get(disk.target)
        if disk.idle and disk.target not in shared:
            yield from _idle(vm, disk)
        if disk.target not in shared and entry is not None:
            yield from _copied(case, disk, entry)


def _idle(vm: VmSnapshot, disk: Artifact) -> Iterator[Finding]:
    """Find that a disk of the definition alone may be written to while it is copied."""
    uses = [use for use in vm.around.uses.get(disk.path, []) if use.by is By.VM]
    if uses:
        why = f"it is {' and '.join(str(use) for use in uses)}"
        names = {"vm": vm.name, "disk": disk.target.removeprefix("next-"), "path": disk.path, "host": vm.host}
        yield Finding.blocks(codes.DEFINED_DISK_UNSUPPORTED, (f"{disk.path}: {why}", ""), why=why, **names)


def _copied(case: Leaving, disk: Artifact, entry: DiskEntry) -> Iterator[Finding]:
    vm, keep = case.vm, case.options.keep_source_disks
    names = {"vm": vm.name, "host": vm.host, "disk": disk.target, "path": disk.path}
    uses = vm.around.uses.get(disk.path, [])
    by_vms = [use for use in uses if use.by is By.VM]
    said = " and ".join(str(use) for use in uses)
    if entry.shareable and not entry.medium:
        yield Finding.blocks(codes.DISK_SHAREABLE, ("<shareable/>", "not seen"), there=case.destination, **names)
    elif by_vms and not entry.medium:
        make = Finding.warns if keep else Finding.blocks
        yield make(codes.DISK_USED, (said, ""), uses=said, **names)
    elif _would_go(case, entry) and (uses or vm.around.unknown):
        why = said and f"it is {said}"
        why = why or f"whether somebody else uses it is not known ({'; '.join(vm.around.unknown[:3])})"
        yield Finding.warns(codes.DISK_STAYS, (said or "unknown", ""), why=why, **names)
    snapshots = vm.contents[disk.target].snapshots if disk.target in vm.contents else []
    if snapshots and not vm.snapshots:  # those that libvirt knows of block already, by their own code
        make = Finding.warns if keep or not _would_go(case, entry) else Finding.blocks
        yield make(codes.DISK_SNAPSHOTS, (f"{len(snapshots)} snapshots", ""), names=", ".join(snapshots), **names)
    if disk.target in vm.links and _would_go(case, entry):
        file = vm.links[disk.target]
        yield Finding.warns(codes.DISK_LINK, (f"{disk.path} -> {file}", ""), file=file, there=case.destination, **names)


def _would_go(case: Leaving, entry: DiskEntry) -> bool:
    """Return whether the file would be removed here, if no one else uses it."""
    return not case.options.keep_source_disks and (not entry.medium or case.options.remove_source_media)


SHARING = Check(
    _sharing,
    {
        codes.DISK_SHAREABLE: "VMs that write to one disk at the same time (a cluster) need the same disk.",
        codes.DISK_USED: "A disk of another VM's definition, or a backing file of another VM's disk, would be "
        "missing on the source after "
        "the move, and would no longer change with the VM that has left.",
        codes.DISK_STAYS: "A file that others use, or may use, is never removed.",
        codes.DISK_SNAPSHOTS: "Snapshots inside an image (`qemu-img snapshot`) are not copied with its content.",
        codes.DISK_LINK: "Only the file moves; links to it mean nothing on another host.",
    },
)
