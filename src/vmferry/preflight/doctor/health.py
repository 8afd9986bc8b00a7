"""What is examined on a host, and on another host from its side.

agent/doctor/facts.py and agent/doctor/doctor.py collect it; the checks judge it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vmferry.core.messages.diagnosis import Facts
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.snapshot import HostSnapshot
from vmferry.core.policy.networks import Local
from vmferry.core.policy.settings import HostSettings


@dataclass(frozen=True, slots=True)
class GuardedFile:
    """A file or folder with permissions that matter.

    Arguments:
        mode: its permission bits; None if it does not exist.
        owner: user number.
    """

    path: str
    mode: int | None
    owner: int = 0


@dataclass(frozen=True, slots=True)
class CertificateHealth:
    """A host's certificate, as far as it could be read.

    Arguments:
        path: of the file; empty for a paired host's.
        trouble: why the certificate, or its key, cannot be used.
    """

    path: str
    begins: datetime | None = None
    ends: datetime | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class NetworkLink:
    """A network interface.

    Arguments:
        up: whether it is enabled and has a carrier.
        mtu: bytes.
    """

    up: bool
    mtu: int


@dataclass(frozen=True, slots=True)
class Folder:
    """One of the host's disk folders; sizes in bytes."""

    path: str
    exists: bool = True
    writable: bool = True
    reachable: bool = True
    free: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """One host, as it sees itself.

    Arguments:
        settings: as they are now.
        now: by its clock.
        listen: addresses at which vmferryd is to serve, from vmferry.toml.
        address: at which paired hosts reach it; a name, perhaps.
        port: at which.
        data_ports: the first and the last.
        workers: why transfer processes cannot be started; None: they can.
        kept: why nothing would start vmferryd again; None: something does.
        unlocked: why libvirt would start a VM that was handed to another host; None: its hook is in place.
        hook: where libvirt's hook of vmferry belongs.
        socket: of the API.
        state: files and folders that hold secrets.
        host: what libvirt and the host say of themselves; None: libvirt does not answer.
        libvirt: why libvirt does not answer.
        at_risk: VMs that run and can lose what they write while they move.
        synchronised: whether the clock follows a time server; None: not known.
        firewall: what nftables holds (libnftables-json(5)); None: not known.
        listeners: address and port of each TCP socket that listens.
        folders: those of vmferry.toml.
        group_missing: the group of vmferry.toml, if the host does not have it.
        unchecked: what could not be looked at, and why.
    """

    name: str
    settings: HostSettings
    now: datetime
    listen: Sequence[str]
    address: str
    port: int
    data_ports: tuple[int, int]
    addresses: Sequence[Local]
    links: Mapping[str, NetworkLink]
    socket: GuardedFile
    state: Sequence[GuardedFile]
    certificate: CertificateHealth
    folders: Sequence[Folder]
    qemu_user: str
    listeners: frozenset[tuple[str, int]]
    host: HostSnapshot | None = None
    libvirt: str = ""
    at_risk: Sequence[str] = ()
    workers: str | None = None
    kept: str | None = None
    unlocked: str | None = None
    hook: str = ""
    synchronised: bool | None = None
    firewall: Sequence[Mapping[str, Any]] | None = None
    group_missing: str | None = None
    unchecked: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class Meeting:
    """Another host, as a host that is paired with it sees it.

    Arguments:
        source: the host that looks.
        destination: the name of the other host.
        settings: the source's.
        mine: the source's own certificate.
        certificate: the destination's, as it was paired.
        now: by the source's clock.
        trouble: why the destination does not answer; None if it does.
        facts: its answer.
    """

    source: str
    destination: str
    settings: HostSettings
    mine: CertificateHealth
    certificate: CertificateHealth
    now: datetime
    trouble: Finding | None = None
    facts: Facts | None = None
