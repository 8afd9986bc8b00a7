"""Proofs beside a VM's disks: a host that reads back its own nonce sees the same storage.

The destination draws a nonce for one move or check (agent/moves/nonces.py), the source writes it into a file beside
each disk, and the destination looks for it there. Only names that no disk may have are written and read
(core/paths.py).
"""

import hmac
import os
import stat
from collections.abc import Iterable

from vmferry import safefiles
from vmferry.core.messages.offer import Artifact
from vmferry.core.paths import RESERVED

_LENGTH = 64  # bytes; a nonce has half of that


def write(disks: list[Artifact], job: str, nonce: str) -> list[Artifact]:
    """Write a proof beside each disk; returns the disks with what was written where.

    Arguments:
        disks: those that both hosts may see; one whose folder cannot be written, or that is a link (which may lead
            elsewhere on another host), gets none.
        job: of the move, or another name for one time.
    """
    return [_write(disk, job, nonce) for disk in disks]


def _write(disk: Artifact, job: str, nonce: str) -> Artifact:
    try:
        folder, name = safefiles.split(disk.path)
        mark = f"{RESERVED}{job}-{disk.target}"
        with safefiles.folder(folder) as inside:
            status = os.stat(name, dir_fd=inside, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                return disk
            handle = _make(inside, mark)
            try:
                # Storage may know this host's root and the other's as different users.
                os.fchmod(handle, 0o644)
                os.write(handle, nonce.encode())
            finally:
                os.close(handle)
    except OSError:
        return disk
    return disk.model_copy(update={"nonce_file": f"{folder}/{mark}", "nonce": nonce, "inode": status.st_ino})


def _make(inside: int, mark: str) -> int:
    try:
        return safefiles.make(inside, mark)
    except FileExistsError:
        os.unlink(mark, dir_fd=inside)  # of this very job: it was interrupted
        return safefiles.make(inside, mark)


def remove(places: Iterable[str | None]) -> list[str]:
    """Remove what `write` wrote; may be repeated.

    Arguments:
        places: the files; files with another kind of name are not touched.

    Returns:
        The files that stay, each with the reason; none for files that do not exist.
    """
    left = []
    for place in places:
        try:
            folder, mark = safefiles.split(place or "")
            if mark.startswith(RESERVED):
                with safefiles.folder(folder) as inside:
                    os.unlink(mark, dir_fd=inside)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if place:
                left.append(f"{place}: {error.strerror}")
    return left


def shows(disk: Artifact, nonce: str) -> bool:
    """Return whether this host sees a disk of another host: the same file, with this host's nonce beside it.

    Arguments:
        disk: as the other host describes it.
        nonce: drawn here for that host and VM, and for this one time.
    """
    try:
        folder, name = safefiles.split(disk.path)
        beside, mark = safefiles.split(disk.nonce_file or "")
        if beside != folder or not mark.startswith(RESERVED) or name.startswith(RESERVED):
            return False
        with safefiles.folder(folder) as inside:
            handle = safefiles.open_in(inside, mark)
            try:
                seen = safefiles.read_open(handle, _LENGTH)
            finally:
                os.close(handle)
            status = os.stat(name, dir_fd=inside, follow_symlinks=False)
    except OSError:
        return False
    same = disk.inode is None or disk.inode == status.st_ino
    return hmac.compare_digest(seen, nonce.encode()) and same and stat.S_ISREG(status.st_mode)
