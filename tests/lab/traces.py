"""What a lab leaves on the machine, and what it has to leave alone."""

import os
import subprocess
from pathlib import Path

from vmferry.lab import network
from vmferry.lab.lab import Lab

NOTHING: dict[str, list[str]] = {"namespaces": [], "mounts": [], "files": [], "processes": []}


def belongings(lab: Lab) -> dict[str, list[str]]:
    """Return all that a lab may have on the machine."""
    layout = lab.layout
    mine = (f"/vmferry-lab/{layout.name}/", f"vmf-{layout.name}-")
    found: dict[str, list[str]] = {
        "namespaces": [name for name in network.namespaces() if name.startswith(mine[1])],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if any(one in line for one in mine)],
        "files": [str(folder) for folder in (layout.state, layout.run) if folder.exists()],
        "processes": [],
    }
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                seen = (folder / "cmdline").read_bytes().decode("utf-8", "replace") + (folder / "mounts").read_text()
            except OSError:
                continue
            if f"/vmferry-lab/{layout.name}/" in seen:
                found["processes"].append(folder.name)
    return found


def machine() -> dict[str, object]:
    """Return what the lab has to leave alone: the machine's libvirt, Samba, Kerberos, interfaces and names."""
    folders = [
        "/etc/libvirt",
        "/etc/vmferry",
        "/run/libvirt",
        "/etc/samba",
        "/run/samba",
        *(f"/var/{kind}/libvirt" for kind in ("lib", "log", "cache")),
        *(f"/var/{kind}/samba" for kind in ("lib", "log", "cache")),
    ]
    files = [file for folder in folders for file in sorted(Path(folder).rglob("*"))]
    return {
        "files": [(str(file), file.lstat().st_mtime_ns) for file in files],
        "kerberos": [str(file) for file in Path("/").glob("etc/krb5.*")],
        "replays": sorted(str(file) for file in Path("/var/tmp").glob("krb5*")),
        "tickets": sorted(str(file) for file in Path("/tmp").glob("krb5cc*")),
        "hosts": Path("/etc/hosts").read_text(),
        "name": os.uname().nodename,
        "links": subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout,
        "routes": subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout,
    }
