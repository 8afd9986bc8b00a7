"""The host's disk folders: whether they exist, are writable, are open to QEMU and have space."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Check
from vmferry.preflight.doctor.health import Folder, Health

LITTLE = 5  # per cent of a file system that are free


def _storage(health: Health) -> Iterator[Finding]:
    usable = [folder for folder in health.folders if folder.exists and folder.writable]
    judge = Finding.warns if usable else Finding.blocks
    for folder in health.folders:
        names = {"host": health.name, "path": folder.path}
        if not folder.exists:
            yield judge(codes.FOLDER_MISSING, (f"{folder.path}: not there", ""), **names)
            continue
        if not folder.writable:
            yield judge(codes.FOLDER_READ_ONLY, (f"{folder.path}: cannot be written", ""), **names)
        elif _percent(folder) < LITTLE:
            seen = (f"{folder.path}: {folder.free} bytes free", "")
            yield Finding.warns(codes.FOLDER_FULL, seen, free=folder.free, percent=round(_percent(folder)), **names)
        if not folder.reachable:
            user = health.qemu_user
            yield Finding.warns(codes.FOLDER_CLOSED, (f"{folder.path}: closed to {user}", ""), user=user, **names)


def _percent(folder: Folder) -> float:
    return 100 * folder.free / folder.size if folder.size else 0.0


STORAGE = Check(
    _storage,
    {
        codes.FOLDER_MISSING: "A file system is not mounted, or vmferry.toml names a folder of another host.",
        codes.FOLDER_READ_ONLY: "The file system is mounted read-only, or its server does not allow writing.",
        codes.FOLDER_FULL: "VMs, their snapshots or other files use the space.",
        codes.FOLDER_CLOSED: "libvirt gives QEMU's user access to the file, but not to the folders above it.",
    },
)
