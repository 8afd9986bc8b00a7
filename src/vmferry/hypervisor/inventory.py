"""VMs of this host: as a person sees them, and as an offer describes one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import libvirt

from vmferry.core import codes, domainxml
from vmferry.core.errors import UnreachableError, UsageError
from vmferry.core.offer import Disk
from vmferry.core.vm import VmDetail, VmSnapshot, VmSummary
from vmferry.hypervisor import images
from vmferry.hypervisor.connection import connected, sentence

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


class Inventory:
    """Asks this host's libvirt.

    Arguments:
        uri: libvirt's URI.
        host: this host's name, for errors.

    Every method raises UnreachableError (libvirt-unreachable) while libvirtd is away.
    """

    def __init__(self, uri: str, host: str) -> None:
        self._uri = uri
        self._host = host

    def vms(self) -> list[VmSummary]:
        """Give all VMs, by name."""
        with self._libvirt() as connection:
            return sorted((_summary(domain) for domain in connection.listAllDomains()), key=lambda vm: vm.name)

    def vm(self, name: str) -> VmDetail:
        """Give one VM.

        Raises:
            UsageError: vm-unknown.
        """
        with self._libvirt() as connection:
            domain = self._lookup(connection, name)
            xml = domain.XMLDesc()
            return VmDetail(
                **_summary(domain).model_dump(),
                disks=self._disks(connection, xml)[0],
                machine=domainxml.machine(xml),
                emulator=domainxml.emulator(xml),
                networks=domainxml.networks(xml),
            )

    def describe(self, name: str) -> VmSnapshot:
        """Describe a VM for a move.

        Raises:
            UsageError: vm-unknown.
        """
        with self._libvirt() as connection:
            domain = self._lookup(connection, name)
            state = _STATES.get(domain.state()[0], "unknown")
            live = libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_MIGRATABLE
            inactive = live | libvirt.VIR_DOMAIN_XML_INACTIVE
            live_xml = domain.XMLDesc(live)
            disks, unmovable = self._disks(connection, live_xml)
            return VmSnapshot(
                name=name,
                host=self._host,
                uuid=domain.UUIDString(),
                state=state,
                live_xml=live_xml,
                persistent_xml=domain.XMLDesc(inactive),
                autostart=bool(domain.autostart()) if domain.isPersistent() else False,
                memory=domain.maxMemory() * 1024,
                disks=disks,
                unmovable=unmovable,
                job=_job(domain) if domain.isActive() else None,
                snapshots=domain.snapshotNum(),
                checkpoints=len(domain.listAllCheckpoints()),
            )

    @contextmanager
    def _libvirt(self) -> Iterator[Any]:
        with connected(self._uri, self._host) as connection:
            try:
                yield connection
            except libvirt.libvirtError as error:
                raise UnreachableError(codes.LIBVIRT_UNREACHABLE, host=self._host, why=sentence(error)) from error

    def _lookup(self, connection: Any, name: str) -> Any:
        try:
            return connection.lookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                raise UsageError(codes.VM_UNKNOWN, vm=name, host=self._host) from error
            raise

    def _disks(self, connection: Any, xml: str) -> tuple[list[Disk], dict[str, str]]:
        """Inspect the disks that hold something: those that can be moved, and why others cannot."""
        found, unmovable = [], {}
        for entry in domainxml.disks(xml):
            if entry.empty:
                continue
            try:
                found.append(_inspect(connection, entry))
            except _UnsupportedError as error:
                unmovable[entry.target] = str(error)
        return found, unmovable


class _UnsupportedError(Exception):
    """A disk that cannot be moved; says why."""


def _inspect(connection: Any, entry: domainxml.DiskEntry) -> Disk:
    path = entry.path
    if entry.kind == "volume" and entry.pool and entry.volume:
        path = connection.storagePoolLookupByName(entry.pool).storageVolLookupByName(entry.volume).path()
    elif entry.kind != "file":
        raise _UnsupportedError(f"it is a {entry.kind} disk, not a file")
    if entry.format not in ("qcow2", "raw"):
        raise _UnsupportedError(f"its format is {entry.format}")
    assert path is not None
    try:
        image = images.inspect(path, entry.format)
    except OSError as error:
        raise _UnsupportedError(f"{path} cannot be read: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise _UnsupportedError(f"qemu-img cannot read {path}: {str(error.stderr).strip()}") from error
    if image.backing:
        raise _UnsupportedError(f"it has the backing file {image.backing}")
    if image.encrypted:
        raise _UnsupportedError("it is encrypted, and its secret would have to move too")
    return Disk(
        target=entry.target,
        path=path,
        format=image.format,
        virtual_size=image.virtual_size,
        allocated=image.allocated,
        mode=image.mode,
        owner=image.owner,
        group=image.group,
        readonly=entry.readonly,
        create_options=dict(image.options),
    )


def _summary(domain: Any) -> VmSummary:
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
    """Name the libvirt job that is at work on a VM."""
    if domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE:
        return None
    try:
        operation = domain.jobStats().get("operation", libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN)
    except libvirt.libvirtError:  # it has just ended, or cannot be asked in this moment
        operation = libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN
    return _OPERATIONS.get(operation, "a job")
