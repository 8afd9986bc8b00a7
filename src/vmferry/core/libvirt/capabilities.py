"""Read what libvirt reports about a host: capabilities (formatcaps) and domain capabilities (formatdomaincaps)."""

import copy
from xml.etree.ElementTree import Element, tostring

from vmferry.core.libvirt import xmltree

# This host's own libvirt tells them: of each NUMA node's processors, of each architecture's machines.
_LIMITS = xmltree.DocumentLimits(size=16 << 20, elements=200_000)


def host_uuid(capabilities: str) -> str:
    """Return the host's UUID."""
    return (_parse(capabilities).findtext("host/uuid") or "").strip()


def cpu(capabilities: str) -> str:
    """Return the host's CPU as XML, as libvirt takes it for a comparison; empty if there is none."""
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
    """Return the machine types for guests of an architecture, aliases included; None if the host runs no such guests.

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
    """Return the emulator that libvirt uses for guests of an architecture if their XML names none; empty if unknown.

    Arguments:
        kind: the domain's type, kvm or qemu.
    """
    for arch in _parse(capabilities).findall("guest/arch"):
        if arch.get("name") == architecture:
            own = next((entry for entry in arch.findall("domain") if entry.get("type") == kind), None)
            return (own.findtext("emulator") if own is not None else "") or arch.findtext("emulator") or ""
    return ""


def chosen(named: str, listed: list[str] | None, own: str) -> str:
    """Return the emulator that runs a VM on a host: the one in its XML, or libvirt's own if that is not available.

    Arguments:
        named: in the VM's XML; empty if there is none.
        listed: emulators that the host allows and has; None if unknown.
        own: the one that libvirt chooses by itself.
    """
    if not named or listed is None or named in listed or own not in listed:
        return named
    return own


def tpm(domain_capabilities: str) -> bool:
    """Return whether TPMs can be emulated; libvirt reports it only if swtpm is installed."""
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
