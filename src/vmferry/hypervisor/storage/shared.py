"""Files that both hosts see: whether another VM or another move uses one on this host."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import libvirt

from vmferry.core.libvirt import domainxml
from vmferry.core.libvirt.domainxml import DiskEntry
from vmferry.core.messages.snapshot import DiskTarget
from vmferry.hypervisor.storage import chains, users
from vmferry.hypervisor.storage.chains import Identity


def used(
    connection: Any, places: Sequence[DiskTarget], live_xml: str, uuid: str, made: Mapping[Identity, str]
) -> dict[str, str]:
    """Return which files that a VM shares with its source are used by others on this host: target -> by whom.

    Files that are read-only in both VMs, or shareable in both, do not conflict.

    Arguments:
        connection: to libvirt.
        places: of the VM's disks.
        live_xml: of the VM.
        uuid: of the VM.
        made: files of other moves: identity -> whose.

    Raises:
        libvirt.libvirtError: libvirt went away.
    """
    wanted: dict[Identity, str] = {}
    for place in places:
        if place.shared:
            try:
                wanted[chains.identity(place.path)] = place.target
            except OSError:
                continue  # gone again: libvirt will not start the VM
    if not wanted:
        return {}
    found = {target: made[identity] for identity, target in wanted.items() if identity in made}
    own = {entry.target: entry for entry in domainxml.disks(live_xml)}
    for domain in connection.listAllDomains():
        try:
            if domain.UUIDString() == uuid:
                continue
            entries = [entry for xml in users.configurations(domain) for entry in domainxml.disks(xml)]
            name = domain.name()
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue  # it is gone meanwhile
            raise
        for entry in entries:
            for identity, below in _files(connection, entry):
                target = wanted.get(identity)
                if target is not None and (below or not _agree(entry, own.get(target))):
                    found[target] = f"its disk {entry.target}, VM {name}"
    return found


def _agree(one: DiskEntry, other: DiskEntry | None) -> bool:
    if other is None:
        return False
    return (one.readonly and other.readonly) or (one.shareable and other.shareable)


def _files(connection: Any, entry: DiskEntry) -> Iterator[tuple[Identity, bool]]:
    """Return the files of a disk, and whether each of them is a backing file."""
    path = entry.path
    if path is None and entry.pool and entry.volume:
        try:
            path = connection.storagePoolLookupByName(entry.pool).storageVolLookupByName(entry.volume).path()
        except libvirt.libvirtError:
            return  # a pool that is not there: the VM cannot run
    if path is None:
        return
    names = [path, *(entry.backing or chains.below(path, entry.format).files)]
    for number, name in enumerate(names):
        try:
            yield chains.identity(name), number > 0
        except OSError:
            continue
