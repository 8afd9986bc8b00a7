"""The files that a disk image is made of: backing files and data files, read from the images' headers.

Nothing is opened but for reading, no format is guessed where it is known, and no program is started for the usual
formats: a header is untrusted, and only names are taken from it (QEMU's docs/interop/qcow2.rst and qed_spec.rst).
"""

import json
import os
import re
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmferry.core.message import load

_DEPTH = 200  # QEMU itself refuses chains far shorter
_NAME_MAX = 1023  # of a backing file, by both specifications
_HEAD = 64 * 1024  # a qcow2 header's extensions end in the first cluster; those that are used are short
_FAR = 1 << 40
_LIMIT = 10.0  # seconds for qemu-img
_QCOW2, _QED = b"QFI\xfb", b"QED\0"
_DATA_FILE = 0x44415441
_FORMAT = 0xE2792ACA
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# No file of these names another one.
_PLAIN = frozenset({"raw", "luks", "bochs", "dmg", "iso", "dir", "fat"})

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
    """Return device and inode of the file that a path leads to, links followed.

    Raises:
        OSError: it cannot be looked at.
    """
    status = Path(path).stat()
    return status.st_dev, status.st_ino


def open_image(path: str) -> int | None:
    """Open what a path leads to for reading, if it is a file or a block device; None: it is something else.

    To open other things (a FIFO, a watchdog's device) can do something.

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
            found = list(_named(place, kind))
        except FileNotFoundError:
            continue  # a name that leads nowhere uses nothing
        except (OSError, ValueError, subprocess.SubprocessError) as error:
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
    """Return the local files that a backing file's name stands for; none for what is on the network.

    Arguments:
        name: as the image says it: a path, a relative path, `file:PATH`, `json:{...}`.
        image: the path of the image that says it.
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


def _named(path: str, format_: str | None) -> Iterator[tuple[str, str | None]]:
    """Return the names of the files right below an image, each with its format where it is said."""
    if format_ in _PLAIN:
        return
    if format_ not in (None, "qcow2", "qcow", "qed"):
        yield from _asked(path, str(format_))
        return
    handle = open_image(path)
    if handle is None:
        return
    try:
        head = os.pread(handle, _HEAD, 0)
        if head.startswith(_QCOW2) and format_ in (None, "qcow2", "qcow"):
            yield from _qcow2(head, lambda size, offset: os.pread(handle, size, offset))
        elif head.startswith(_QED) and format_ in (None, "qed"):
            offset, size = struct.unpack_from("<II", head, 56)
            if offset and 0 < size <= _NAME_MAX:
                yield _text(os.pread(handle, size, offset)), None
    except struct.error:
        return  # its header is cut off: QEMU cannot use it either
    finally:
        os.close(handle)


def _qcow2(head: bytes, read: Callable[[int, int], bytes]) -> Iterator[tuple[str, str | None]]:
    version, offset, size = struct.unpack_from(">IQI", head, 4)
    extensions = dict(_extensions(head, version))
    if offset and 0 < size <= _NAME_MAX and offset < _FAR:  # QEMU opens no image with another name
        format_ = _text(extensions[_FORMAT]) if _FORMAT in extensions else None
        yield _text(read(size, offset)), format_
    if _DATA_FILE in extensions:
        yield _text(extensions[_DATA_FILE]), "raw"


def _extensions(head: bytes, version: int) -> Iterator[tuple[int, bytes]]:
    if version < 2:
        return  # the first version has none
    at = 72 if version == 2 else struct.unpack_from(">I", head, 100)[0]
    while at + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, at)
        if kind == 0 or at + 8 + length > len(head):
            return
        yield kind, head[at + 8 : at + 8 + length]
        at += 8 + (length + 7) // 8 * 8


def _asked(path: str, format_: str) -> Iterator[tuple[str, str | None]]:
    """Ask qemu-img, for the formats of other hypervisors."""
    done = subprocess.run(
        ["qemu-img", "info", "--force-share", "--output=json", "-f", format_, path],
        check=True,
        capture_output=True,
        text=True,
        timeout=_LIMIT,
    )
    info = json.loads(done.stdout)
    names = [info.get("backing-filename")]
    extents = info.get("format-specific", {}).get("data", {}).get("extents", [])
    names += [extent.get("filename") for extent in extents if isinstance(extent, dict)]
    for name in names:
        if isinstance(name, str) and name != path:
            yield name, None


def _text(raw: bytes) -> str:
    return os.fsdecode(raw.rstrip(b"\0"))
