"""Nonces beside a VM's disks: a host that can read one back sees the very same storage."""

import secrets
from pathlib import Path

from vmferry.core.offer import Disk


def write(disks: list[Disk], job: str) -> list[Disk]:
    """Write a nonce file beside each disk; gives the disks with what was written where."""
    marked = []
    for disk in disks:
        nonce = secrets.token_hex(16)
        place = Path(disk.path).parent / f".vmferry-{job}-{disk.target}"
        try:
            place.write_text(nonce)
        except OSError:
            marked.append(disk)  # a folder that cannot be written holds no disk that could be shared for writing
        else:
            marked.append(disk.model_copy(update={"nonce_file": str(place), "nonce": nonce}))
    return marked


def remove(disks: list[Disk]) -> None:
    """Remove what write() wrote."""
    for disk in disks:
        if disk.nonce_file:
            Path(disk.nonce_file).unlink(missing_ok=True)
