"""Judges the cookie that one libvirt hands to the other in a migration: XML, ended by a NUL.

Source for what libvirt puts there: libvirt's src/qemu/qemu_migration_cookie.c.
"""

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from vmferry.core import domainxml
from vmferry.core.errors import VmferryError

_NUMBER = re.compile(r"-?[0-9]{1,20}")
_WORD = re.compile(r"[A-Za-z0-9_.,+ -]{0,255}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Open vSwitch's port data ends up in a command line of ovs-vsctl, where a comma or a quote begins something
# new.
_PORT_DATA = re.compile(r"[A-Za-z0-9_.:+=-]*")
_SUBJECT = re.compile(r"[A-Za-z0-9_.,:;+= @*-]{0,1024}")

# Features that the receiver must know. Not among them: persistent, which would make it define the <domain> in
# the cookie.
_FEATURES = re.compile(r"lockstate|memory-hotplug|cpu-hotplug|allowReboot|block-dirty-bitmaps")

# Path below <qemu-migration> -> what its attributes may be. Text is judged by _TEXTS; where that has nothing,
# none may be.
_ELEMENTS: dict[str, dict[str, re.Pattern[str]]] = {
    "name": {},
    "uuid": {},
    "hostname": {},
    "hostuuid": {},
    "feature": {"name": _FEATURES},
    "graphics": {
        "type": _WORD,
        "port": _NUMBER,
        "tlsPort": _NUMBER,
        "listen": re.compile(r"[0-9A-Fa-f.:]{1,45}"),
    },
    "graphics/cert": {"info": re.compile("subject"), "value": _SUBJECT},
    "network": {},
    "network/interface": {"index": _NUMBER, "vporttype": _WORD},
    "network/interface/portdata": {},
    "nbd": {},
    "nbd/disk": {"target": _WORD, "capacity": _NUMBER},
    "statistics": {},
    "capabilities": {},
    "capabilities/cap": {"name": _WORD, "auto": re.compile("yes|no")},
    "blockDirtyBitmaps": {},
    "blockDirtyBitmaps/disk": {"target": _WORD},
    "blockDirtyBitmaps/disk/bitmap": {"name": _WORD, "alias": _WORD},
}
_TEXTS = {"hostname": _HOST, "hostuuid": _UUID, "network/interface/portdata": _PORT_DATA}


def problems(cookie: bytes, *, vm: str, uuid: str, targets: frozenset[str]) -> list[str]:
    """Tell what in a cookie libvirt would not have put there in a move of ours; none when all is well.

    A cookie may be empty. One with a <domain> is never well: libvirt sends it only for
    VIR_MIGRATE_PERSIST_DEST, which we do not use.

    Arguments:
        vm: the VM's name.
        uuid: the VM's UUID.
        targets: the VM's disks.
    """
    if not cookie:
        return []
    text = cookie.removesuffix(b"\0")
    if b"\0" in text:
        return ["the cookie goes on after its end"]
    try:
        root = domainxml.parse(text.decode())
    except UnicodeDecodeError:
        return ["the cookie is not UTF-8"]
    except VmferryError as error:
        return [f"the cookie: {error.reason}"]
    if root.tag != "qemu-migration" or root.attrib or (root.text or "").strip():
        return ["the cookie is not a <qemu-migration>"]
    found = list(_judge_children(root, ""))
    if [element.text for element in root.findall("name")] != [vm]:
        found.append("the cookie is of another VM")
    if [element.text for element in root.findall("uuid")] != [uuid]:
        found.append("the cookie is of a VM with another UUID")
    for disk in [*root.findall("nbd/disk"), *root.findall("blockDirtyBitmaps/disk")]:
        if disk.get("target") not in targets:
            found.append(f"the cookie names a disk {disk.get('target')!r} that the VM has not")
    return found


def _judge_children(parent: Element, path: str) -> Iterator[str]:
    for child in parent:
        place = f"{path}/{child.tag}" if path else child.tag
        if (child.tail or "").strip():
            yield f"the cookie has text after <{place}>"
        if place == "cpu":
            yield from _judge_cpu(child)
        elif path == "statistics":
            if len(child) or child.attrib or not _NUMBER.fullmatch(child.text or ""):
                yield "the cookie's statistics are not numbers"
        elif place not in _ELEMENTS:
            yield f"the cookie has a <{place[:100]}>"
        else:
            yield from _judge_element(child, place)
            yield from _judge_children(child, place)


def _judge_element(element: Element, place: str) -> Iterator[str]:
    allowed = _ELEMENTS[place]
    for key, value in element.attrib.items():
        if key not in allowed or not allowed[key].fullmatch(value):
            yield f"the cookie's <{place}> has {key[:100]}={value[:100]!r}"
    text = element.text or ""
    pattern = _TEXTS.get(place)
    if place not in ("name", "uuid") and not (pattern.fullmatch(text) if pattern else not text.strip()):
        yield f"the cookie's <{place}> says {text[:100]!r}"


def _judge_cpu(cpu: Element) -> Iterator[str]:
    """Hold the CPU's description to words and numbers; it names nothing of the host's."""
    for element in cpu.iter():
        words = [element.tag, *element.attrib, *element.attrib.values(), (element.text or "").strip()]
        if not all(_WORD.fullmatch(word) for word in words):
            yield f"the cookie's <cpu> has a strange <{element.tag[:100]}>"
