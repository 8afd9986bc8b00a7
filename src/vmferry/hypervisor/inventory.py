"""VMs of this host: as the user sees them, and as an offer describes one."""

import os
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt

from vmferry.core.errors import PreflightError
from vmferry.core.kinds import SUSPENDED, ArtifactType
from vmferry.core.libvirt import domainxml, firmware
from vmferry.core.messages.offer import Artifact
from vmferry.core.messages.use import Surroundings
from vmferry.core.messages.vm import Contents, Later, Unmovable, VmDetail, VmSnapshot, VmSummary
from vmferry.hypervisor import leases
from vmferry.hypervisor.connection import connected, is_gone, sentence, translating
from vmferry.hypervisor.storage import extents, holders, images, users

_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: "no state",
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "blocked",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "shutting down",
    libvirt.VIR_DOMAIN_SHUTOFF: "shut off",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "suspended",
}


_OPERATIONS = {
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN: "an incoming migration",
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT: "a migration",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE: "save",
    libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP: "dump",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT: "a snapshot",
    libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP: "a backup",
}


_PAUSED = {
    libvirt.VIR_DOMAIN_PAUSED_USER: SUSPENDED,
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: "I/O error",
    libvirt.VIR_DOMAIN_PAUSED_WATCHDOG: "watchdog",
    libvirt.VIR_DOMAIN_PAUSED_CRASHED: "crashed",
}

_BLOCK_JOBS = {
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL: "a block pull",
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY: "a block copy",
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT: "a block commit",
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT: "an active block commit",
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP: "a backup",
}


class Inventory:
    """Queries this host's libvirt.

    Arguments:
        uri: libvirt's URI.
        host: this host's name, for errors.

    Every method raises UnreachableError (libvirt-unreachable) while libvirtd is away, and PreflightError
    (libvirt-refused, libvirt-failed) if it refuses.
    """

    def __init__(self, uri: str, host: str) -> None:
        self._uri = uri
        self._host = host

    def vms(self) -> list[VmSummary]:
        """Return all VMs, sorted by name."""
        with self._libvirt() as connection:
            found = [_summary(domain) for domain in connection.listAllDomains()]
            return sorted((vm for vm in found if vm is not None), key=lambda vm: vm.name)

    def vm(self, name: str) -> VmDetail:
        """Return one VM.

        Raises:
            UsageError: vm-unknown.
        """
        with self._libvirt(name) as connection:
            domain = connection.lookupByName(name)
            xml = domain.XMLDesc()
            return VmDetail(
                **_described(domain).model_dump(),
                disks=self._disks(connection, xml).disks,
                machine=domainxml.machine(xml),
                emulator=domainxml.emulator(xml),
                networks=domainxml.places(xml),
            )

    def describe(self, name: str) -> VmSnapshot:
        """Describe a VM for a move.

        Raises:
            UsageError: vm-unknown.
        """
        with self._libvirt(name) as connection:
            domain = connection.lookupByName(name)
            state, reason = domain.state()
            live = libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_MIGRATABLE
            inactive = live | libvirt.VIR_DOMAIN_XML_INACTIVE
            live_xml = domain.XMLDesc(live)
            persistent_xml = domain.XMLDesc(inactive)
            found = self._disks(connection, live_xml)
            definition, later, idle = _definition(connection, live_xml, persistent_xml)
            active, persistent = bool(domain.isActive()), bool(domain.isPersistent())
            return VmSnapshot(
                name=name,
                host=self._host,
                uuid=domain.UUIDString(),
                state=_STATES.get(state, "unknown"),
                reason=_PAUSED.get(reason, "") if state == libvirt.VIR_DOMAIN_PAUSED else "",
                live_xml=live_xml,
                persistent_xml=persistent_xml,
                persistent=persistent,
                autostart=persistent and bool(domain.autostart()),
                memory=domain.maxMemory() * 1024,
                variables=_variables(live_xml),
                disks=_measured(found.disks) + idle,
                definition=definition,
                later=later,
                unmovable=found.unmovable,
                contents=found.contents,
                replaced=[disk.target for disk in found.disks if active and _replaced(name, disk)],
                links={d.target: os.path.realpath(d.path) for d in found.disks + idle if Path(d.path).is_symlink()},
                job=_job(domain) if active else None,
                block_jobs=_block_jobs(domain, live_xml) if active else {},
                managed_save=active and persistent and bool(domain.hasManagedSaveImage()),
                lock_manager=leases.manager(),
                snapshots=domain.snapshotNum(),
                checkpoints=len(domain.listAllCheckpoints()),
            )

    def around(self, vm: VmSnapshot) -> Surroundings:
        """Return who else uses the files of a VM's disks."""
        with self._libvirt() as connection:
            return users.find(connection, [disk.path for disk in vm.disks], vm.uuid)

    @contextmanager
    def _libvirt(self, vm: str | None = None) -> Iterator[Any]:
        with connected(self._uri, self._host) as connection, translating(connection, self._host, vm):
            yield connection

    def _disks(self, connection: Any, xml: str) -> "_Disks":
        """Inspect the disks that are not empty: return those that can be moved, and why others cannot."""
        found = _Disks()
        vm = domainxml.name(xml)
        for entry in domainxml.disks(xml):
            if entry.empty:
                continue
            try:
                disk, contents = _inspect(connection, entry, vm)
            except _UnsupportedError as error:
                found.unmovable[entry.target] = error.unmovable
            else:
                found.disks.append(disk)
                found.contents[entry.target] = contents
        return found


@dataclass(slots=True)
class _Disks:
    disks: list[Artifact] = field(default_factory=list)
    unmovable: dict[str, Unmovable] = field(default_factory=dict)
    contents: dict[str, Contents] = field(default_factory=dict)


class _UnsupportedError(Exception):
    """A disk that cannot be moved.

    Arguments:
        why, advice, missing: as of `Unmovable`.
    """

    def __init__(self, why: str, advice: str = "convert it (`qemu-img convert`)", *, missing: bool = False) -> None:
        super().__init__(why)
        self.unmovable = Unmovable(why=why, advice=advice, missing=missing)


def _file(connection: Any, entry: domainxml.DiskEntry, vm: str) -> str | None:
    """Return the path of a disk's file, also for a volume of a storage pool.

    Raises:
        _UnsupportedError: the disk has no file, or its pool does not give the path.
    """
    if entry.kind == "volume" and entry.pool and entry.volume:
        pool = None
        try:
            pool = connection.storagePoolLookupByName(entry.pool)
            return str(pool.storageVolLookupByName(entry.volume).path())
        except libvirt.libvirtError as error:
            if is_gone(error, connection):
                raise
            active = pool is not None and pool.isActive()
            command = shlex.join(["virsh", "pool-refresh" if active else "pool-start", entry.pool])
            raise _UnsupportedError(
                sentence(error), f"Make its storage pool show it: `{command}`", missing=True
            ) from error
    if entry.kind != "file":
        raise _UnsupportedError(f"it is a {entry.kind} disk, not a file")
    return entry.path


def _inspect(connection: Any, entry: domainxml.DiskEntry, vm: str) -> tuple[Artifact, Contents]:
    path = _file(connection, entry, vm)
    if entry.format not in ("qcow2", "raw"):
        raise _UnsupportedError(f"its format is {entry.format}")
    assert path is not None
    try:
        image = images.inspect(path, entry.format)
    except OSError as error:
        why = f"{path} cannot be read: {error.strerror}"
        raise _UnsupportedError(why, _restore(entry, vm, error), missing=True) from error
    except PreflightError as error:
        raise _UnsupportedError(error.reason.rstrip(".")) from error
    if image.backing:
        raise _UnsupportedError(f"it has the backing file {image.backing}", _flatten(entry, vm))
    if image.encrypted:
        raise _UnsupportedError(
            "it is encrypted, and its secret would have to move too", "take the encryption away (`qemu-img convert`)"
        )
    disk = _disk(image, entry.target, path, readonly=entry.readonly)
    bitmaps, idle = list(image.bitmaps), list(image.idle_bitmaps)
    return disk, Contents(snapshots=list(image.snapshots), bitmaps=bitmaps, idle_bitmaps=idle)


def _variables(xml: str) -> Artifact | None:
    """Describe the file with a VM's UEFI variables; None if there is none, and the other libvirt creates it."""
    flash = firmware.variables(xml)
    if flash is None:
        return None
    try:
        image = images.inspect(flash.path, flash.format)
    except (OSError, PreflightError):
        return None
    made = _disk(image, firmware.VARIABLES, flash.path)
    return made.model_copy(update={"type": ArtifactType.FIRMWARE_VARIABLES})


def _disk(image: images.Image, target: str, path: str, *, readonly: bool = False) -> Artifact:
    return Artifact(
        target=target,
        path=path,
        format=image.format,
        virtual_size=image.virtual_size,
        allocated=image.allocated,
        mode=image.mode,
        owner=image.owner,
        group=image.group,
        readonly=readonly,
        create_options=dict(image.options),
        size=image.size if readonly else None,
    )


def _measured(disks: list[Artifact]) -> list[Artifact]:
    """Determine how many bytes a copy of each disk takes; a read-only file is copied as it is."""
    if not disks:
        return []
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="extents") as pool:
        return list(pool.map(_measure, disks))


def _measure(disk: Artifact) -> Artifact:
    if disk.readonly:
        return disk
    cluster = int(disk.create_options.get("cluster_size", "65536"))
    needed = extents.needed(disk.path, disk.format, disk.virtual_size, disk.allocated, cluster)
    return disk.model_copy(update={"needed": needed})


def _replaced(vm: str, disk: Artifact) -> bool:
    """Return whether a running VM has another file open than the one at its disk's path."""
    try:
        return holders.has_open(vm, disk.path) is False
    except OSError:
        return False  # it cannot be opened, and inspecting it says so


def _definition(
    connection: Any, live_xml: str, persistent_xml: str
) -> tuple[dict[str, str], dict[str, Later], list[Artifact]]:
    """Compare the disks of a VM's definition with those of the running VM, by the files that they are.

    Returns:
        Which of the running VM's disks and of the disks behind each of the definition's is (as of Proposal), what the
        definition alone has, and of that the disks that can be moved.
    """
    vm = domainxml.name(live_xml)
    live = {disk.target: _identity(connection, disk, vm) for disk in domainxml.disks(live_xml) if not disk.empty}
    definition: dict[str, str] = {}
    later: dict[str, Later] = {}
    idle = []
    for entry in domainxml.disks(persistent_xml):
        if entry.empty:
            continue
        identity = _identity(connection, entry, vm)
        same = [target for target, other in live.items() if other == identity]
        if same:
            definition[entry.target] = entry.target if entry.target in same else same[0]
            continue
        why = None
        if not entry.drive:
            try:
                found, _contents = _inspect(connection, entry, vm)  # a copy of the file has all of them
            except _UnsupportedError as error:
                why = error.unmovable.why
            else:
                key = f"next-{entry.target}"
                definition[entry.target] = key
                idle.append(found.model_copy(update={"target": key, "idle": True}))
        what = f"{entry.pool}/{entry.volume}" if entry.volume else entry.path or entry.kind
        later[entry.target] = Later(path=what, drive=entry.drive, why=why)
    return definition, later, idle


def _identity(connection: Any, entry: domainxml.DiskEntry, vm: str) -> tuple[str | None, ...]:
    """Return a key for the file of a disk, whatever its name."""
    try:
        path = _file(connection, entry, vm)
    except _UnsupportedError:
        path = None
    if path is not None:
        return (os.path.realpath(path),)
    if entry.path or entry.volume:
        return entry.kind, entry.path, entry.pool, entry.volume
    return entry.kind, entry.target  # of the network, for one: neither can be moved


def _restore(entry: domainxml.DiskEntry, vm: str, error: OSError) -> str:
    """Return what helps if a running VM's file cannot be read, or is not where its configuration says."""
    if entry.device in ("cdrom", "floppy"):
        command = shlex.join(["virsh", "change-media", vm, entry.target, "--eject"])
        return f"Take it out of the drive: `{command}`"
    command = shlex.join(["virsh", "blockcopy", vm, entry.target, "PATH"])
    copy = f"copy it to another PATH with `{command} --wait --pivot --transient-job`"
    if isinstance(error, PermissionError):  # root here is nobody there
        return f"Let root of this host read it (NFS: export it with no_root_squash), or {copy}"
    return f"QEMU still has the file open: {copy}"


def _flatten(entry: domainxml.DiskEntry, vm: str) -> str:
    command = shlex.join(["virsh", "blockpull", vm, entry.target, "--wait"])
    return f"flatten it (`{command}`)"


def _summary(domain: Any) -> VmSummary | None:
    """Describe a VM; None if it no longer exists."""
    try:
        return _described(domain)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _described(domain: Any) -> VmSummary:
    state, _max_memory, memory, vcpus, _time = domain.info()
    return VmSummary(
        name=domain.name(),
        uuid=domain.UUIDString(),
        state=_STATES.get(state, "unknown"),
        memory=memory * 1024,
        vcpus=vcpus,
        autostart=bool(domain.autostart()) if domain.isPersistent() else False,
        persistent=bool(domain.isPersistent()),
    )


def _job(domain: Any) -> str | None:
    """Return the name of the libvirt job on a VM."""
    if domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE:
        return None
    try:
        operation = domain.jobStats().get("operation", libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN)
    except libvirt.libvirtError:  # it has just ended, or cannot be asked in this moment
        operation = libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN
    return _OPERATIONS.get(operation, "a job")


def _block_jobs(domain: Any, xml: str) -> dict[str, str]:
    """Return the block jobs on a VM's disks: target -> job."""
    found = {}
    for disk in domainxml.disks(xml):
        if disk.empty:
            continue
        info = domain.blockJobInfo(disk.target)
        if info:
            found[disk.target] = _BLOCK_JOBS.get(info["type"], "a block job")
    return found
