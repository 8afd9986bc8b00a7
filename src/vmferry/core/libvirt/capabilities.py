"""Reads what libvirt says of a host: capabilities (formatcaps) and domain capabilities (formatdomaincaps)."""

import copy
from xml.etree.ElementTree import Element, tostring

from vmferry.core.libvirt import xmltree

# This host's own libvirt tells them: of each NUMA node's processors, of each architecture's machines.
_LIMITS = xmltree.DocumentLimits(size=16 << 20, elements=200_000)


def host_uuid(capabilities: str) -> str:
    """Return the host's UUID."""
    return (_parse(capabilities).findtext("host/uuid") or "").strip()


def cpu(capabilities: str) -> str:
    """Return the host's processor as XML, as libvirt takes it for a comparison; empty if it names none."""
    found = _parse(capabilities).find("host/cpu")
    if found is None:
        return ""
    found = copy.deepcopy(found)
    found.tail = None
    return str(tostring(found, encoding="unicode"))


def confinement(capabilities: str) -> list[str]:
    """Return the security drivers that confine VMs, e.g. apparmor and dac."""
    models = (element.text for element in _parse(capabilities).findall("host/secmodel/model"))
    return [model for model in models if model and model != "none"]


def machines(capabilities: str, architecture: str, kind: str) -> list[str] | None:
    """Return the machine types for guests of an architecture, aliases included; None when it runs no such guests.

    Arguments:
        kind: the domain's type, kvm or qemu.
    """
    for arch in _parse(capabilities).findall("guest/arch"):
        if arch.get("name") != architecture:
            continue
        domain = next((entry for entry in arch.findall("domain") if entry.get("type") == kind), None)
        if domain is None:
            return None
        own = domain.findall("machine")  # where a kind has another emulator, it has a list of its own
        return _names(own or arch.findall("machine"))
    return None


def emulator(capabilities: str, architecture: str, kind: str) -> str:
    """Return the program that libvirt takes for guests of an architecture where their XML names none; empty: unknown.

    Arguments:
        kind: the domain's type, kvm or qemu.
    """
    for arch in _parse(capabilities).findall("guest/arch"):
        if arch.get("name") == architecture:
            own = next((entry for entry in arch.findall("domain") if entry.get("type") == kind), None)
            return (own.findtext("emulator") if own is not None else "") or arch.findtext("emulator") or ""
    return ""


def chosen(named: str, listed: list[str] | None, own: str) -> str:
    """Return what runs a VM on a host: the program that its XML names, or libvirt's own where that is not to be had.

    Arguments:
        named: in the VM's XML; empty: none.
        listed: programs that the host lets VMs have and that are there; None: unknown.
        own: what libvirt takes by itself.
    """
    if not named or listed is None or named in listed or own not in listed:
        return named
    return own


def tpm(domain_capabilities: str) -> bool:
    """Return whether TPMs can be emulated; libvirt says so only where swtpm is installed."""
    devices = _parse(domain_capabilities).find("devices/tpm")
    if devices is None or devices.get("supported") != "yes":
        return False
    return any(value.text == "emulator" for value in devices.findall("enum[@name='backendModel']/value"))


def _parse(said: str) -> Element:
    return xmltree.parse(said, _LIMITS)


def _names(machines: list[Element]) -> list[str]:
    found: dict[str, None] = {}
    for machine in machines:
        found[machine.text or ""] = None
        if machine.get("canonical"):
            found[machine.get("canonical", "")] = None
    return list(found)
