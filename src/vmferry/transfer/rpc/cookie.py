"""Judges the cookie that one libvirt passes to the other in a migration: XML, ended by a NUL.

Source for what libvirt puts there, and in which call: libvirt's src/qemu/qemu_migration_cookie.c and, for each call,
the flags in qemu_migration.c. It is the same in libvirt 9.0 and 11.3.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from xml.etree.ElementTree import Element

from vmferry.core.errors import VmferryError
from vmferry.core.libvirt import xmltree

_NUMBER = re.compile(r"-?[0-9]{1,20}")
_COUNT = re.compile(r"[0-9]{1,20}")
_WORD = re.compile(r"[A-Za-z0-9_.,+ -]{0,255}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME_MAX = 1023  # bytes of a bitmap's name (QEMU's BDRV_BITMAP_MAX_NAME_SIZE)
# Open vSwitch's port data ends up in a command line of ovs-vsctl, where a comma or a quote begins something
# new.
_PORT_DATA = re.compile(r"[A-Za-z0-9_.:+=-]*")
# Features that the receiver must know. Not among them: persistent, which would make it define the <domain> in
# the cookie.
_FEATURES = re.compile(r"lockstate|memory-hotplug|cpu-hotplug|allowReboot|block-dirty-bitmaps")


class _BitmapName:
    """The name of a disk's bitmap: QEMU and backup programs accept any text."""

    @staticmethod
    def fullmatch(value: str) -> bool:
        """Return whether the value can be a name."""
        return bool(value) and value.isprintable() and len(value.encode()) <= _NAME_MAX


_Rule = re.Pattern[str] | type[_BitmapName]


class Call(Enum):
    """The call that a cookie comes with."""

    PREPARE = "prepare"
    FINISH = "finish"
    CANCELLED = "cancelled finish"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the cookies of one migration may contain.

    Arguments:
        vm: the VM's name.
        uuid: the VM's UUID.
        targets: the VM's disks.
        mirrored: whether disks are copied.
        topology: the attributes of <topology> in the granted CPU; None if there is none.
    """

    vm: str
    uuid: str
    targets: frozenset[str]
    mirrored: bool
    topology: dict[str, str] | None


# Path below <qemu-migration> -> what its attributes have to be; all of them are there. Text is judged by _TEXTS; where
# that has nothing, none may be.
_ELEMENTS: dict[str, dict[str, _Rule]] = {
    "name": {},
    "uuid": {},
    "hostname": {},
    "hostuuid": {},
    "feature": {"name": _FEATURES},
    "network": {},
    "network/interface": {"index": _COUNT, "vporttype": _WORD},
    "network/interface/portdata": {},
    "nbd": {},
    "nbd/disk": {"target": _WORD, "capacity": _COUNT},
    "statistics": {},
    "allowReboot": {"value": re.compile("yes|no")},
    "capabilities": {},
    "capabilities/cap": {"name": _WORD, "auto": re.compile("yes|no")},
    "blockDirtyBitmaps": {},
    "blockDirtyBitmaps/disk": {"target": _WORD},
    "blockDirtyBitmaps/disk/bitmap": {"name": _BitmapName, "alias": _BitmapName},
}
_TEXTS = {"hostname": _HOST, "hostuuid": _UUID, "network/interface/portdata": _PORT_DATA}
# libvirt's virCPUDefFormatBuf, less what stands in a description of a host.
_CPU = {
    "cpu": {"mode", "match", "check", "migratable", "deprecated_features"},
    "cpu/model": {"fallback", "vendor_id"},
    "cpu/vendor": set(),
    "cpu/topology": {"sockets", "books", "drawers", "dies", "clusters", "modules", "cores", "threads"},
    "cpu/cache": {"level", "mode"},
    "cpu/maxphysaddr": {"mode", "bits", "limit"},
    "cpu/feature": {"policy", "name"},
}

# What a real cookie always has, each once. libvirtd 9.0 reads what follows from a part without asking for it: it dies
# of a Prepare without a cookie.
_ALWAYS = ("name", "uuid", "hostname", "hostuuid")
_REQUIRED = {Call.PREPARE: (*_ALWAYS, "capabilities"), Call.FINISH: (*_ALWAYS, "statistics"), Call.CANCELLED: _ALWAYS}
_LATE = frozenset({*_ALWAYS, "network", "nbd", "statistics", "blockDirtyBitmaps"})
_MAY: dict[Call, frozenset[str]] = {
    Call.PREPARE: frozenset({*_ALWAYS, "feature", "nbd", "cpu", "allowReboot", "capabilities", "blockDirtyBitmaps"}),
    Call.FINISH: _LATE,
    Call.CANCELLED: _LATE,
}
# Elements of which there may be several; the attributes that tell them apart.
_SEVERAL = {
    "feature": ("name",),
    "network/interface": ("index",),
    "nbd/disk": ("target",),
    "capabilities/cap": ("name",),
    "blockDirtyBitmaps/disk": ("target",),
    "blockDirtyBitmaps/disk/bitmap": ("name", "alias"),
    "cpu/feature": ("name",),
}


def problems(cookie: bytes, call: Call, expected: Expected) -> list[str]:
    """Return what in a cookie does not belong to a move of ours, or is missing; none if all is well.

    Only a cancelled Finish may come without a cookie. A cookie with a <domain> is always wrong: libvirt sends it only
    for
    VIR_MIGRATE_PERSIST_DEST, which vmferry does not use.

    Arguments:
        cookie: its bytes.
        call: the call that it came with.
        expected: what it may contain.
    """
    if not cookie:
        return [] if call is Call.CANCELLED else ["the cookie is missing"]
    text = cookie.removesuffix(b"\0")
    if text == cookie:
        return ["the cookie has no end"]
    if b"\0" in text:
        return ["the cookie goes on after its end"]
    try:
        root = xmltree.parse(text.decode())
    except UnicodeDecodeError:
        return ["the cookie is not UTF-8"]
    except VmferryError as error:
        return [f"the cookie: {error.reason}"]
    if root.tag != "qemu-migration" or root.attrib or (root.text or "").strip():
        return ["the cookie is not a <qemu-migration>"]
    return [*_judge_whole(root, call, expected), *_judge_children(root, "")]


def _judge_whole(root: Element, call: Call, expected: Expected) -> Iterator[str]:
    if [element.text for element in root.findall("name")] != [expected.vm]:
        yield "the cookie is of another VM"
    if [element.text for element in root.findall("uuid")] != [expected.uuid]:
        yield "the cookie is of a VM with another UUID"
    found = {child.tag for child in root}
    required = {*_REQUIRED[call], *(["nbd"] if expected.mirrored and call is not Call.CANCELLED else [])}
    for tag in sorted(required - found):
        yield f"the cookie has no <{tag}>"
    for tag in sorted(found - _MAY[call]):
        yield f"the cookie has a <{tag[:100]}>"
    if call is Call.PREPARE and "lockstate" not in [feature.get("name") for feature in root.findall("feature")]:
        yield "the cookie has no <feature name='lockstate'/>"
    for disk in [*root.findall("nbd/disk"), *root.findall("blockDirtyBitmaps/disk")]:
        if disk.get("target") not in expected.targets:
            yield f"the cookie names a disk {_shown(disk.get('target', ''))} that the VM has not"
    topology = root.find("cpu/topology")
    if topology is not None and topology.attrib != (expected.topology or {}):
        yield "the cookie's <cpu> has another topology than was granted"


def _judge_children(parent: Element, path: str) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for child in parent:
        name = f"{path}/{child.tag}" if path else child.tag
        keys = _SEVERAL.get(name, ())
        seen.update([f"{name} {key}={child.get(key, '')}" for key in keys] or [name])
        if (child.tail or "").strip():
            yield f"the cookie has text after <{name[:100]}>"
        if name in _CPU:
            yield from _judge_cpu(child, name)
            yield from _judge_children(child, name)
        elif path == "statistics":
            if len(child) or child.attrib or not _NUMBER.fullmatch(child.text or ""):
                yield "the cookie's statistics are not numbers"
        elif name not in _ELEMENTS:
            yield f"the cookie has a <{name[:100]}>"
        else:
            yield from _judge_element(child, name)
            yield from _judge_children(child, name)
    for what, count in seen.items():
        if count > 1:
            yield f"the cookie has {count} <{what[:100]}>"


def _judge_element(element: Element, name: str) -> Iterator[str]:
    allowed = _ELEMENTS[name]
    for key in sorted(allowed.keys() - element.attrib.keys()):
        yield f"the cookie's <{name}> has no {key}"
    for key, value in element.attrib.items():
        if key not in allowed or not allowed[key].fullmatch(value):
            yield f"the cookie's <{name}> has {key[:100]}={_shown(value)}"
    text = element.text or ""
    pattern = _TEXTS.get(name)
    if name not in ("name", "uuid") and not (pattern.fullmatch(text) if pattern else not text.strip()):
        yield f"the cookie's <{name}> says {_shown(text)}"


def _judge_cpu(element: Element, name: str) -> Iterator[str]:
    """Require words and numbers in the CPU's description, as libvirt writes it; it names nothing of the host."""
    vendor = element.get("vendor_id", "")  # any twelve letters
    words = [value for key, value in element.attrib.items() if key != "vendor_id"] + [(element.text or "").strip()]
    strange = not vendor.isprintable() or len(vendor) > 12 or not all(_WORD.fullmatch(word) for word in words)
    if strange or element.attrib.keys() - _CPU[name]:
        yield f"the cookie's <cpu> has a strange <{element.tag[:100]}>"


def _shown(text: str) -> str:
    return repr(text[:100])
