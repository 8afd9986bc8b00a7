"""How a VM would be on the destination: where its disks go, which networks it is on, its XML."""

from dataclasses import dataclass
from posixpath import basename, dirname

from vmferry.core import codes, domainxml
from vmferry.core.domainxml import Attachment
from vmferry.core.errors import UsageError
from vmferry.core.offer import Disk, DiskPlan, Proposal
from vmferry.core.snapshot import DestinationSnapshot

UNPLUGGED = "none"


@dataclass(frozen=True, slots=True)
class Plan:
    """The VM as the destination would have it; whether it can is for the checks to say."""

    disks: list[DiskPlan]
    live_xml: str
    persistent_xml: str


def paths(vm: Proposal) -> dict[str, str]:
    """Give where each disk would be copied to: target -> path."""
    return {disk.target: _path(vm, disk) for disk in vm.disks}


def make(vm: Proposal, here: DestinationSnapshot) -> Plan:
    """Plan a move.

    Raises:
        UsageError: bad-request; the XML is no domain's, or another's than the proposal names.
    """
    places = {place.target: place for place in here.places}
    disks = []
    for disk in vm.disks:
        shared = places[disk.target].shared
        copied_by = "none" if shared else "file" if disk.readonly else "mirror"
        disks.append(DiskPlan(target=disk.target, path=places[disk.target].path, shared=shared, copied_by=copied_by))
    live_xml, persistent_xml = (_rewrite(vm, here, disks, xml) for xml in (vm.live_xml, vm.persistent_xml))
    mirrored = [disk.target for disk in disks if disk.copied_by == "mirror"]
    return Plan(disks, domainxml.for_copy(live_xml, mirrored), persistent_xml)


def _path(vm: Proposal, disk: Disk) -> str:
    path = vm.options.disk_paths.get(disk.target)
    if path is not None:
        return path
    folder = vm.options.storage_path or dirname(disk.path)
    return f"{folder.rstrip('/')}/{basename(disk.path)}"


def _rewrite(vm: Proposal, here: DestinationSnapshot, disks: list[DiskPlan], xml: str) -> str:
    if domainxml.name(xml) != vm.vm or domainxml.uuid(xml) != vm.uuid:
        raise UsageError(codes.BAD_REQUEST, detail="the XML is of another VM than the offer names")
    networks = {name: _attachment(here, target) for name, target in vm.options.map_networks.items()}
    return domainxml.with_networks(domainxml.with_paths(xml, {disk.target: disk.path for disk in disks}), networks)


def _attachment(here: DestinationSnapshot, name: str) -> Attachment:
    if name == UNPLUGGED:
        return Attachment("ethernet")
    # A network before a bridge of the same name: libvirt's own bridges are named after nothing of the user's.
    return Attachment("bridge" if name in here.bridges and name not in here.networks else "network", name)
