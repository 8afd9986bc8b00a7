"""Reads and edits libvirt's domain XML (libvirt's docs/formatdomain), and tells two of them apart.

The tree keeps names as they are written (`v:x`, with `xmlns:v` an ordinary attribute): libvirt writes
prefixes as it read them, so what is carried over stays as its owner wrote it. Syntax that libvirt never
writes is refused, so that there is no second way to read what is judged here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder, tostring
from xml.parsers import expat

from vmferry.core import codes
from vmferry.core.errors import UsageError

# Deeper than any domain is, and shallow enough for every recursion below.
_DEPTH_MAX = 64
# A hostile XML can have a million; nobody reads more than the first few.
_DIFFERENCES_MAX = 50


class _Parser:
    """Builds a tree.

    Comments are left out, and allowed only in <metadata>, the one part that is not libvirt's own.
    """

    def __init__(self) -> None:
        self._builder = TreeBuilder()
        self._path: list[str] = []
        self._expat = expat.ParserCreate("utf-8")
        self._expat.buffer_text = True
        self._expat.ordered_attributes = False
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._builder.data
        self._expat.StartDoctypeDeclHandler = self._refuse_doctype
        self._expat.XmlDeclHandler = self._refuse_declaration
        self._expat.ProcessingInstructionHandler = self._refuse_instruction
        self._expat.CommentHandler = self._comment

    def parse(self, xml: str) -> Element:
        """Parse a whole document."""
        try:
            self._expat.Parse(xml.encode(), True)
        except expat.ExpatError as error:
            _refuse(f"it is not well-formed ({error})")
        except UnicodeEncodeError:
            _refuse("it is not Unicode")
        return self._builder.close()

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._path) == _DEPTH_MAX:
            _refuse(f"its elements are more than {_DEPTH_MAX} deep")
        self._path.append(tag)
        self._builder.start(tag, attributes)

    def _end(self, tag: str) -> None:
        self._path.pop()
        self._builder.end(tag)

    def _comment(self, _text: str) -> None:
        if self._path[1:2] != ["metadata"]:
            _refuse("it has a comment outside <metadata>")

    def _refuse_doctype(self, *_details: object) -> None:
        _refuse("it has a DOCTYPE")

    def _refuse_declaration(self, *_details: object) -> None:
        _refuse("it has an XML declaration")

    def _refuse_instruction(self, *_details: object) -> None:
        _refuse("it has a processing instruction")


def _refuse(why: str) -> NoReturn:
    raise UsageError(codes.BAD_REQUEST, detail=f"the XML cannot be used: {why}")


def parse(xml: str) -> Element:
    """Parse XML as libvirt writes it.

    Raises:
        UsageError: bad-request; it is not well-formed, or it holds what libvirt never writes: a DOCTYPE, a
            declaration, a processing instruction, a comment outside <metadata>, very deep elements.
    """
    return _Parser().parse(xml)


def parse_domain(xml: str) -> Element:
    """Parse a domain.

    Raises:
        UsageError: bad-request; see `parse`, or it is something else than a domain.
    """
    domain = parse(xml)
    if domain.tag != "domain":
        _refuse(f"it is not a <domain> but <{domain.tag}>")
    return domain


# --- what a domain says -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DiskEntry:
    """One <disk> of a domain.

    Arguments:
        target: the guest's name for it, e.g. `vda`.
        device: disk, cdrom, floppy or lun.
        kind: how its source is given: file, volume, block, network, ...
        path: the file, for kind `file`; None when the drive is empty.
        format: raw, qcow2, ...; libvirt takes raw where the XML names none.
        backing: paths of the files below it, topmost first, as far as the XML tells.
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

    @property
    def empty(self) -> bool:
        """Whether nothing is in the drive."""
        return self.path is None and self.volume is None and self.kind in ("file", "block", "volume")


def name(xml: str) -> str:
    """Give the VM's name."""
    return _text(parse_domain(xml), "name")


def uuid(xml: str) -> str:
    """Give the VM's UUID, as it is written."""
    return _text(parse_domain(xml), "uuid")


def emulator(xml: str) -> str:
    """Give the path of the program that runs the VM; empty when libvirt is to choose."""
    return _text(parse_domain(xml), "devices/emulator")


def machine(xml: str) -> str:
    """Give the machine type, e.g. `pc-q35-7.2`; empty when libvirt is to choose."""
    kind = parse_domain(xml).find("os/type")
    return kind.get("machine", "") if kind is not None else ""


def networks(xml: str) -> list[str]:
    """Give the libvirt networks and the bridges that the VM's interfaces are on, without repetition."""
    found = []
    for source in parse_domain(xml).findall("devices/interface/source"):
        place = source.get("network") or source.get("bridge")
        if place and place not in found:
            found.append(place)
    return found


def disks(xml: str) -> list[DiskEntry]:
    """Give the VM's disks in their order, empty drives included."""
    return [_entry(disk) for disk in _disks(parse_domain(xml))]


def host_uuid(capabilities: str) -> str:
    """Give the host's UUID from libvirt's capabilities."""
    return _text(parse(capabilities), "host/uuid")


# --- editing ------------------------------------------------------------------------------------------------


def with_paths(xml: str, paths: Mapping[str, str]) -> str:
    """Give the domain with its disks at other places; one of a storage pool becomes a file.

    Arguments:
        paths: disk target -> path. A disk that is not named stays as it is.
    """
    domain = parse_domain(xml)
    for disk in _disks(domain):
        path = paths.get(_entry(disk).target)
        source = disk.find("source")
        if path is None or source is None:
            continue
        if disk.get("type") == "volume":
            disk.set("type", "file")
            for gone in ("pool", "volume", "mode"):
                source.attrib.pop(gone, None)
        if disk.get("type") == "file":
            source.set("file", path)
    return _serialize(domain)


def for_copy(live_xml: str, targets: list[str]) -> str:
    """Give the domain as the destination starts it while disks are copied: so that sparse stays sparse.

    The mirror may begin with writing zeroes everywhere; with discard, QEMU makes holes of them (measured: a
    raw image that goes from libvirt 9.0 to 11.3). detect_zeroes would not help more, costs time for every
    write, and would shrink an image whose owner allocated it on purpose.

    Arguments:
        targets: the disks that are copied.
    """
    domain = parse_domain(live_xml)
    for disk in _disks(domain):
        driver = disk.find("driver")
        if driver is not None and _entry(disk).target in targets:
            driver.set("discard", "unmap")
    return _serialize(domain)


def _serialize(element: Element) -> str:
    return str(tostring(element, encoding="unicode"))


# --- comparing ----------------------------------------------------------------------------------------------


def differences(expected: str, found: str) -> list[str]:
    """Tell in which places two XML documents differ; none when they say the same.

    The order of attributes and white space between elements say nothing. All else does: the order of
    elements, every attribute, every text. (libvirt 9.0 writes an XML that it was given as
    VIR_MIGRATE_PARAM_DEST_XML to the other host just as it was, when that came from XMLDesc with MIGRATABLE
    and SECURE.)

    Raises:
        UsageError: bad-request; see `parse`.
    """
    return list(islice(_differ(parse(expected), parse(found), ""), _DIFFERENCES_MAX))


def _differ(expected: Element, found: Element, path: str) -> Iterator[str]:
    place = f"{path}/{expected.tag}" if path else expected.tag
    if expected.tag != found.tag:
        yield f"{place} is now <{_short(found.tag)}>"
        return
    for key in sorted(expected.attrib.keys() | found.attrib.keys()):
        if expected.get(key) != found.get(key):
            yield f"{place}@{key} {_changed(expected.get(key), found.get(key))}"
    if _content(expected) != _content(found):
        yield f"{place} {_changed(_content(expected), _content(found))}"
    for one, other in zip(expected, found, strict=False):
        yield from _differ(one, other, place)
        if _blank(one.tail) != _blank(other.tail):
            yield f"{place} {_changed(_blank(one.tail), _blank(other.tail))}"
    for missing in list(expected)[len(found) :]:
        yield f"{place}/{missing.tag} is missing"
    for added in list(found)[len(expected) :]:
        yield f"{place}/{_short(added.tag)} was added"


def _content(element: Element) -> str:
    """Give an element's text; the white space before its first child is only layout."""
    return _blank(element.text) if len(element) else element.text or ""


def _blank(text: str | None) -> str:
    return (text or "").strip()


def _changed(expected: str | None, found: str | None) -> str:
    if expected is None:
        return f"was added: {_short(found or '')}"
    if found is None:
        return "is missing"
    return f"is {_short(found)} instead of {_short(expected)}"


def _short(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 120 else f"{shown[:100]}..."


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
