"""What a VM boots from: firmware, kernel, and the file with its UEFI variables (libvirt's docs/formatdomain, `os`)."""

from dataclasses import dataclass

from vmferry.core.libvirt.domainxml import parse_domain

VARIABLES = "nvram"  # how the file with the variables is called among a move's disks
VARIABLES_MAX = 64 << 20  # bytes; QEMU's own limit for a PC is 8 MiB for all of its flash


@dataclass(frozen=True, slots=True)
class Flash:
    """The file with a VM's UEFI variables.

    Arguments:
        path: of the file.
        format: raw or qcow2.
    """

    path: str
    format: str


def variables(xml: str) -> Flash | None:
    """Return the file with a VM's UEFI variables; None if there is none, or libvirt has not chosen one yet."""
    nvram = parse_domain(xml).find("os/nvram")
    if nvram is None:
        return None
    source = nvram.find("source")
    path = source.get("file") if source is not None else (nvram.text or "").strip()
    return Flash(path, nvram.get("format", "raw")) if path else None


def template(xml: str) -> str:
    """Return the host's file with the variables of a new VM; empty if none is named."""
    nvram = parse_domain(xml).find("os/nvram")
    return nvram.get("template", "") if nvram is not None else ""


def boot_files(xml: str) -> list[str]:
    """Return the host's files that the VM boots from: firmware, its template, kernel, initramfs."""
    os = parse_domain(xml).find("os")
    if os is None:
        return []
    found = [os.findtext(name) or "" for name in ("loader", "kernel", "initrd", "dtb", "shim", "acpi/table")]
    nvram = os.find("nvram")
    if nvram is not None:
        found.append(nvram.get("template", ""))
    return [path.strip() for path in found if path.strip()]
