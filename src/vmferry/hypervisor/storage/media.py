"""Read-only files that both hosts may have, such as CD images: whether a local one may be used, and its digest.

What the source says about a file's content is a claim. Each host computes a digest that is keyed with the job's key,
which the destination makes for this one move: only a host with the content can compute it.
"""

import hashlib
import hmac
import os
import stat
from collections.abc import Callable
from pathlib import Path

from vmferry import safefiles
from vmferry.hypervisor.storage import chains

_CHUNK = 4 << 20
_PURPOSE = b"vmferry medium "


def trouble(path: str, size: int, trusted: int) -> str | None:
    """Return why a local file may not be used in place of one of that size; None if it may, once the content agrees.

    Arguments:
        path: absolute path, in a folder for disks.
        size: bytes, of the other host's file.
        trusted: uid of the user that QEMU runs as; besides root no one else may have write access.
    """
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            return "it is no regular file"
        if status.st_size != size:
            return "it has another size"
        if status.st_uid not in (0, trusted) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return "other users than root can write to it"
        for folder in Path(os.path.realpath(path)).parents:
            above = folder.stat()
            open_to_others = above.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not above.st_mode & stat.S_ISVTX
            if above.st_uid not in (0, trusted) or open_to_others:
                return f"other users than root can replace it: see the mode of {folder}"
    except OSError as error:
        return str(error.strerror)
    return None


def digest(path: str, key: str, going_on: Callable[[int], bool], *, format_: str) -> str | None:
    """Return a keyed digest of a file's content, hex; None: it was given up.

    Arguments:
        path: absolute path.
        key: of the job, hex.
        going_on: called after each few MiB with the bytes done so far; False gives up.
        format_: what the VM's configuration calls the file: one that names another file is refused.

    Raises:
        OSError: the file cannot be read, was replaced or changed meanwhile, or names another file.
    """
    with os.fdopen(safefiles.open_regular(path), "rb", buffering=0) as file:
        handle = file.fileno()
        before = os.fstat(handle)
        made = hmac.new(_PURPOSE + key.encode(), digestmod=hashlib.sha256)
        done = 0
        while data := file.read(_CHUNK):
            made.update(data)
            done += len(data)
            if not going_on(done):
                return None
        after = os.fstat(handle)
        same = (before.st_size, before.st_mtime_ns, before.st_ctime_ns)
        if same != (after.st_size, after.st_mtime_ns, after.st_ctime_ns) or not _has(path, handle):
            raise OSError(f"{path} was changed while it was read")
        if chains.named(handle, format_):
            raise OSError(f"{path} names another file")
    return made.hexdigest()


def _has(path: str, handle: int) -> bool:
    """Return whether a path leads to an open file."""
    found = safefiles.open_regular(path)
    try:
        return os.path.sameopenfile(found, handle)
    finally:
        os.close(found)


def agree(one: str, other: str) -> bool:
    """Return whether two digests are the same."""
    return hmac.compare_digest(one.encode(), other.encode())
