"""Resources that VMs need of their host: processors, network filters, and names and numbers that are in use."""

from pathlib import Path
from typing import Any

import libvirt

from vmferry.core.errors import VmferryError
from vmferry.core.libvirt import needs, xmltree
from vmferry.core.messages.snapshot import Resources
from vmferry.hypervisor.connection import is_gone

_CPUS = Path("/sys/devices/system/cpu/online")
_INTERFACES = Path("/sys/class/net")


def find(connection: Any, xml: str, uuid: str) -> Resources:
    """Return what this host has.

    Arguments:
        connection: to libvirt.
        xml: of the incoming VM.
        uuid: of that VM; a VM here with the same UUID does not count.

    Raises:
        libvirt.libvirtError: libvirt went away.
    """
    macs: dict[str, str] = {}
    cids: dict[int, tuple[str, bool]] = {}
    for domain in connection.listAllDomains():
        try:
            if domain.UUIDString() == uuid:
                continue
            name, theirs, runs = domain.name(), domain.XMLDesc(), bool(domain.isActive())
        except libvirt.libvirtError as error:
            if is_gone(error, connection):
                raise
            continue  # it is gone meanwhile
        try:
            macs |= dict.fromkeys(needs.macs(theirs), name)
            number = needs.cid(theirs, fixed=not runs)
        except VmferryError:
            continue  # an XML that is too large to be read
        if number is not None:
            cids[number] = (name, runs)
    return Resources(
        cpus=frozenset(needs.numbers(_read(_CPUS))),
        filters=_filters(connection) if needs.filters(xml) else None,
        portgroups={name: _portgroups(connection, name) for name, _group in needs.portgroups(xml)},
        interfaces=sorted(place.name for place in _INTERFACES.iterdir()),
        macs=macs,
        cids=cids,
        missing_nodes=[path for path in needs.nodes(xml) if not Path(path).exists()],
    )


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _filters(connection: Any) -> list[str] | None:
    try:
        return [one.name() for one in connection.listAllNWFilters()]
    except libvirt.libvirtError as error:
        if is_gone(error, connection):
            raise
        return []  # a libvirt without its part for filters has none


def _portgroups(connection: Any, network: str) -> list[str]:
    try:
        tree = xmltree.parse(connection.networkLookupByName(network).XMLDesc())
    except (libvirt.libvirtError, VmferryError) as error:
        if isinstance(error, libvirt.libvirtError) and is_gone(error, connection):
            raise
        return []
    return [group.get("name", "") for group in tree.findall("portgroup")]
