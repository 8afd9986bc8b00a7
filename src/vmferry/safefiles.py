"""Files in folders that others may write to: opened, made and removed so that root never follows their names.

A path is walked folder by folder through descriptors. A symbolic link is followed only where it lies in a folder that
root alone can write (path_resolution(7)); anywhere else somebody else could have put it there, and it is an error.
A file is known by what it is (`Identity`), not by its name.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LINKS_MAX = 40  # as the kernel's (path_resolution(7))
_LINK = "it is, or is reached by, a symbolic link that another user than root can have made"
_ANOTHER = "somebody has put another file in its place"
_NAME_MAX = 255
_FOLDER = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

# statx(2): AT_EMPTY_PATH, STATX_BTIME, and where linux/stat.h has the mask and the birth time.
_AT_EMPTY_PATH = 0x1000
_STATX_BTIME = 0x800
_RENAME_NOREPLACE = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which file it is: file system, number, and when it was made.

    Numbers are used again once a file has gone, so the birth time tells (0 where the file system keeps none).
    """

    device: int
    inode: int
    born: int = 0

    @classmethod
    def of(cls, handle: int) -> "Identity":
        """Return which file is open."""
        status = os.fstat(handle)
        return cls(status.st_dev, status.st_ino, _born(handle))


@contextmanager
def folder(path: str) -> Iterator[int]:
    """Open a folder for the names in it (O_PATH).

    Arguments:
        path: absolute, without `.` and `..`.

    Raises:
        OSError: there is none, or the path leads over a link that somebody else than root could have made (ELOOP).
    """
    handle = _walk(_parts(path))
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        yield handle
    finally:
        os.close(handle)


def split(path: str) -> tuple[str, str]:
    """Return the folder and the name of a file's path.

    Raises:
        OSError: the path is not absolute and plain, or names no file (EINVAL).
    """
    parts = _parts(path)
    if not parts or path.endswith("/"):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return "/" + "/".join(parts[:-1]), parts[-1]


def open_regular(path: str, flags: int = os.O_RDONLY) -> int:
    """Open a file that is there; returns its descriptor.

    Raises:
        OSError: there is none; it is not a regular file (EINVAL); it would be reached over a link that somebody else
            than root could have made (ELOOP).
    """
    found = _walk(_parts(path))
    try:
        return _reopen(found, flags, path)
    finally:
        os.close(found)


def open_in(folder: int, name: str, flags: int = os.O_RDONLY) -> int:
    """Open a regular file in an open folder, following nothing; returns its descriptor.

    Raises:
        OSError: there is none; it is a link or no regular file (ELOOP, EINVAL).
    """
    found = os.open(_plain(name), _FOLDER, dir_fd=folder)
    try:
        if stat.S_ISLNK(os.fstat(found).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        return _reopen(found, flags, name)
    finally:
        os.close(found)


def make(folder: int, name: str) -> int:
    """Make a file that was not there (mode 0600, root's); returns its descriptor, for reading and writing.

    Raises:
        OSError: there is something of that name (EEXIST), or it cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(_plain(name), flags, 0o600, dir_fd=folder)


def rename(folder: int, handle: int, name: str, final: str) -> None:
    """Give an open file its final name; what has that name already is not replaced.

    Arguments:
        handle: of the file: it and no other gets the name, whatever has its old one by now.
        name: its name until then.

    Raises:
        OSError: the name is taken (EEXIST), the file has no name any more (ENOENT), another has its name (ESTALE), or
            the file system refuses.
    """
    made = Identity.of(handle)
    try:
        os.link(f"/proc/self/fd/{handle}", _plain(final), dst_dir_fd=folder, follow_symlinks=True)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV):
            raise
        # A file system without hard links.
        if identity(folder, name) != made:
            raise OSError(errno.ESTALE, _ANOTHER, name) from error
        if _LIBC.renameat2(folder, os.fsencode(name), folder, os.fsencode(final), _RENAME_NOREPLACE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), final) from error
        if identity(folder, final) != made:
            raise OSError(errno.ESTALE, _ANOTHER, final) from error
        return
    remove(folder, name, made)


def exists(folder: int, name: str) -> bool:
    """Return whether something has a name in an open folder, a link that leads nowhere included."""
    try:
        os.stat(_plain(name), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def identity(folder: int, name: str) -> Identity | None:
    """Return which file has a name in an open folder; None when nothing has."""
    try:
        found = os.open(_plain(name), _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        return Identity.of(found)
    finally:
        os.close(found)


def remove(folder: int, name: str, made: Identity) -> bool:
    """Remove a file if it is the one that was made; returns whether nothing of that identity has the name now.

    Raises:
        OSError: the file system refuses.
    """
    if identity(folder, name) != made:
        return False
    os.unlink(name, dir_fd=folder)
    return True


def write(path: Path, text: str) -> None:
    """Put a whole file (mode 0600) in the place of what was there; on disk when this returns.

    Whoever reads it finds the old content or the new one, whole, also after a power failure. The folder must be one
    that nobody else writes to.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_path(path.parent)


def sync_path(folder: Path) -> None:
    """Have the names in a folder that nobody else writes to outlive a power failure."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync(folder: int) -> None:
    """Have the names in a folder outlive a power cut."""
    handle = os.open(f"/proc/self/fd/{folder}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def real(handle: int) -> str:
    """Return the path at which an open file or folder is now."""
    return str(Path(f"/proc/self/fd/{handle}").readlink())


def read(path: str, limit: int) -> bytes:
    """Read a small regular file in a folder that may be another's, following nothing there.

    Raises:
        OSError: as for `open_regular`, or it has more than `limit` bytes (EFBIG).
    """
    handle = open_regular(path)
    try:
        return read_open(handle, limit, path)
    finally:
        os.close(handle)


def read_open(handle: int, limit: int, name: str = "") -> bytes:
    """Read a small open file from its beginning.

    Raises:
        OSError: it has more than `limit` bytes (EFBIG).
    """
    data = os.pread(handle, limit + 1, 0)
    if len(data) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
    return data


# --- parts ------------------------------------------------------------------------------------------------------


def _parts(path: str) -> list[str]:
    """Take a path apart; one that can be read in two ways is refused."""
    parts = path.split("/")
    if parts[0] or not path or "\0" in path:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    parts = parts[1:-1] if path.endswith("/") else parts[1:]
    if any(part in ("", ".", "..") for part in parts):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return parts


def _plain(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(os.fsencode(name)) > _NAME_MAX:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
    return name


def _walk(parts: list[str]) -> int:
    """Go down a path from the root; returns an O_PATH descriptor of what is at its end, links followed."""
    here = os.open("/", _FOLDER | os.O_DIRECTORY)
    todo, links = parts[::-1], 0
    try:
        while todo:
            name = todo.pop()
            next_ = os.open(name, _FOLDER, dir_fd=here)
            try:
                if stat.S_ISLNK(os.fstat(next_).st_mode):
                    links += 1
                    if links > _LINKS_MAX or not _is_roots(os.fstat(here)):
                        raise OSError(errno.ELOOP, _LINK, name)
                    target = os.readlink("", dir_fd=next_)
                    todo += [part for part in target.split("/") if part not in ("", ".")][::-1]
                    os.close(next_)
                    next_ = os.open("/", _FOLDER | os.O_DIRECTORY) if target.startswith("/") else os.dup(here)
            except BaseException:
                os.close(next_)
                raise
            os.close(here)
            here = next_
    except BaseException:
        os.close(here)
        raise
    return here


def _is_roots(status: os.stat_result) -> bool:
    """Tell whether nobody but root (or this very user, in tests) can put a name into a folder."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _reopen(found: int, flags: int, name: str) -> int:
    """Open what an O_PATH descriptor stands for, if it is a regular file: to open a device or FIFO does something."""
    if not stat.S_ISREG(os.fstat(found).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", name)
    return os.open(f"/proc/self/fd/{found}", flags | os.O_CLOEXEC | os.O_NONBLOCK)


class _Statx(ctypes.Structure):
    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("skipped", ctypes.c_uint8 * 76),
        ("seconds", ctypes.c_int64),
        ("nanoseconds", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 164),
    )


def _born(handle: int) -> int:
    """Return when a file was made, ns; 0 when that is not known."""
    found = _Statx()
    statx: Any = getattr(_LIBC, "statx", None)
    if statx is None or statx(handle, b"", _AT_EMPTY_PATH, _STATX_BTIME, ctypes.byref(found)):
        return 0
    return found.seconds * 10**9 + found.nanoseconds if found.mask & _STATX_BTIME else 0
