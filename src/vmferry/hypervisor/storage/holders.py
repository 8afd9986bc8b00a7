"""Whether a file is open: by this VM's QEMU, or by someone else.

vmferry may not inspect processes of other users (packaging/systemd: no CAP_SYS_PTRACE), so it asks the kernel: through
the locks that QEMU keeps on every open image, and through a lease, which the kernel grants only to the sole opener.
"""

import errno
import fcntl
import os
import struct
from pathlib import Path

from vmferry.hypervisor.storage.chains import Identity, open_image

_PID_FILES = Path("/run/libvirt/qemu")
# QEMU's block/file-posix.c: one byte for each permission that is taken (100 on) and for each not shared (200 on).
_LOCK_FIRST, _LOCK_COUNT = 100, 200
_FLOCK = struct.Struct("hhqqi4x")  # struct flock, x86_64 and arm64


def has_open(vm: str, path: str) -> bool | None:
    """Return whether the QEMU of a running VM has the same file open that is at a path now.

    Arguments:
        vm: the VM's name.
        path: absolute path of the file.

    Returns:
        None: neither /proc nor a lock tells.

    Raises:
        OSError: there is no such file, or it cannot be opened.
    """
    handle = open_image(path)
    if handle is None:
        return False
    try:
        status = os.fstat(handle)
        seen = _opened((status.st_dev, status.st_ino), _pid(vm))
        return is_locked(handle) if seen is None else seen
    finally:
        os.close(handle)


def is_locked(handle: int) -> bool | None:
    """Return whether a QEMU, or one of its tools, has locked an image; None if the file system has no such locks."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _LOCK_FIRST, _LOCK_COUNT, 0)
    try:
        answer = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, asked)
    except OSError:
        return None
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def is_alone(handle: int) -> bool | None:
    """Return whether nobody else has the file open, loop devices and the kernel included.

    Arguments:
        handle: the caller's own descriptor, the only one that this process has of the file.

    Returns:
        None: neither a lease nor a lock tells.
    """
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EBUSY):
            return False
        # No leases on this file system, or the file is another user's and CAP_LEASE is missing.
        locked = is_locked(handle)
        return None if locked is None else not locked
    fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def openers(wanted: Identity) -> list[str]:
    """Return the processes that have a file open, as far as they are visible: `qemu-nbd (4711)`."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit() and int(place.name) != os.getpid() and _opened(wanted, int(place.name)):
            try:
                name = (place / "comm").read_text().strip()
            except OSError:
                continue  # it has just ended
            found.append(f"{name} ({place.name})")
    return found


def _opened(wanted: Identity, pid: int | None) -> bool | None:
    """Return whether a process has a file open; None if it may not be inspected, or has ended."""
    if pid is None:
        return None
    try:
        handles = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return None
    for handle in handles:
        try:
            status = handle.stat()
        except PermissionError:
            return None
        except OSError:
            continue  # closed meanwhile, or a file on a file system that does not answer
        if (status.st_dev, status.st_ino) == wanted:
            return True
    return False


def _pid(vm: str) -> int | None:
    try:
        return int((_PID_FILES / f"{vm}.pid").read_text())
    except (OSError, ValueError):
        return None
