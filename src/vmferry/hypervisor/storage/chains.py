"""The files of a disk image: backing files and data files, read from the images' headers.

Files are opened only for reading, a format is never guessed if it is known, and no program is started: a header is
untrusted, and only names are taken from it (QEMU's docs/interop/qcow2.rst and qed_spec.rst).
"""

import os
import re
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmferry.core import qcow2
from vmferry.core.message import load

_DEPTH = 200  # QEMU itself refuses chains far shorter
_NAME_MAX = 1023  # of a backing file, by the specification of QED
_QED = b"QED\0"
_SPARSE, _VMDK = b"KDMV", struct.Struct("<4sIIQQQQ")
_TEXT_MAX = 1 << 20  # bytes of a VMDK's description, as QEMU's
_FAR = 1 << 40
_PARENT = re.compile(rb'^parentFileNameHint="([^"\r\n]*)"', re.MULTILINE)
_EXTENT = re.compile(rb'^\s*(?:RW|RDONLY|NOACCESS) +[0-9]+ +[A-Z]+ +"([^"\r\n]+)"', re.MULTILINE)
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# No file of these names another one that QEMU would open.
_PLAIN = frozenset(
    {"raw", "luks", "bochs", "cloop", "dmg", "iso", "dir", "fat", "parallels", "vdi", "vhd", "vhdx", "vpc"}
)

Identity = tuple[int, int]
"""Device and inode of a file: the same for all of its names."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Files below an image.

    Arguments:
        files: paths, each as the image above it names it; the topmost image is not among them.
        unknown: what could not be read, each with the reason.
    """

    files: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def identity(path: str) -> Identity:
    """Return device and inode of the file at a path, links followed.

    Raises:
        OSError: the path cannot be examined.
    """
    status = Path(path).stat()
    return status.st_dev, status.st_ino


def open_image(path: str) -> int | None:
    """Open a path for reading if it is a file or a block device; None for anything else.

    To open other things (a FIFO, a watchdog device) can have an effect.

    Raises:
        OSError: it cannot be opened.
    """
    found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mode = os.fstat(found).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            return None
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(found)


def below(path: str, format_: str | None) -> Chain:
    """Return the files below an image.

    Arguments:
        path: absolute path of the image.
        format_: what the VM's configuration calls it; None: nobody says, and its first bytes decide.
    """
    chain = Chain()
    seen: set[Identity] = set()
    waiting: list[tuple[str, str | None]] = [(path, format_)]
    while waiting:
        place, kind = waiting.pop()
        try:
            number = identity(place)
            if number in seen:
                continue
            seen.add(number)
            found = _named(place, kind)
        except FileNotFoundError:
            continue  # a name that leads nowhere uses nothing
        except (OSError, ValueError) as error:
            chain.unknown.append(f"{place}: {error}")
            continue
        for name, its_format in found:
            for file in resolve(name, place):
                chain.files.append(file)
                waiting.append((file, its_format))
        if len(seen) > _DEPTH:
            chain.unknown.append(f"{path}: it is made of more than {_DEPTH} files")
            break
    return chain


def resolve(name: str, image: str) -> list[str]:
    """Return the local files that a backing file's name stands for; none for a file on the network.

    Arguments:
        name: as the image gives it: a path, a relative path, `file:PATH`, `json:{...}`.
        image: the path of the image.
    """
    if name.startswith("json:"):
        try:
            told = load(name.removeprefix("json:"))
        except ValueError:
            return []
        return [file for found in _file_names(told) for file in resolve(found, image)]
    if name.startswith("file:"):
        name = name.removeprefix("file:").removeprefix("//")
    elif _PROTOCOL.match(name) and "/" not in name.partition(":")[0]:
        return []
    if name.startswith("/"):
        return [name]
    # QEMU takes it from the folder in the image's path, whatever links lead there; both folders are looked at.
    return list(dict.fromkeys(str(Path(place).parent / name) for place in (image, os.path.realpath(image))))


def _file_names(told: Any) -> Iterator[str]:
    if isinstance(told, dict):
        for key, value in told.items():
            if isinstance(value, str) and (key == "filename" or key.endswith((".filename", "backing", "data-file"))):
                yield value
            else:
                yield from _file_names(value)
    elif isinstance(told, list):
        for value in told:
            yield from _file_names(value)


def named(handle: int, format_: str | None) -> list[tuple[str, str | None]]:
    """Return the names of the files directly below an open image, each with its format if it is given.

    Arguments:
        format_: as in `below`.

    Raises:
        ValueError: images of that format are not supported here.
    """
    if format_ in _PLAIN:
        return []
    if format_ is not None and format_ not in _READERS:
        raise ValueError(f"what an image of the format {format_} is made of is not known here")
    found = []
    for reader in dict.fromkeys(_READERS.values() if format_ is None else [_READERS[format_]]):
        for name, kind in reader(lambda at, size: os.pread(handle, size, at)):
            found.append((os.fsdecode(name.rstrip(b"\0")), kind))
    return found


def _named(path: str, format_: str | None) -> list[tuple[str, str | None]]:
    handle = None if format_ in _PLAIN else open_image(path)
    if handle is None:
        return []
    try:
        return named(handle, format_)
    finally:
        os.close(handle)


def _qcow2(read: qcow2.Read) -> list[tuple[bytes, str | None]]:
    try:
        return qcow2.named(read)
    except ValueError:  # cut off, or a lie: QEMU cannot use it either
        return []


def _qed(read: qcow2.Read) -> list[tuple[bytes, str | None]]:
    head = read(0, 64)
    if len(head) < 64 or not head.startswith(_QED):
        return []
    offset, size = struct.unpack_from("<II", head, 56)
    return [(read(offset, size), None)] if offset and 0 < size <= _NAME_MAX else []


def _vmdk(read: qcow2.Read) -> list[tuple[bytes, str | None]]:
    """Read the description of a VMDK image (VMware's Virtual Disk Format 5.0), which is text."""
    head = read(0, _VMDK.size)
    at, length, is_list = 0, _TEXT_MAX, True
    if head.startswith(_SPARSE) and len(head) == _VMDK.size:
        _, _, _, capacity, _, start, sectors = _VMDK.unpack(head)
        at, length, is_list = start * 512, min(sectors * 512, _TEXT_MAX), not capacity
        if at > _FAR:
            return []
    elif not head.lstrip().startswith(b"# Disk D"):
        return []
    text = read(at, length)
    found: list[tuple[bytes, str | None]] = [(name, "vmdk") for name in _PARENT.findall(text) if name]
    return found + [(name, "raw") for name in _EXTENT.findall(text) if is_list]


_READERS: dict[str, Callable[[qcow2.Read], list[tuple[bytes, str | None]]]] = {
    "qcow2": _qcow2,
    "qcow": _qcow2,
    "qed": _qed,
    "vmdk": _vmdk,
}
