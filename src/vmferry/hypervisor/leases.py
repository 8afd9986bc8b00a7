"""Disk leases of this host's VMs, which keep other hosts from starting one of them."""

import re
from pathlib import Path

_SETTINGS = Path("/etc/libvirt/qemu.conf")
_MANAGER = re.compile(r"""\s*lock_manager\s*=\s*["']([a-z]+)["']""")


def manager() -> str:
    """Return libvirt's lock manager, `sanlock` or `lockd`; empty if there is none. libvirt has no call for it."""
    try:
        lines = _SETTINGS.read_text().splitlines()
    except OSError:
        return ""
    found = [match[1] for line in lines if (match := _MANAGER.match(line))]
    return found[-1] if found else ""
