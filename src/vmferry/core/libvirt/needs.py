"""What a VM's configuration needs of its host: processors, filters, names and numbers that must be free."""

import re
from xml.etree.ElementTree import Element

from vmferry.core.libvirt.domainxml import kind, parse_domain

# libvirt's own names, which it gives anew on each host (VIR_NET_GENERATED_TAP_PREFIX and its like).
_GENERATED = re.compile(r"(vnet|vif|macvtap|macvlan)[0-9]+")
_PINS = ("vcpu", "cputune/vcpupin", "cputune/emulatorpin", "cputune/iothreadpin")
_DIGITS_MAX = 4  # no host has more processors
_CID_DIGITS_MAX = 10
_PARTS_MAX = 256


def numbers(text: str) -> set[int]:
    """Return the numbers of a list as libvirt and the kernel write them: `0-3,8,^2`; other text is ignored."""
    found: set[int] = set()
    for part in text.split(",")[:_PARTS_MAX]:
        first, dash, last = part.strip().removeprefix("^").partition("-")
        ends = (first, last if dash else first)
        if all(end.isascii() and end.isdecimal() and len(end) <= _DIGITS_MAX for end in ends):
            some = range(int(ends[0]), int(ends[1]) + 1)
            found = found.difference(some) if part.strip().startswith("^") else found.union(some)
    return found


def pinned(xml: str) -> list[tuple[str, str]]:
    """Return the sets of host processors that a VM is pinned to: what is pinned (`vcpupin 0`), and the set."""
    domain = parse_domain(xml)
    found = []
    for path in _PINS:
        for element in domain.findall(path):
            cpuset = element.get("cpuset", "")
            if cpuset:
                number = element.get("vcpu") or element.get("iothread") or ""
                found.append((f"{element.tag} {number}".strip(), cpuset))
    return found


def macs(xml: str) -> list[str]:
    """Return the addresses of a VM's network cards, in lower case."""
    found = (mac.get("address", "").lower() for mac in parse_domain(xml).findall("devices/interface/mac"))
    return [address for address in found if address]


def filters(xml: str) -> list[str]:
    """Return the network filters that a VM's cards have, without repetition."""
    found = (one.get("filter", "") for one in parse_domain(xml).findall("devices/interface/filterref"))
    return [name for name in dict.fromkeys(found) if name]


def portgroups(xml: str) -> list[tuple[str, str]]:
    """Return network and port group of each card that names one."""
    sources = parse_domain(xml).findall("devices/interface/source")
    return [
        (source.get("network", ""), source.get("portgroup", ""))
        for source in sources
        if source.get("network") and source.get("portgroup")
    ]


def device_names(xml: str) -> list[str]:
    """Return the names of a VM's network devices on its host, if libvirt does not choose them."""
    found = (target.get("dev", "") for target in parse_domain(xml).findall("devices/interface/target"))
    return [name for name in found if name and not _GENERATED.fullmatch(name)]


def open_vswitch(xml: str) -> set[str]:
    """Return the bridges of a VM that belong to Open vSwitch."""
    found = set()
    for interface in parse_domain(xml).findall("devices/interface[@type='bridge']"):
        port, source = interface.find("virtualport"), interface.find("source")
        if source is not None and port is not None and port.get("type") == "openvswitch":
            found.add(source.get("bridge", ""))
    return found


def cid(xml: str, *, fixed: bool = True) -> int | None:
    """Return the vsock CID of a VM.

    Arguments:
        fixed: only one that libvirt does not choose itself.
    """
    found: Element | None = parse_domain(xml).find("devices/vsock/cid")
    if found is None or (fixed and found.get("auto") == "yes"):
        return None
    text = found.get("address", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _CID_DIGITS_MAX else None


def nodes(xml: str) -> list[str]:
    """Return the device nodes that a host needs for a VM, besides those that every host has."""
    domain = parse_domain(xml)
    found = []
    if domain.find("devices/vsock") is not None:
        found.append("/dev/vhost-vsock")
    if kind(xml) == "kvm" and domain.find("devices/interface/driver[@name='vhost']") is not None:
        found.append("/dev/vhost-net")
    return found


def labels(xml: str) -> list[str]:
    """Return the security drivers of a VM's labels, without repetition."""
    found = (label.get("model", "") for label in parse_domain(xml).findall("seclabel"))
    return [model for model in dict.fromkeys(found) if model and model != "none"]
