"""Reads what a qcow2 image says of itself (QEMU's docs/interop/qcow2.txt); never more of it than it needs.

An image from another host is hostile: its header could name any file of this one for QEMU to open. It is read here, in
memory-safe code and within bounds, and no program with more power sees it before.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

Read = Callable[[int, int], bytes]
"""read(offset, length): the bytes of the file there; fewer at its end."""

_MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_MORE = struct.Struct(">QQQII")  # from offset 72, since version 3
_SIZE_2, _SIZE_3 = 72, 104
_EXTENSION = struct.Struct(">II")
_SNAPSHOT = struct.Struct(">QIHHIIQII")
_BITMAPS = struct.Struct(">IIQQ")
_BITMAP = struct.Struct(">QIIBBHI")

# Bits of the incompatible and compatible features.
_DATA_FILE, _COMPRESSION, _EXTENDED_L2 = 1 << 2, 1 << 3, 1 << 4
_KNOWN = 0b11111
_LAZY_REFCOUNTS = 1

_DATA_FILE_NAME, _BITMAPS_EXTENSION = 0x44415441, 0x23852875
_COMPRESSIONS = {0: "zlib", 1: "zstd"}

# QEMU's own bounds (block/qcow2.h), and for texts what it lets them be.
_CLUSTER_BITS = range(9, 22)
_SNAPSHOTS_MAX, _BITMAPS_MAX = 65536, 65535
_NAME_MAX = 1023
_TABLE_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """What an image says of itself.

    Arguments:
        virtual_size: bytes that the guest sees.
        names: the other files that QEMU would open with it: a backing file, a file with its data.
        encrypted: whether its content is.
        options: of `qemu-img create`, for another image like it.
        snapshots: names of its internal snapshots.
        bitmaps: names of its persistent bitmaps.
    """

    virtual_size: int
    names: tuple[str, ...]
    encrypted: bool
    options: dict[str, str] = field(default_factory=dict)
    snapshots: tuple[str, ...] = ()
    bitmaps: tuple[str, ...] = ()


def parse(read: Read) -> Header:
    """Read a qcow2 image's header and the names in it.

    Raises:
        ValueError: it is none, or one that QEMU would not open.
    """
    magic, version, backing, backing_size, bits, size, crypt, _, _, _, _, snapshots, at = _HEADER.unpack(
        _take(read, 0, _SIZE_2)
    )
    if magic != _MAGIC:
        raise ValueError("it does not begin as a qcow2 image")
    if version not in (2, 3) or bits not in _CLUSTER_BITS or size >= 1 << 63:
        raise ValueError(f"no QEMU reads its header (version {version}, clusters of 2^{bits} bytes)")
    incompatible = compatible = compression = 0
    order, length = 4, _SIZE_2
    if version == 3:
        incompatible, compatible, _autoclear, order, length = _MORE.unpack(_take(read, _SIZE_2, _MORE.size))
        if incompatible & ~_KNOWN or not _SIZE_3 <= length <= 1 << bits or length % 8 or order > 6:
            raise ValueError("its header has features that are not known here")
        if length > _SIZE_3:
            compression = _take(read, _SIZE_3, 1)[0]
    if compression not in _COMPRESSIONS or (compression != 0) != bool(incompatible & _COMPRESSION):
        raise ValueError("the type of its compression is not known here")
    extensions = _extensions(read, length, backing or 1 << bits)
    names = []
    if backing or backing_size:
        names.append(_text(_take(read, backing, min(backing_size, _NAME_MAX))) or "a file without a name")
    if incompatible & _DATA_FILE or _DATA_FILE_NAME in extensions:
        names.append(_text(extensions.get(_DATA_FILE_NAME, b"")[:_NAME_MAX]) or "a file without a name")
    options = {"compat": "1.1" if version == 3 else "0.10", "refcount_bits": str(1 << order)}
    options |= {"cluster_size": str(1 << bits), "compression_type": _COMPRESSIONS[compression]}
    if version == 3:
        options["lazy_refcounts"] = "on" if compatible & _LAZY_REFCOUNTS else "off"
        options["extended_l2"] = "on" if incompatible & _EXTENDED_L2 else "off"
    return Header(
        virtual_size=size,
        names=tuple(names),
        encrypted=bool(crypt),
        options=options,
        snapshots=_snapshots(read, at, snapshots),
        bitmaps=_bitmaps(read, extensions.get(_BITMAPS_EXTENSION)),
    )


def _extensions(read: Read, at: int, end: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while at + _EXTENSION.size <= end:
        kind, length = _EXTENSION.unpack(_take(read, at, _EXTENSION.size))
        at += _EXTENSION.size
        if kind == 0:
            break
        if length > end - at:
            raise ValueError("a part of its header is longer than the header")
        found[kind] = _take(read, at, length)
        at += -(-length // 8) * 8
    return found


def _snapshots(read: Read, at: int, count: int) -> tuple[str, ...]:
    if count > _SNAPSHOTS_MAX:
        raise ValueError(f"it says that it has {count} snapshots")
    names = []
    limit = at + _TABLE_MAX
    for _ in range(count):
        *_, id_size, name_size, _, _, _, _, extra = _SNAPSHOT.unpack(_take(read, at, _SNAPSHOT.size))
        at += _SNAPSHOT.size + extra + id_size
        names.append(_text(_take(read, at, name_size)))
        at = -(-(at + name_size) // 8) * 8
        if at > limit:
            raise ValueError("its table of snapshots is too long")
    return tuple(names)


def _bitmaps(read: Read, extension: bytes | None) -> tuple[str, ...]:
    if extension is None:
        return ()
    if len(extension) != _BITMAPS.size:
        raise ValueError("its list of bitmaps is damaged")
    count, _, size, at = _BITMAPS.unpack(extension)
    if count > _BITMAPS_MAX or size > _TABLE_MAX:
        raise ValueError(f"it says that it has {count} bitmaps")
    names = []
    limit = at + size
    for _ in range(count):
        *_, name_size, extra = _BITMAP.unpack(_take(read, at, _BITMAP.size))
        at += _BITMAP.size + extra
        names.append(_text(_take(read, at, name_size)))
        at = -(-(at + name_size) // 8) * 8
        if at > limit:
            raise ValueError("its list of bitmaps is too long")
    return tuple(names)


def _take(read: Read, at: int, length: int) -> bytes:
    data = read(at, length) if at < 1 << 63 else b""
    if len(data) != length:
        raise ValueError("it ends where its header goes on")
    return data


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
