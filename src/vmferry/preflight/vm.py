"""The VM by itself, as the source sees it: its state, jobs at work on it, snapshots, disks."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.finding import Finding
from vmferry.core.vm import VmSnapshot
from vmferry.preflight.case import Check


def _state(vm: VmSnapshot) -> Iterator[Finding]:
    if vm.state != "running":
        yield Finding.blocks(codes.VM_NOT_RUNNING, (vm.state, ""), vm=vm.name, state=vm.state, host=vm.host)
    if vm.moved_by is not None:
        yield Finding.blocks(codes.VM_BUSY, (f"job {vm.moved_by}", ""), vm=vm.name, job=vm.moved_by)
    elif vm.job is not None:
        yield Finding.blocks(codes.VM_IN_USE, (vm.job, ""), vm=vm.name, job=vm.job)


def _snapshots(vm: VmSnapshot) -> Iterator[Finding]:
    if vm.snapshots or vm.checkpoints:
        seen = f"{vm.snapshots} snapshots, {vm.checkpoints} checkpoints"
        yield Finding.blocks(
            codes.VM_SNAPSHOTS, (seen, ""), vm=vm.name, snapshots=vm.snapshots, checkpoints=vm.checkpoints
        )


def _disks(vm: VmSnapshot) -> Iterator[Finding]:
    for target, why in vm.unmovable.items():
        yield Finding.blocks(codes.DISK_UNSUPPORTED, (f"{target}: {why}", ""), vm=vm.name, disk=target, why=why)


STATE = Check(
    _state,
    {
        codes.VM_NOT_RUNNING: "Only a running VM can be moved while it runs; a paused one may be paused for a reason.",
        codes.VM_BUSY: "One VM moves once at a time.",
        codes.VM_IN_USE: "libvirt lets one job at a time change a VM: a backup, a dump, another migration.",
    },
)
SNAPSHOTS = Check(
    _snapshots, {codes.VM_SNAPSHOTS: "libvirt refuses to move a VM whose snapshots it would have to leave behind."}
)
DISKS = Check(
    _disks,
    {codes.DISK_UNSUPPORTED: "The disk is no plain qcow2 or raw file: a block device, a network disk, a chain."},
)
