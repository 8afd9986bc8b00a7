"""The migration request to libvirt, built identically on both hosts: the destination compares it with what comes.

Source for flags and parameters: libvirt's libvirt-domain.h (virDomainMigrateFlags, VIR_MIGRATE_PARAM_*).
"""

from dataclasses import dataclass

from vmferry.core.kinds import KINDS, CopiedBy
from vmferry.core.libvirt.flags import Flag
from vmferry.core.messages.offer import Grant, Offer


@dataclass(frozen=True, slots=True)
class Sockets:
    """The unix sockets of one job; the same paths on both hosts.

    QEMU's user creates its own sockets in `qemu`; the sockets that root trusts (rpc, control) are out of its reach.
    """

    folder: str

    @property
    def qemu(self) -> str:
        """The folder that belongs to QEMU's user."""
        return f"{self.folder}/qemu"

    @property
    def rpc(self) -> str:
        """The socket on which the source's libvirt finds "the destination's libvirt"."""
        return f"{self.folder}/rpc.sock"

    @property
    def memory(self) -> str:
        """QEMU's migration streams."""
        return f"{self.qemu}/memory.sock"

    @property
    def disk(self) -> str:
        """QEMU's storage mirror (NBD)."""
        return f"{self.qemu}/disk.sock"


@dataclass(frozen=True, slots=True)
class Request:
    """One peer-to-peer migration as requested from libvirt.

    Arguments:
        bandwidth: MiB per second, as libvirt counts it; 0 means no limit.
        downtime: milliseconds the guest may pause; None leaves QEMU's default.
        channels: parallel memory streams; 0 means one ordinary stream.
    """

    vm: str
    uuid: str
    flags: Flag
    live_xml: str
    persistent_xml: str
    sockets: Sockets
    mirrored: tuple[str, ...]
    channels: int
    bandwidth: int
    downtime: int | None


def build(offer: Offer, grant: Grant, folder: str) -> Request:
    """Derive the migration request from what was offered and granted.

    The kind of move has the flags that do not depend on the VM or the options (core/kinds.py).

    Arguments:
        folder: where this host has the job's sockets; the grant's is only compared with it.
    """
    mirrored = tuple(disk.target for disk in grant.disks if disk.copied_by is CopiedBy.MIRROR)
    flags = KINDS[offer.kind].flags
    if mirrored:
        flags |= Flag.NON_SHARED_DISK
    if any(disk.shared for disk in grant.disks):
        # libvirt judges sharing by the file system's type; a nonce file has shown it for real.
        flags |= Flag.UNSAFE
    if offer.memory_channels:
        flags |= Flag.PARALLEL
    if offer.options.auto_converge:
        flags |= Flag.AUTO_CONVERGE
    bandwidth = offer.options.bandwidth or 0
    downtime = offer.options.max_downtime
    return Request(
        vm=offer.vm,
        uuid=offer.uuid,
        flags=flags,
        live_xml=grant.live_xml,
        persistent_xml=grant.persistent_xml,
        sockets=Sockets(folder),
        mirrored=mirrored,
        channels=offer.memory_channels,
        bandwidth=max(1, bandwidth >> 20) if bandwidth else 0,
        downtime=round(downtime * 1000) if downtime else None,
    )
