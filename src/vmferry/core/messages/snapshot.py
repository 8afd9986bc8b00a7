"""The state of a host, as far as moves need it: collected by hypervisor/snapshot.py, judged by preflight/."""

from pydantic import BaseModel, ConfigDict, Field

from vmferry.core.identifiers import Uuid
from vmferry.core.libvirt.displays import Obstacle
from vmferry.core.libvirt.hostpolicy import Policy
from vmferry.core.message import Document, Line, Value


class HostSnapshot(Value):
    """What the source reports about itself with an offer."""

    uuid: Uuid = Field(description="of the host, in libvirt")
    hostname: Line = Field(default="", description="the operating system's")
    vmferry: Line = Field(default="", description="version")
    libvirt: int = Field(default=0, description="version as libvirt counts: 1000000 * major + 1000 * minor + release")
    qemu: int = Field(default=0, description="version of the emulator, counted in the same way")
    clock: float = Field(default=0.0, description="Unix time when it was read; 0 when unknown")
    cpu: Document = Field(default="", description="XML of its processor, from libvirt's capabilities")
    confinement: list[Line] = Field(
        default=[], max_length=100, description="libvirt's security drivers: apparmor, selinux, dac"
    )
    confinement_rules: bool = Field(
        default=True, description="whether AppArmor's local rules let QEMU use vmferry's sockets"
    )


class DiskTarget(BaseModel):
    """Where a disk would be on the destination."""

    model_config = ConfigDict(frozen=True)

    target: str
    path: str
    shared: bool = Field(default=False, description="it is the source's own file, on storage that both hosts see")
    used: str = Field(default="", description="who else uses it, if it is shared and belongs to another VM or move")
    folder_exists: bool = True
    allowed: bool = Field(default=True, description="the folder, links followed, is below one of disk_folders")
    taken: bool = Field(default=False, description="the path exists already")
    present: bool = Field(default=False, description="it may be the read-only file of the VM")
    differs: str = Field(default="", description="why it is not the VM's read-only file")
    device: int = Field(default=0, description="number of the file system")
    free: int = Field(default=0, description="bytes")
    writable: bool = Field(default=True, description="a file can be created there")
    reachable: bool = Field(default=True, description="QEMU's user can enter every folder of the path")
    direct: bool = Field(default=True, description="the file system supports direct I/O (O_DIRECT)")


class Resources(BaseModel):
    """What VMs need of their host; None and empty values mean unknown."""

    model_config = ConfigDict(frozen=True)

    cpus: frozenset[int] = Field(default=frozenset(), description="numbers of the processors that are online")
    filters: list[str] | None = Field(default=None, description="libvirt's network filters")
    portgroups: dict[str, list[str]] = Field(default={}, description="libvirt's networks -> their port groups")
    interfaces: list[str] = Field(default=[], description="network devices of the operating system")
    macs: dict[str, str] = Field(default={}, description="address of a network card -> VM that has it")
    cids: dict[int, tuple[str, bool]] = Field(default={}, description="vsock number -> VM, and whether that runs")
    missing_nodes: list[str] = Field(default=[], description="device nodes that the VM needs and the host lacks")


class DestinationSnapshot(HostSnapshot):
    """The state of the destination for one VM; it never leaves the host."""

    name: str
    qemu_user: str = Field(default="libvirt-qemu", description="the user that QEMU runs as")
    names: dict[str, str] = Field(default={}, description="VMs of the host: UUID -> name")
    networks: dict[str, bool] = Field(default={}, description="libvirt networks: name -> whether active")
    bridges: list[str] = Field(default=[], description="bridges of the operating system")
    machines: list[str] | None = Field(
        default=None, description="machine types for the VM's architecture; None: it cannot run that at all"
    )
    emulators: list[str] | None = Field(default=None, description="those of the policy that exist; None: unknown")
    emulator: str = Field(default="", description="emulator that libvirt chooses for this architecture")
    cpu_refusal: str | None = Field(default=None, description="libvirt's message, if the VM's CPU is not compatible")
    cpu_same: bool | None = Field(default=None, description="whether the source's CPU is identical to this host's")
    tpm: bool = Field(default=True, description="whether TPMs can be emulated")
    missing_files: list[str] = Field(
        default=[], description="firmware and boot files that the VM names and the host lacks"
    )
    memory: int = Field(default=0, description="bytes that a new VM could have")
    huge_pages: dict[int, int] = Field(default={}, description="page size in bytes -> free bytes")
    places: list[DiskTarget] = Field(default=[])
    variables: DiskTarget | None = Field(
        default=None, description="where its UEFI variables would be; None: it has none"
    )
    displays: list[Obstacle] = Field(default=[], description="what prevents the VM's displays from listening")
    resources: Resources = Field(default=Resources(), description="what VMs need of the host")
    policy: Policy = Field(description="what the host allows incoming VMs to have")


def version(number: int) -> str:
    """Return a version as people write it, e.g. 7.2.22 for 7002022."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
