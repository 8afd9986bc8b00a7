"""How much of a host a VM uses: derived from its XML, as libvirt counts, never from what another host reports."""

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from vmferry.core.libvirt.domainxml import parse_domain
from vmferry.core.libvirt.xmltree import refuse

_DIGITS = re.compile(r"[0-9]{1,18}")
_MEMORY_MAX = 1 << 60  # bytes
_POWERS = "kmgtpe"
_REASONS_MAX = 50

# Each takes memory, threads or descriptors of the host as soon as the VM starts, and none of them is booked. The
# numbers are above what QEMU lets a guest have, or what libvirt's own tests and real VMs have.
_COUNTS = {
    "vcpu": 1024,
    "vcpu@current": 1024,
    "iothreads": 128,
    "defaultiothread@thread_pool_min": 1024,
    "defaultiothread@thread_pool_max": 1024,
    "iothreadids/iothread@thread_pool_min": 1024,
    "iothreadids/iothread@thread_pool_max": 1024,
    "maxMemory@slots": 256,
    "memoryBacking/allocation@threads": 1024,
    "devices/disk/driver@queues": 1024,
    "devices/disk/driver@queue_size": 1024,
    "devices/controller/driver@queues": 1024,
    "devices/controller@ports": 512,
    "devices/controller@vectors": 1024,
    "devices/interface/driver@queues": 256,
    "devices/interface/driver@rx_queue_size": 1024,
    "devices/interface/driver@tx_queue_size": 1024,
    "devices/crypto/backend@queues": 256,
    "devices/video/model@heads": 16,
    "devices/sound@streams": 64,
    "features/kvm/dirty-ring@size": 65536,
}
# Bytes, and the unit in which a number without one counts.
_SIZES = {
    "devices/video/model@ram": (1 << 30, 1024),
    "devices/video/model@vram": (1 << 30, 1024),
    "devices/video/model@vram64": (1 << 30, 1024),
    "devices/video/model@vgamem": (1 << 30, 1024),
    "devices/disk/driver/metadata_cache/max_size": (1 << 30, 1),
    "features/tcg/tb-cache": (4 << 30, 1024),
    "features/smm/tseg": (1 << 30, 1 << 20),
}
# Elements with that path, in all.
_ELEMENTS = {
    "devices/disk": 512,
    "devices/interface": 256,
    "devices/controller": 512,
    "devices/video": 16,
    "devices/graphics": 8,
    "devices/memory": 256,
    "devices/*": 2048,
    "iothreadids/iothread": 128,
    "vcpus/vcpu": 1024,
}


def memory(xml: str) -> int:
    """Return the bytes of memory of the guest, including hot-plugged memory.

    If there are guest NUMA nodes, libvirt uses their memory in place of <memory>; so the larger value counts.

    Raises:
        UsageError: bad-request; the value cannot be read, or is too large.
    """
    domain = parse_domain(xml)
    found = domain.findall("memory")
    if len(found) != 1:
        refuse(f"it has {len(found)} <memory>")
    whole = _bytes(found[0].text or "", found[0].get("unit"))
    parts = [_bytes(cell.get("memory", ""), cell.get("unit")) for cell in domain.findall("cpu/numa/cell")]
    for size in domain.findall("devices/memory/target/size"):
        parts.append(_bytes(size.text or "", size.get("unit")))
    total = max(whole, sum(parts))
    if total > _MEMORY_MAX:
        refuse(f"it has {total} bytes of memory")
    return total


def excesses(xml: str) -> list[str]:
    """Return what a VM has more of than this host allows any VM, as parts of a sentence; none if all is well.

    Raises:
        UsageError: bad-request; the XML is not a domain.
    """
    return list(dict.fromkeys(_excesses(parse_domain(xml))))[:_REASONS_MAX]


def _excesses(domain: Element) -> Iterator[str]:
    for path, most in _ELEMENTS.items():
        count = len(domain.findall(path))
        if count > most:
            yield f"it has {count} <{path}>, and {most} is the most"
    for position, most in _COUNTS.items():
        for value, _unit in _values(domain, position):
            if not _DIGITS.fullmatch(value) or int(value) > most:
                yield f"{position} is {value[:40]}, and {most} is the most"
    for position, (most, default) in _SIZES.items():
        for value, unit in _values(domain, position):
            if _scaled(value, unit, default) > most:
                yield f"{position} is {value[:40]}, and {most >> 20} MiB is the most"


def _values(domain: Element, position: str) -> Iterator[tuple[str, str | None]]:
    path, _, attribute = position.partition("@")
    for element in domain.findall(path):
        value = element.get(attribute) if attribute else (element.text or "").strip()
        if value is not None and (value or attribute):
            yield value, None if attribute else element.get("unit")


def _bytes(text: str, unit: str | None) -> int:
    size = _scaled(text, unit, 1024)
    if size > _MEMORY_MAX:
        refuse(f"{text[:40]} {(unit or 'KiB')[:20]} is no amount of memory")
    return size


def _scaled(text: str, unit: str | None, default: int) -> int:
    """Return bytes; more than any limit if libvirt's virScaleInteger does not read the value, or it makes no sense."""
    if not _DIGITS.fullmatch(text):
        return 2 * _MEMORY_MAX
    return int(text) * (_factor(unit.lower()) if unit else default)


def _factor(unit: str) -> int:
    if unit in ("b", "byte", "bytes"):
        return 1
    power = _POWERS.find(unit[0]) + 1
    base = {"": 1024, "ib": 1024, "b": 1000}.get(unit[1:])
    return int(base**power) if base and power else 2 * _MEMORY_MAX
