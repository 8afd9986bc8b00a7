"""Disk images: what one is, and how to create an empty one like it.

No program is started for either: core/qcow2 reads an image's header, and has the bytes of an empty image.
"""

import errno
import grp
import os
import pwd
from dataclasses import dataclass

from vmferry import safefiles
from vmferry.core import codes, qcow2
from vmferry.core.errors import PreflightError
from vmferry.core.messages.offer import Artifact
from vmferry.core.text import printable

SECTOR = 512  # bytes, in which QEMU counts: a raw file that ends within one is filled up
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Image:
    """One image file. Sizes in bytes.

    Arguments:
        size: of the file.
        backing: another file that QEMU would open with it; None when there is none.
    """

    format: str
    virtual_size: int
    allocated: int
    mode: int
    owner: str
    group: str
    backing: str | None
    encrypted: bool
    options: tuple[tuple[str, str], ...] = ()
    size: int = 0
    inode: int = 0
    snapshots: tuple[str, ...] = ()
    bitmaps: tuple[str, ...] = ()
    idle_bitmaps: tuple[str, ...] = ()


def inspect(path: str, expected_format: str) -> Image:
    """Describe an image, even one that a running VM uses.

    Arguments:
        path: absolute path of the file.
        expected_format: as in the VM's configuration; never guessed from the content, which the guest writes.

    Raises:
        OSError: the file cannot be read.
        PreflightError: image-unreadable; it is not an image of that format.
    """
    handle = safefiles.open_regular(path)
    try:
        return describe(handle, expected_format, path)
    finally:
        os.close(handle)


def describe(handle: int, expected_format: str, path: str) -> Image:
    """Describe an open image.

    Arguments:
        path: for the error.

    Raises:
        OSError, PreflightError: as `inspect`.
    """
    status = os.fstat(handle)
    size = -(-status.st_size // SECTOR) * SECTOR
    header = qcow2.Header(virtual_size=size, names=(), encrypted=False)
    if expected_format == "qcow2":
        try:
            header = qcow2.parse(lambda at, length: os.pread(handle, length, at))
        except ValueError as error:
            raise PreflightError(codes.IMAGE_UNREADABLE, path=path, format=expected_format, why=str(error)) from error
    return Image(
        format=expected_format,
        virtual_size=header.virtual_size,
        allocated=status.st_blocks * 512,
        mode=status.st_mode & 0o7777,
        owner=_user(status.st_uid),
        group=_group(status.st_gid),
        backing=header.names[0] if header.names else None,
        encrypted=header.encrypted,
        options=tuple(sorted(header.options.items())),
        size=status.st_size,
        inode=status.st_ino,
        snapshots=header.snapshots,
        bitmaps=header.bitmaps,
        idle_bitmaps=header.idle_bitmaps,
    )


def complete(handle: int, disk: Artifact, path: str, *, host: str, vm: str) -> None:
    """Make an empty image like `disk`, sparse, of an empty file that is open.

    Arguments:
        disk: what the source says of it; nothing of it is trusted.
        path: where the file will be; `host` and `vm` are for the error, too.

    Raises:
        PreflightError: storage-full, or disk-not-made with the reason.
    """
    try:
        if disk.format == "raw":
            os.ftruncate(handle, disk.virtual_size)
        else:
            _create(handle, disk)
    except (OSError, OverflowError, ValueError) as error:
        raise trouble(error, disk, path, host=host, vm=vm) from error


def _create(handle: int, disk: Artifact) -> None:
    options = {key: value for key, value in disk.create_options.items() if value in qcow2.OPTIONS.get(key, ())}
    head, length = qcow2.empty(disk.virtual_size, options)
    os.ftruncate(handle, length)
    at = 0
    while at < len(head):
        at += os.pwrite(handle, head[at:], at)


def trouble(error: Exception, disk: Artifact, path: str, *, host: str, vm: str) -> PreflightError:
    """Return the error for a disk that could not be created or written, with the reason."""
    why = printable(str(error), 300)
    if isinstance(error, OSError):
        why = error.strerror or str(error)
    if isinstance(error, OSError) and error.errno in _FULL:
        folder = path.rpartition("/")[0] or "/"
        names = {"path": folder, "host": host, "disk": disk.target}
        return PreflightError(codes.STORAGE_FULL, free=_free(folder), needed=disk.allocated, **names)
    return PreflightError(codes.DISK_NOT_MADE, path=path, disk=disk.target, host=host, vm=vm, why=why)


def hand_over(handle: int, disk: Artifact, qemu_user: str) -> None:
    """Set mode, owner and group of a disk's file to the original's, as far as another host may choose them.

    Only its owner and group may write, and these are root or QEMU's user and group: libvirt gives QEMU the file at
    start,
    whoever else it belonged to.
    """
    os.fchown(handle, _uid(disk.owner, qemu_user), _gid(disk.group, qemu_user))
    os.fchmod(handle, disk.mode & 0o664)


def _uid(owner: str, qemu_user: str) -> int:
    if owner not in ("root", qemu_user):
        return -1
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        return -1


def _gid(group: str, qemu_user: str) -> int:
    try:
        gid, user = grp.getgrnam(group).gr_gid, pwd.getpwnam(qemu_user)
    except KeyError:
        return -1
    return gid if gid in (0, *os.getgrouplist(qemu_user, user.pw_gid)) else -1


def _free(folder: str) -> int:
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
