"""Read and edit libvirt's domain XML (libvirt's docs/formatdomain)."""

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal
from xml.etree.ElementTree import Element, tostring

from vmferry.core.libvirt.xmltree import fresh, parse, refuse

_DIGITS_MAX = 16
_CLEARS_TRANSLATIONS = 9_000_000  # the first QEMU that does
_UNITS = {"b": 1, "bytes": 1, "KB": 1000, "k": 1024, "KiB": 1024, "MB": 10**6, "M": 1 << 20, "MiB": 1 << 20}
_UNITS |= {"GB": 10**9, "G": 1 << 30, "GiB": 1 << 30}


def parse_domain(xml: str) -> Element:
    """Parse a domain; the tree is shared and must not be changed.

    Raises:
        UsageError: bad-request; see `xmltree.parse`, or the document is not a domain.
    """
    return _domain(parse(xml))


def _editable(xml: str) -> Element:
    """Parse a domain into a tree of the caller's own."""
    return _domain(fresh(xml))


def _domain(root: Element) -> Element:
    if root.tag != "domain":
        refuse(f"it is not a <domain> but <{root.tag}>")
    return root


# --- what a domain says -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DiskEntry:
    """One <disk> of a domain.

    Arguments:
        target: the guest's name for it, e.g. `vda`.
        device: disk, cdrom, floppy or lun.
        kind: how its source is given: file, volume, block, network, ...
        path: the file, for kind `file`; None if the drive is empty.
        format: raw, qcow2, ...; libvirt uses raw if the XML names none.
        backing: paths of its backing files, topmost first, as far as the XML names them.
        ends: whether the XML names the backing file, or says that there is none.
    """

    target: str
    device: str
    bus: str
    kind: str
    path: str | None
    format: str
    readonly: bool
    shareable: bool
    pool: str | None
    volume: str | None
    backing: tuple[str, ...]
    ends: bool = False

    @property
    def medium(self) -> bool:
        """Whether the file is a medium that a VM uses but does not own: read-only, or in a removable drive."""
        return self.readonly or self.drive

    @property
    def drive(self) -> bool:
        """Whether it is a drive that can be empty."""
        return self.device in ("cdrom", "floppy")

    @property
    def empty(self) -> bool:
        """Whether the drive is empty."""
        return self.path is None and self.volume is None and self.kind in ("file", "block", "volume")


def name(xml: str) -> str:
    """Return the VM's name as libvirt reads it: white space is part of it.

    Raises:
        UsageError: bad-request; see `xmltree.parse`, or there is not exactly one.
    """
    return _only(xml, "name")


def uuid(xml: str) -> str:
    """Return the VM's UUID, as it is written.

    Raises:
        UsageError: bad-request; see `xmltree.parse`, or there is not exactly one.
    """
    return _only(xml, "uuid")


def _only(xml: str, tag: str) -> str:
    found = parse_domain(xml).findall(tag)
    if len(found) != 1 or len(found[0]):
        refuse(f"it has {len(found)} <{tag}>, or more than text in it")
    return found[0].text or ""


def emulator(xml: str) -> str:
    """Return the path of the emulator; empty if libvirt chooses it."""
    return _text(parse_domain(xml), "devices/emulator")


def machine(xml: str) -> str:
    """Return the machine type, e.g. `pc-q35-7.2`; empty if libvirt chooses."""
    kind = parse_domain(xml).find("os/type")
    return kind.get("machine", "") if kind is not None else ""


def networks(xml: str) -> list[str]:
    """Return the libvirt networks and the bridges of the VM's interfaces, without repetition."""
    found = []
    for source in parse_domain(xml).findall("devices/interface/source"):
        place = source.get("network") or source.get("bridge")
        if place and place not in found:
            found.append(place)
    return found


def places(xml: str) -> list[str]:
    """Return what the VM's interfaces are connected to, without repetition: networks, bridges, devices (macvtap).

    QEMU's own network (type user) is left out: its state moves with the VM, and only an interface of the same type can
    load it.
    """
    found = (_place(interface) for interface in parse_domain(xml).findall("devices/interface"))
    return [place for place in dict.fromkeys(found) if place]


def _place(interface: Element) -> str:
    source = interface.find("source")
    if source is None:
        return ""
    return (
        source.get("network") or source.get("bridge") or (interface.get("type") == "direct" and source.get("dev")) or ""
    )


def architecture(xml: str) -> str:
    """Return the guest's architecture, e.g. `x86_64`; empty if libvirt chooses it."""
    kind = parse_domain(xml).find("os/type")
    return kind.get("arch", "") if kind is not None else ""


def kind(xml: str) -> str:
    """Return the domain's type: `kvm`, or `qemu` for an emulated VM."""
    return parse_domain(xml).get("type", "")


def cpu(xml: str) -> tuple[str, str]:
    """Return the CPU's mode (custom, host-model, host-passthrough, maximum; empty without one) and its XML."""
    found = parse_domain(xml).find("cpu")
    if found is None:
        return "", ""
    found = copy.deepcopy(found)
    found.tail = None
    return found.get("mode", "custom"), _serialize(found)


def topology(xml: str) -> dict[str, str] | None:
    """Return the attributes of the CPU's topology; None where the XML has none."""
    found = parse_domain(xml).find("cpu/topology")
    return None if found is None else dict(found.attrib)


def cmdline(xml: str) -> str:
    """Return the kernel's command line; empty if the VM boots with its own loader."""
    return _text(parse_domain(xml), "os/cmdline")


def loses_writes(xml: str, qemu: int) -> bool:
    """Return whether a VM can lose memory writes while it moves: it is emulated, by a QEMU that keeps stale code.

    QEMU 9.0 clears its translations with the record of changed memory (03bfc2188f06). With page-table isolation in the
    guest, older versions do so too.

    Arguments:
        qemu: version as libvirt counts; 0 if unknown.
    """
    return kind(xml) == "qemu" and 0 < qemu < _CLEARS_TRANSLATIONS and "pti=on" not in cmdline(xml)


def has(xml: str, path: str) -> bool:
    """Return whether there is an element at a path, e.g. `devices/tpm`."""
    return parse_domain(xml).find(path) is not None


def caches(xml: str) -> dict[str, str]:
    """Return the cache mode of each disk that names one: target -> mode."""
    found = {}
    for disk in _disks(parse_domain(xml)):
        driver = disk.find("driver")
        if driver is not None and driver.get("cache"):
            found[_entry(disk).target] = driver.get("cache", "")
    return found


def huge_pages(xml: str) -> list[int]:
    """Return the sizes in bytes of the huge pages that hold the VM's memory; 0 for the default size of the host."""
    backing = parse_domain(xml).find("memoryBacking/hugepages")
    if backing is None:
        return []
    pages = backing.findall("page")
    return [_size(page) for page in pages] or [0]


def _size(page: Element) -> int:
    number = page.get("size", "")
    readable = number.isdecimal() and len(number) < _DIGITS_MAX
    return int(number) * _UNITS.get(page.get("unit", "KiB"), 1024) if readable else 0


def disks(xml: str) -> list[DiskEntry]:
    """Return the VM's disks in their order, empty drives included."""
    return [_entry(disk) for disk in _disks(parse_domain(xml))]


def disk_entries(tree: Element) -> list[DiskEntry]:
    """Return every <disk> in a tree, wherever it stands: those in a snapshot's description included."""
    return [_entry(disk) for disk in tree.iter("disk")]


# --- editing ------------------------------------------------------------------------------------------------


def with_paths(xml: str, paths: Mapping[str, str], emptied: Collection[str] = ()) -> str:
    """Return the domain with other paths for its disks; a volume of a storage pool becomes a file.

    Arguments:
        paths: disk target -> path. Other disks stay as they are.
        emptied: targets of drives that are left empty.
    """
    domain = _editable(xml)
    for disk in _disks(domain):
        target = _entry(disk).target
        path = paths.get(target)
        source = disk.find("source")
        if source is None:
            continue
        if target in emptied:
            disk.set("type", "file")
            disk.remove(source)
            continue
        if path is None:
            continue
        if disk.get("type") == "volume":
            disk.set("type", "file")
            for gone in ("pool", "volume", "mode"):
                source.attrib.pop(gone, None)
        if disk.get("type") == "file":
            source.set("file", path)
    return _serialize(domain)


def with_ends(xml: str, targets: Collection[str]) -> str:
    """Return the domain with disks marked as having no backing file (an empty <backingStore>).

    Without the mark, libvirt reads the image's header and opens the files that it names.
    """
    domain = _editable(xml)
    for disk in _disks(domain):
        source = disk.find("source")
        if source is not None and _entry(disk).target in targets and disk.find("backingStore") is None:
            # Where libvirt has it: the XML that it sends with the move is compared with this one to the letter.
            disk.insert(list(disk).index(source) + 1, Element("backingStore"))
    return _serialize(domain)


@dataclass(frozen=True, slots=True)
class Attachment:
    """What an interface is connected to: a libvirt network or a bridge by name, or nothing (ethernet: only a tap)."""

    kind: Literal["network", "bridge", "ethernet"]
    name: str = ""


def with_networks(xml: str, places: Mapping[str, Attachment]) -> str:
    """Return the domain with its interfaces connected elsewhere; the guest sees no difference in them.

    Arguments:
        places: name of a network, bridge or device -> the new attachment. Others stay as they are.
    """
    domain = _editable(xml)
    for interface in domain.findall("devices/interface"):
        place = places.get(_place(interface))
        if place is None:
            continue
        for name in ("target", "virtualport", "vlan"):  # of the place where it was
            for element in interface.findall(name):
                interface.remove(element)
        interface.set("type", place.kind)
        interface.attrib.pop("trustGuestRxFilters", None)
        source = interface.find("source")
        assert source is not None  # it names the place
        source.attrib.clear()
        if place.kind == "ethernet":
            interface.remove(source)
            _down(interface)
        else:
            source.set(place.kind, place.name)
    return _serialize(domain)


_AFTER_LINK = ("mtu", "coalesce", "boot", "alias", "rom", "acpi", "address")


def _down(interface: Element) -> None:
    """Set the link down: the guest sees at once that it has no network."""
    link = interface.find("link")
    if link is None:
        link = Element("link")
        # Where libvirt has it: the XML that it sends with the move is compared with this one to the letter.
        after = (number for number, element in enumerate(interface) if element.tag in _AFTER_LINK)
        interface.insert(next(after, len(interface)), link)
    link.set("state", "down")


def with_emulator(xml: str, path: str) -> str:
    """Return the domain with another emulator."""
    domain = _editable(xml)
    for emulator in domain.findall("devices/emulator"):
        emulator.text = path
    return _serialize(domain)


def sockets(xml: str) -> dict[str, str]:
    """Return the sockets of a VM's channels that libvirt has not chosen: name of the channel -> path."""
    return {name: source.get("path", "") for name, source, _ in _named_sockets(parse_domain(xml))}


def without_sockets(xml: str) -> str:
    """Return the domain with its channels' sockets where libvirt creates them: the guest sees no difference."""
    domain = _editable(xml)
    for _name, source, channel in _named_sockets(domain):
        channel.remove(source)
    return _serialize(domain)


def _named_sockets(domain: Element) -> Iterator[tuple[str, Element, Element]]:
    for channel in domain.findall("devices/channel[@type='unix']"):
        target = channel.find("target[@type='virtio']")
        for source in channel.findall("source"):
            if target is not None and source.get("mode") == "bind" and source.get("path"):
                yield target.get("name", ""), source, channel


def _serialize(element: Element) -> str:
    return str(tostring(element, encoding="unicode"))


# --- small parts --------------------------------------------------------------------------------------------


def _disks(domain: Element) -> list[Element]:
    return domain.findall("devices/disk")


def _entry(disk: Element) -> DiskEntry:
    target, driver, source = disk.find("target"), disk.find("driver"), disk.find("source")
    place = source.attrib if source is not None else {}
    return DiskEntry(
        target=target.get("dev", "") if target is not None else "",
        device=disk.get("device", "disk"),
        bus=target.get("bus", "") if target is not None else "",
        kind=disk.get("type", "file"),
        path=place.get("file") or place.get("dev"),
        format=driver.get("type", "raw") if driver is not None else "raw",
        readonly=disk.find("readonly") is not None or disk.get("device") == "cdrom",
        shareable=disk.find("shareable") is not None,
        pool=place.get("pool"),
        volume=place.get("volume"),
        backing=tuple(_backing(disk)),
        ends=disk.find("backingStore") is not None,
    )


def _backing(disk: Element) -> Iterator[str]:
    store = disk.find("backingStore")
    while store is not None:
        source = store.find("source")
        if source is not None:
            yield next(iter(source.attrib.values()), "")
        store = store.find("backingStore")


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
