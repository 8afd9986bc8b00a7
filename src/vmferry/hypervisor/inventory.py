"""VMs of this host: as a person sees them, and as an offer describes one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from vmferry.core import codes, domainxml
from vmferry.core.errors import PreflightError, UnreachableError, UsageError
from vmferry.core.offer import Disk
from vmferry.core.vm import VmDetail, VmSummary
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


@dataclass(frozen=True, slots=True)
class Description:
    """One VM as it is offered to another host. Memory in bytes."""

    uuid: str
    state: str
    live_xml: str
    persistent_xml: str
    autostart: bool
    memory: int
    disks: list[Disk]
    host_uuid: str


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
                disks=self._disks(connection, name, xml, strict=False),
                machine=domainxml.machine(xml),
                emulator=domainxml.emulator(xml),
                networks=domainxml.networks(xml),
            )

    def describe(self, name: str) -> Description:
        """Describe a VM for an offer, its disks inspected.

        Raises:
            UsageError: vm-unknown.
            PreflightError: disk-unsupported.
        """
        with self._libvirt() as connection:
            domain = self._lookup(connection, name)
            state = _STATES.get(domain.state()[0], "unknown")
            live = libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_MIGRATABLE
            inactive = live | libvirt.VIR_DOMAIN_XML_INACTIVE
            live_xml = domain.XMLDesc(live)
            return Description(
                uuid=domain.UUIDString(),
                state=state,
                live_xml=live_xml,
                persistent_xml=domain.XMLDesc(inactive),
                autostart=bool(domain.autostart()) if domain.isPersistent() else False,
                memory=domain.maxMemory() * 1024,
                disks=self._disks(connection, name, live_xml, strict=True) if state == "running" else [],
                host_uuid=_host_uuid(connection),
            )

    def names(self) -> dict[str, str]:
        """Give the names of all VMs, by UUID."""
        with self._libvirt() as connection:
            return {domain.UUIDString(): domain.name() for domain in connection.listAllDomains()}

    def host_uuid(self) -> str:
        """Give the UUID by which libvirt knows this host."""
        with self._libvirt() as connection:
            return _host_uuid(connection)

    def free_memory(self) -> int:
        """Give the memory that a new VM could have, bytes: free, or held only by caches."""
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("Linux has had MemAvailable since 3.14 (proc(5))")

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

    def _disks(self, connection: Any, vm: str, xml: str, *, strict: bool) -> list[Disk]:
        """Inspect the disks that hold something; empty drives have nothing to move.

        Arguments:
            strict: refuse a disk that cannot be moved; otherwise leave it out.
        """
        found = []
        for entry in domainxml.disks(xml):
            if entry.empty:
                continue
            try:
                found.append(_inspect(connection, vm, entry))
            except PreflightError:
                if strict:
                    raise
        return found


def _inspect(connection: Any, vm: str, entry: domainxml.DiskEntry) -> Disk:
    def unsupported(why: str) -> PreflightError:
        return PreflightError(codes.DISK_UNSUPPORTED, vm=vm, disk=entry.target, why=why)

    path = entry.path
    if entry.kind == "volume" and entry.pool and entry.volume:
        path = connection.storagePoolLookupByName(entry.pool).storageVolLookupByName(entry.volume).path()
    elif entry.kind != "file":
        raise unsupported(f"it is a {entry.kind} disk, not a file")
    if entry.format not in ("qcow2", "raw"):
        raise unsupported(f"its format is {entry.format}")
    assert path is not None
    try:
        image = images.inspect(path, entry.format)
    except OSError as error:
        raise unsupported(f"{path} cannot be read: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise unsupported(f"qemu-img cannot read {path}: {str(error.stderr).strip()}") from error
    if image.backing:
        raise unsupported(f"it has the backing file {image.backing}")
    if image.encrypted:
        raise unsupported("it is encrypted, and its secret would have to move too")
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


def _host_uuid(connection: Any) -> str:
    return domainxml.host_uuid(connection.getCapabilities())
