"""Host devices, and all else that the destination does not allow in VMs from other hosts."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.libvirt import domainxml, hostpolicy
from vmferry.core.libvirt.domainxml import parse_domain
from vmferry.core.libvirt.hostpolicy import Violation
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Case, Check

# What cannot follow a running VM, by where it stands in the XML.
_BOUND = {
    "devices/hostdev[@type='pci']": "a PCI device (hostdev)",
    "devices/hostdev[@type='usb']": "a USB device (hostdev)",
    "devices/hostdev[@type='mdev']": "a mediated device (hostdev)",
    "devices/hostdev[@type='scsi']": "a SCSI device (hostdev)",
    "devices/hostdev[@type='scsi_host']": "a SCSI host (hostdev)",
    "devices/interface[@type='hostdev']": "a network card (interface type hostdev)",
    "devices/interface[@type='vdpa']": "a vDPA device (interface type vdpa)",
    "devices/disk[@type='vhostvdpa']": "a vDPA disk",
    "devices/filesystem": "a shared folder (filesystem)",
    "devices/tpm/backend[@type='passthrough']": "its TPM (passthrough)",
    "devices/shmem": "shared memory (shmem)",
    "devices/serial[@type='dev']": "a serial port (type dev)",
    "devices/parallel[@type='dev']": "a parallel port (type dev)",
    "devices/smartcard[@mode='host']": "a smart card reader",
    "devices/memory[@model='nvdimm']": "an NVDIMM",
}


def _bound(case: Case) -> Iterator[Finding]:
    live, defined = parse_domain(case.plan.live_xml), parse_domain(case.plan.persistent_xml)
    for path, device in _BOUND.items():
        count = len(live.findall(path))
        if count:
            yield _device(case, device if count == 1 else f"{device}, {count} of them", "--live")
        elif defined.find(path) is not None:
            yield _device(case, f"{device}, from its next start on", "--config")


def _device(case: Case, device: str, flag: str) -> Finding:
    fields = {"vm": case.vm.vm, "source": case.vm.source, "device": device, "flag": flag}
    return Finding.blocks(codes.DEVICE_HOST_BOUND, (device, ""), **fields)


def _policy(case: Case) -> Iterator[Finding]:
    plan = case.plan
    reasons: dict[str, None] = {}
    for xml, planned in ((plan.live_xml, plan.live), (plan.persistent_xml, plan.defined)):
        reasons |= dict.fromkeys(hostpolicy.violations(xml, case.destination.policy) + hostpolicy.strays(xml, planned))
    # A disk in a folder that is not allowed blocks the move already (storage.py), and in plainer words.
    told = [place.path for place in case.destination.places if not (place.allowed and place.folder_exists)]
    rest = [reason for reason in reasons if not any(path in reason for path in told)]
    if rest:
        why = "; ".join(rest)
        fields = {
            "host": case.destination.name,
            "vm": case.vm.vm,
            "why": why,
            "allowed": _allowed(rest, case.destination.name),
        }
        yield Finding.blocks(codes.DEVICE_FORBIDDEN, ("", why), **fields)


def _allowed(reasons: list[str], host: str) -> str:
    """Return how the administrator can allow what was found, if a setting does; otherwise empty."""
    settings = {reason.setting: None for reason in reasons if isinstance(reason, Violation) and reason.setting}
    if not settings:
        return ""
    names = ", ".join(f"`{setting}`" for setting in settings)
    part = "" if all(isinstance(reason, Violation) and reason.setting for reason in reasons) else ", as far as it goes,"
    return f"; or{part} add what is named to {names} in {host}'s vmferry.toml and restart vmferryd there"


def _sockets(case: Case) -> Iterator[Finding]:
    for channel, path in domainxml.sockets(case.vm.live_xml).items():
        fields = {"host": case.destination.name, "vm": case.vm.vm, "channel": channel, "path": path}
        yield Finding.warns(codes.SOCKET_MOVED, (path, ""), **fields)


def _libvirt(case: Case) -> Iterator[Finding]:
    if case.refusal is not None:
        yield Finding.blocks(
            codes.LIBVIRT_REFUSED, ("", case.refusal), host=case.destination.name, vm=case.vm.vm, detail=case.refusal
        )


BOUND = Check(
    _bound, {codes.DEVICE_HOST_BOUND: "The device is part of the source host, and its state cannot be read and sent."}
)
POLICY = Check(
    _policy,
    {
        codes.DEVICE_FORBIDDEN: "libvirt carries out a VM's configuration as root. So a host accepts from others "
        "only what it knows to be "
        "harmless, and files only in the folders of its vmferry.toml."
    },
)
SOCKETS = Check(
    _sockets,
    {
        codes.SOCKET_MOVED: "A socket that the VM's configuration names could belong to another VM; libvirt names "
        "its own after the VM."
    },
)
LIBVIRT = Check(
    _libvirt, {codes.LIBVIRT_REFUSED: "The destination's libvirt or QEMU lacks something that the VM uses."}
)
