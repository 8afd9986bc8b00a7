"""How a VM would be on the destination: its disks, its networks, its XML."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from posixpath import basename, dirname
from typing import NoReturn

from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.kinds import ArtifactType, CopiedBy
from vmferry.core.libvirt import amounts, capabilities, domainxml, firmware
from vmferry.core.libvirt.domainxml import Attachment
from vmferry.core.messages.offer import Artifact, ArtifactPlan, Proposal
from vmferry.core.messages.snapshot import DestinationSnapshot

UNPLUGGED = "none"


@dataclass(frozen=True, slots=True)
class Plan:
    """The VM as the destination would have it; whether it can is for the checks to say.

    Arguments:
        disks: what becomes of each.
        live_xml: with which libvirt starts the VM here.
        persistent_xml: its definition.
        live: the disks of the running VM: target -> path and format.
        defined: those of the definition.
        closed: disks of the definition of which it says, and did not before, that no file is below theirs.
    """

    disks: list[ArtifactPlan]
    live_xml: str
    persistent_xml: str
    live: Mapping[str, tuple[str, str]]
    defined: Mapping[str, tuple[str, str]]
    closed: tuple[str, ...] = ()


def paths(vm: Proposal) -> dict[str, str]:
    """Return where each disk would be copied to: target -> path."""
    return {disk.target: _path(vm, disk) for disk in vm.disks}


def make(vm: Proposal, destination: DestinationSnapshot) -> Plan:
    """Make the plan of a move.

    Raises:
        UsageError: bad-request; the XML is not a domain, or has another VM, other disks or another amount of memory
            than
            the proposal names.
    """
    _require_alike(vm)
    places = {place.target: place for place in destination.places}
    disks = []
    for disk in vm.disks:
        place = places[disk.target]
        copied_by = copied(disk, shared=place.shared)
        if disk.readonly and not place.shared and place.present:
            copied_by = CopiedBy.PRESENT
        disks.append(ArtifactPlan(target=disk.target, path=place.path, shared=place.shared, copied_by=copied_by))
    granted = {disk.target: (places[disk.target].path, disk.format) for disk in vm.disks}
    live = {disk.target: granted[disk.target] for disk in vm.disks if not disk.idle}
    defined = {target: granted[disk] for target, disk in _definition(vm).items() if disk in granted}
    # A medium that only the definition names is no part of the VM, and the file of its name here may be another one.
    emptied = [disk.target for disk in domainxml.disks(vm.persistent_xml) if disk.drive and disk.target not in defined]
    live_xml, persistent_xml = (
        _rewrite(vm, destination, vm.live_xml, live),
        _rewrite(vm, destination, vm.persistent_xml, defined, emptied),
    )
    live_xml = domainxml.with_ends(live_xml, live)
    # What is copied was made or looked at here. What is shared can be written anew by the other host at any time.
    both = {place.path for place in destination.places if place.shared}
    # A raw one has no header.
    shared = {target for target, (path, format_) in defined.items() if path in both and format_ != "raw"}
    closed = tuple(disk.target for disk in domainxml.disks(persistent_xml) if disk.target in shared and not disk.ends)
    persistent_xml = domainxml.with_ends(persistent_xml, closed)
    return Plan(disks, live_xml, persistent_xml, live, defined, closed)


def artifacts(vm: Proposal, disks: Iterable[ArtifactPlan]) -> list[ArtifactPlan]:
    """Return what becomes of all that a VM consists of, in the order of the proposal.

    Arguments:
        disks: what becomes of its disks.
    """
    planned = {disk.target: disk for disk in disks}
    return [planned.get(one.target) or _beside(one) for one in vm.artifacts]


def _beside(artifact: Artifact) -> ArtifactPlan:
    """Return what becomes of the file of UEFI variables: QEMU fills it as the VM arrives."""
    return ArtifactPlan(
        type=artifact.type, target=artifact.target, path=artifact.path, shared=False, copied_by=CopiedBy.MEMORY
    )


def copied(disk: Artifact, *, shared: bool) -> CopiedBy:
    """Return who brings a disk to the destination, unless that has the file."""
    if shared:
        return CopiedBy.NONE
    return CopiedBy.FILE if disk.readonly or disk.idle else CopiedBy.MIRROR


def _definition(vm: Proposal) -> Mapping[str, str]:
    """Return which of the VM's disks the disks of its definition are: target in the definition -> target of the VM."""
    if vm.definition is not None:
        return vm.definition
    known = [(disk.target, (disk.path, disk.pool, disk.volume)) for disk in domainxml.disks(vm.live_xml)]
    known += [(disk.target, (disk.path, None, None)) for disk in vm.disks if disk.idle]
    found = {}
    for disk in domainxml.disks(vm.persistent_xml):
        same = [target for target, place in known if place == (disk.path, disk.pool, disk.volume)]
        if same and not disk.empty:
            found[disk.target] = disk.target if disk.target in same else same[0]
    return found


def _require_alike(vm: Proposal) -> None:
    """Check that the proposal agrees with the XML, which is what libvirt will start."""
    for xml in (vm.live_xml, vm.persistent_xml):
        if domainxml.name(xml) != vm.vm or domainxml.uuid(xml) != vm.uuid:
            _refuse("the XML is of another VM than the offer names")
    if amounts.memory(vm.live_xml) != vm.memory:
        _refuse("the XML has another amount of memory than the offer names")
    if len({disk.target for disk in vm.disks}) != len(vm.disks):
        _refuse("a disk is offered twice")
    _require_variables_alike(vm)
    live, defined = (
        {entry.target: entry for entry in domainxml.disks(xml)} for xml in (vm.live_xml, vm.persistent_xml)
    )
    behind = {target: name for name, target in _definition(vm).items()}
    for disk in vm.disks:
        entry = defined.get(behind.get(disk.target, "")) if disk.idle else live.get(disk.target)
        if entry is None or entry.empty or entry.path not in (disk.path, None):
            _refuse(f"it offers a disk {disk.target} that the XML does not have")
        elif (entry.format, entry.readonly) != (disk.format, disk.readonly):
            _refuse(f"the XML has another format of the disk {disk.target}, or lets the VM write to it otherwise")


def _require_variables_alike(vm: Proposal) -> None:
    if len([one for one in vm.artifacts if one.type is ArtifactType.FIRMWARE_VARIABLES]) > 1:
        _refuse("it offers more than one file with UEFI variables")
    offered, named = vm.variables, firmware.variables(vm.live_xml)
    if offered is None:
        return
    if named is None or (named.path, named.format) != (offered.path, offered.format):
        _refuse("it offers another file with UEFI variables than the XML has")
    if offered.target != firmware.VARIABLES or any(disk.target == offered.target for disk in vm.disks):
        _refuse(f"the file with the UEFI variables has to be called {firmware.VARIABLES}, and no disk")
    if offered.virtual_size > firmware.VARIABLES_MAX:
        _refuse("the file with the UEFI variables is larger than any VM has")


def _refuse(why: str) -> NoReturn:
    raise UsageError(codes.BAD_REQUEST, detail=why)


def _path(vm: Proposal, disk: Artifact) -> str:
    path = vm.options.disk_paths.get(disk.target)
    if path is not None:
        return path
    folder = vm.options.storage_path or dirname(disk.path)
    return f"{folder.rstrip('/')}/{basename(disk.path)}"


def _rewrite(
    vm: Proposal,
    destination: DestinationSnapshot,
    xml: str,
    disks: Mapping[str, tuple[str, str]],
    emptied: Collection[str] = (),
) -> str:
    networks = {name: _attachment(destination, target) for name, target in vm.options.map_networks.items()}
    xml = domainxml.without_sockets(_with_emulator(xml, destination))
    placed = domainxml.with_paths(xml, {target: path for target, (path, _) in disks.items()}, emptied)
    return domainxml.with_networks(placed, networks)


def _with_emulator(xml: str, destination: DestinationSnapshot) -> str:
    return domainxml.with_emulator(
        xml, capabilities.chosen(domainxml.emulator(xml), destination.emulators, destination.emulator)
    )


def _attachment(destination: DestinationSnapshot, name: str) -> Attachment:
    if name == UNPLUGGED:
        return Attachment("ethernet")
    # A network before a bridge of the same name: libvirt's own bridges are named after nothing of the user's.
    return Attachment("bridge" if name in destination.bridges and name not in destination.networks else "network", name)
