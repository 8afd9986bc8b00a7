"""The VM by itself, as the source sees it: its state, jobs on it, snapshots, disks."""

import shlex
from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.kinds import KINDS, MoveKind
from vmferry.core.libvirt import domainxml
from vmferry.core.libvirt.domainxml import DiskEntry, parse_domain
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.vm import VmSnapshot
from vmferry.preflight.case import Check


def _state(vm: VmSnapshot) -> Iterator[Finding]:
    if not KINDS[MoveKind.LIVE].allows(vm.state, vm.reason):
        state = f"{vm.state} ({vm.reason})" if vm.reason else vm.state
        yield Finding.blocks(
            codes.VM_NOT_RUNNING, (state, ""), vm=vm.name, state=state, host=vm.host, advice=_to_run(vm)
        )
    if vm.moved_by is not None:
        yield Finding.blocks(codes.VM_BUSY, (f"job {vm.moved_by}", ""), vm=vm.name, job=vm.moved_by)
        return
    if vm.job is not None:
        yield Finding.blocks(codes.VM_IN_USE, (vm.job, ""), vm=vm.name, job=vm.job)
    for disk, job in vm.block_jobs.items():
        yield Finding.blocks(codes.DISK_BLOCK_JOB, (f"{disk}: {job}", ""), vm=vm.name, disk=disk, job=job)


def _to_run(vm: VmSnapshot) -> str:
    """Return how to get a VM running, by its present state."""

    def command(*words: str) -> str:
        return f"`{shlex.join(['virsh', *words, vm.name])}`"

    if vm.state == "paused" and vm.reason == "crashed":
        return f"End it and start it anew: {command('destroy')}, then {command('start')}"
    if vm.state == "paused" and vm.reason == "I/O error":
        return f"See what its disks lack (`{shlex.join(['virsh', 'domblkerror', vm.name])}`), then {command('resume')}"
    if vm.state == "paused":
        return f"Let it run first: {command('resume')}"
    if vm.state == "suspended":
        return f"Wake it up first: {command('dompmwakeup')}"
    if vm.state == "shutting down":
        return f"Wait until it is off, then start it: {command('start')}"
    if vm.state in ("shut off", "crashed"):
        return f"Start it first: {command('start')}"
    return f"See what it does: {command('domstate', '--reason')}"


def _saved(vm: VmSnapshot) -> Iterator[Finding]:
    if vm.managed_save:
        yield Finding.blocks(codes.MANAGED_SAVE, ("managed save image", ""), vm=vm.name)
    if vm.snapshots or vm.checkpoints:
        seen = f"{vm.snapshots} snapshots, {vm.checkpoints} checkpoints"
        yield Finding.blocks(
            codes.VM_SNAPSHOTS, (seen, ""), vm=vm.name, snapshots=vm.snapshots, checkpoints=vm.checkpoints
        )


def _disks(vm: VmSnapshot) -> Iterator[Finding]:
    entries = {entry.target: entry for entry in domainxml.disks(vm.live_xml)}
    for disk in vm.disks:
        if disk.target in vm.replaced:
            names = {"vm": vm.name, "disk": disk.target, "path": disk.path, "host": vm.host}
            advice = _kept(vm, entries.get(disk.target))
            yield Finding.blocks(codes.DISK_REPLACED, (f"{disk.path}: another file", ""), advice=advice, **names)
    for target, found in vm.unmovable.items():
        code = codes.DISK_FILE_MISSING if found.missing else codes.DISK_UNSUPPORTED
        seen = (f"{target}: {found.why}", "")
        yield Finding.blocks(code, seen, vm=vm.name, disk=target, why=found.why, advice=found.advice)


def _bitmaps(vm: VmSnapshot) -> Iterator[Finding]:
    """Find the bitmaps in a VM's images that libvirt does not move."""
    for disk in vm.disks:
        held = vm.contents.get(disk.target)
        if held is None or disk.readonly or disk.idle:
            continue  # copied whole
        names = {"vm": vm.name, "disk": disk.target, "path": disk.path}
        if held.idle_bitmaps:
            told = ", ".join(held.idle_bitmaps)
            yield Finding.warns(codes.BITMAPS_LOST, (f"{disk.target}: {told}", ""), names=told, **names)
        for name in held.bitmaps:
            # libvirt's name for it on its way (qemuMigrationSrcBeginPhaseBlockDirtyBitmaps), and QEMU's limit.
            alias = f"libvirt-{disk.target}-{name}"
            if name not in held.idle_bitmaps and len(alias.encode()) > _ALIAS_MAX:
                yield Finding.blocks(codes.BITMAP_NAME, (f"{disk.target}: {name}", ""), name=name, **names)


_ALIAS_MAX = 255  # bytes


def _definition(vm: VmSnapshot) -> Iterator[Finding]:
    """Find what is in the VM's definition, but not in the running VM."""
    for target, found in vm.later.items():
        seen = (f"{target} of the definition: {found.path}", "")
        names = {"vm": vm.name, "disk": target, "path": found.path, "host": vm.host}
        if found.drive:
            yield Finding.warns(codes.DEFINED_DRIVE, seen, **names)
        elif found.why is None:
            yield Finding.warns(codes.DEFINED_DISK, seen, **names)
        else:
            yield Finding.blocks(codes.DEFINED_DISK_UNSUPPORTED, seen, why=found.why, **names)


# QEMU's own words: "virgl is not yet migratable", "blobs are not yet migratable".
_GRAPHICS = {
    "3D acceleration": "devices/video/model/acceleration[@accel3d='yes']",
    "blob='on'": "devices/video/model[@blob='on']",
}


def _blocked(vm: VmSnapshot) -> Iterator[Finding]:
    """Find what libvirt's qemuMigrationSrcIsAllowed() refuses and no other check has.

    What cannot be asked beforehand is left to libvirt, which refuses it before anything is copied: a VM that is bound
    to the client that started it (VIR_DOMAIN_START_AUTODESTROY), slirp-helper and D-Bus helpers, and what QEMU itself
    gives as a reason (query-migrate), for which libvirt has no call.
    """
    domain = parse_domain(vm.live_xml)
    edit = f"change that with `{shlex.join(['virsh', 'edit', vm.name])}` and start the VM anew"
    steady = any(timer.get("frequency") for timer in domain.findall("clock/timer[@name='tsc']"))
    if domain.find("cpu/feature[@name='invtsc'][@policy='require']") is not None and not steady:
        why = "its CPU has invtsc, and no frequency of the timer tsc is set"
        advice = f"Set <timer name='tsc' frequency='HERTZ'/> or leave invtsc out: {edit}"
        yield Finding.blocks(codes.NOT_MIGRATABLE, ("invtsc", ""), vm=vm.name, why=why, advice=advice)
    if domain.find("cpu[@migratable='off']") is not None:
        why = "its CPU is set to migratable='off'"
        advice = f"Set migratable='on': {edit}"
        yield Finding.blocks(codes.NOT_MIGRATABLE, ("migratable='off'", ""), vm=vm.name, why=why, advice=advice)
    for what, path in _GRAPHICS.items():
        if domain.find(path) is not None:
            advice = f"Leave that out: {edit}"
            why = f"QEMU moves no VM whose video card has {what}"
            yield Finding.blocks(codes.NOT_MIGRATABLE, (what, ""), vm=vm.name, why=why, advice=advice)
    if vm.lock_manager == "sanlock":
        why = "libvirt here leases its disks from sanlock, and these leases are not handed over"
        advice = (
            "Take `lock_manager` out of /etc/libvirt/qemu.conf (or set it to lockd), restart libvirtd and start the VM "
            "anew; or move it with `virsh migrate`, to a host with sanlock"
        )
        yield Finding.blocks(codes.NOT_MIGRATABLE, ("sanlock", ""), vm=vm.name, why=why, advice=advice)
    for disk in domain.findall("devices/disk"):
        if disk.find("transient") is not None:
            target = disk.find("target")
            name = target.get("dev", "") if target is not None else ""
            why = f"its disk {name} is transient"
            advice = f"Leave <transient/> out: {edit}"
            yield Finding.blocks(codes.NOT_MIGRATABLE, (f"{name}: transient", ""), vm=vm.name, why=why, advice=advice)
    for memory in domain.findall("devices/memory[@model='dimm']"):
        if memory.find("address[@type='dimm']") is None:
            why = "a memory module (dimm) has no address"
            advice = "Start the VM anew, so that libvirt gives it one"
            yield Finding.blocks(codes.NOT_MIGRATABLE, ("dimm", ""), vm=vm.name, why=why, advice=advice)


def _kept(vm: VmSnapshot, entry: DiskEntry | None) -> str:
    """Return how a VM keeps what its QEMU alone has still open."""
    target = entry.target if entry is not None else ""
    if entry is not None and entry.device in ("cdrom", "floppy"):
        return f"Take it out of the drive: `{shlex.join(['virsh', 'change-media', vm.name, target, '--eject'])}`"
    command = shlex.join(["virsh", "blockcopy", vm.name, target, "PATH"])
    return f"Copy what the VM has to another PATH: `{command} --wait --pivot --transient-job`"


STATE = Check(
    _state,
    {
        codes.VM_NOT_RUNNING: "Only a running VM can be moved, or one that was suspended (it stays suspended).",
        codes.VM_BUSY: "A VM can have only one move at a time.",
        codes.VM_IN_USE: "libvirt allows only one job at a time on a VM: a backup, a dump, another migration.",
        codes.DISK_BLOCK_JOB: "A disk is being copied, committed, pulled or backed up, as by `virsh blockcopy`.",
    },
)
SAVED = Check(
    _saved,
    {
        codes.MANAGED_SAVE: "The VM was saved (`virsh managedsave`) and then started without that image. A start "
        "from the image would restore memory that does not match the disks.",
        codes.VM_SNAPSHOTS: "libvirt refuses to move a VM with snapshots, because it would have to leave them behind.",
    },
)
DISKS = Check(
    _disks,
    {
        codes.DISK_UNSUPPORTED: "The disk is not a plain qcow2 or raw file: a block device, a network disk, a "
        "backing chain.",
        codes.DISK_FILE_MISSING: "The file was removed or renamed while the VM had it open, or its storage pool is "
        "stopped.",
        codes.DISK_REPLACED: "Another file was put in its place, or it was moved away and a new one was created.",
    },
)
BITMAPS = Check(
    _bitmaps,
    {
        codes.BITMAPS_LOST: "Backup programs keep bitmaps in images; libvirt moves those that are enabled.",
        codes.BITMAP_NAME: "QEMU allows 255 bytes, and libvirt uses some of them for the disk.",
    },
)
DEFINITION = Check(
    _definition,
    {
        codes.DEFINED_DRIVE: "A medium was ejected or changed in the running VM only; the definition has the old one.",
        codes.DEFINED_DISK: "A disk was attached or changed for the next start (`virsh attach-disk --config`).",
        codes.DEFINED_DISK_UNSUPPORTED: "A disk was attached for the next start that is not a plain qcow2 or raw "
        "file, or does not exist.",
    },
)
BLOCKED = Check(
    _blocked,
    {codes.NOT_MIGRATABLE: "The VM has a setting that prevents libvirt or QEMU from moving it while it runs."},
)
