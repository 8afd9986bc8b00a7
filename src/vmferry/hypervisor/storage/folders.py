"""Folders for disks: whether a file can be created in one, and whether QEMU's user can reach it."""

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

from vmferry import safefiles


def probe(folder: int) -> tuple[bool, bool]:
    """Return whether a file can be created in an open folder, and whether with O_DIRECT; the file never has a name."""
    flags = os.O_TMPFILE | os.O_RDWR
    for more in (os.O_DIRECT, 0):
        try:
            os.close(os.open(".", flags | more, 0o600, dir_fd=folder))
        except OSError as error:
            if more and error.errno == errno.EINVAL:
                continue
            # Some file systems have no nameless files: what they can do is not known, and not held against them.
            return error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM), True
        return True, bool(more)
    return True, False


def inside(folder: int, places: Iterable[Path]) -> bool:
    """Return whether an open folder is one of some folders or below one, by its real path."""
    real = Path(safefiles.real(folder))
    resolved = [place.resolve() for place in places]
    return any(real == place or place in real.parents for place in resolved)


def passes(user: str, folder: Path) -> bool:
    """Return whether a user may enter a folder and all above it, by their permission bits."""
    try:
        entry = pwd.getpwnam(user)
        groups = {entry.pw_gid, *(group.gr_gid for group in grp.getgrall() if user in group.gr_mem)}
    except KeyError:
        return True  # whoever QEMU runs as: not known here
    if entry.pw_uid == 0:
        return True
    for place in (folder, *folder.parents):
        status = place.stat()
        if status.st_uid == entry.pw_uid:
            bit = stat.S_IXUSR
        elif status.st_gid in groups:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not status.st_mode & bit:
            return False
    return True


def uid(user: str) -> int:
    """Return a user's number; root's if there is no such user."""
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return 0
