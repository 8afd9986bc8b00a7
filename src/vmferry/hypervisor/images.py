"""Disk images: what one is, and making an empty one like it. Uses qemu-img, as libvirt does."""

import grp
import json
import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmferry.core import codes
from vmferry.core.errors import PreflightError
from vmferry.core.offer import Disk

# qcow2 options that a copy must share with its original, and the option of `qemu-img create` for each.
_QCOW2_OPTIONS = {
    "compat": "compat",
    "lazy-refcounts": "lazy_refcounts",
    "refcount-bits": "refcount_bits",
    "extended-l2": "extended_l2",
    "compression-type": "compression_type",
}
_CREATE_OPTIONS = frozenset({*_QCOW2_OPTIONS.values(), "cluster_size"})


@dataclass(frozen=True, slots=True)
class Image:
    """One image file. Sizes in bytes."""

    format: str
    virtual_size: int
    allocated: int
    mode: int
    owner: str
    group: str
    backing: str | None
    encrypted: bool
    options: tuple[tuple[str, str], ...] = ()
    snapshots: tuple[str, ...] = ()
    bitmaps: tuple[str, ...] = ()


def inspect(path: str, expected_format: str) -> Image:
    """Describe an image, one in use by a running VM included.

    Arguments:
        path: absolute path of the file.
        expected_format: what the VM's configuration calls it; never guessed from its content, which the guest writes.

    Raises:
        OSError: the file cannot be read.
        subprocess.CalledProcessError: qemu-img cannot make sense of it.
    """
    status = Path(path).stat()
    info: dict[str, Any] = json.loads(
        subprocess.run(
            ["qemu-img", "info", "--force-share", "--output=json", "-f", expected_format, path],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    data = info.get("format-specific", {}).get("data", {}) if expected_format == "qcow2" else {}
    options = {ours: _text(data[theirs]) for theirs, ours in _QCOW2_OPTIONS.items() if theirs in data}
    if "cluster-size" in info:
        options["cluster_size"] = str(info["cluster-size"])
    return Image(
        format=expected_format,
        virtual_size=int(info["virtual-size"]),
        allocated=status.st_blocks * 512,
        mode=status.st_mode & 0o7777,
        owner=_user(status.st_uid),
        group=_group(status.st_gid),
        backing=info.get("backing-filename") or data.get("data-file"),
        encrypted=bool(info.get("encrypted")),
        options=tuple(sorted(options.items())) if expected_format == "qcow2" else (),
        snapshots=tuple(str(snapshot.get("name")) for snapshot in info.get("snapshots", [])),
        bitmaps=tuple(str(bitmap.get("name")) for bitmap in data.get("bitmaps", [])),
    )


def create(disk: Disk, path: str, *, host: str, vm: str) -> None:
    """Make an empty image like `disk` at `path`, sparse, with its owner and mode.

    Arguments:
        disk: what the source says of it; nothing of it is trusted.
        host, vm: for the error.

    Raises:
        PreflightError: disk-exists, storage-path-missing or storage-full.
    """
    try:
        # O_EXCL: never take over, and later remove, a file that was there before.
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    except FileExistsError as error:
        raise PreflightError(codes.DISK_EXISTS, path=path, host=host, disk=disk.target, vm=vm) from error
    except FileNotFoundError as error:
        raise PreflightError(
            codes.STORAGE_PATH_MISSING, path=str(Path(path).parent), disk=disk.target, host=host
        ) from error
    with os.fdopen(handle, "wb") as file:
        if disk.format == "raw":
            file.truncate(disk.virtual_size)
    if disk.format == "qcow2":
        options = {
            k: v for k, v in disk.create_options.items() if k in _CREATE_OPTIONS and v.replace(".", "").isalnum()
        }
        arguments = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", *arguments, path, str(disk.virtual_size)],
            check=True,
            capture_output=True,
        )
    set_owner(disk, path)


def set_owner(disk: Disk, path: str) -> None:
    """Give the file the mode and, where such names exist here, the owner and group of the original."""
    try:
        os.chown(path, pwd.getpwnam(disk.owner).pw_uid, -1)
    except KeyError:
        pass  # no such user here: libvirt gives QEMU the file at start
    try:
        os.chown(path, -1, grp.getgrnam(disk.group).gr_gid)
    except KeyError:
        pass
    Path(path).chmod(disk.mode & 0o666)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


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
