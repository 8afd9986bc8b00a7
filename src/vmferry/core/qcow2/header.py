"""The header of a qcow2 image; no more of the image is read than needed."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

Read = Callable[[int, int], bytes]
"""read(offset, length): return these bytes of the file; fewer at its end."""

MAGIC = b"QFI\xfb"
_FIRST = struct.Struct(">4sIQI")  # the same in all versions
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

_FORMAT_NAME, _DATA_FILE_NAME, _BITMAPS_EXTENSION = 0xE2792ACA, 0x44415441, 0x23852875
_COMPRESSIONS = {0: "zlib", 1: "zstd"}

# QEMU's own bounds (block/qcow2.h), and for texts what it lets them be.
_CLUSTER_BITS = range(9, 22)
_SUBCLUSTERS_MIN = 14  # bits of clusters that have parts (extended_l2)
TABLE_L1_MAX = 32 << 20
_TABLE_REFCOUNTS_MAX = 8 << 20
_BITMAP_AUTO = 1 << 1  # of a bitmap's flags: it records from when the image is opened
_SNAPSHOTS_MAX, _BITMAPS_MAX = 65536, 65535
_NAME_MAX = 1023
_NO_IMAGE = "it does not begin as a qcow2 image"
_TABLE_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class Clusters:
    """Where an image's content is.

    Arguments:
        bits: its clusters have 2^bits bytes.
        tables: where the table of its tables (L1) begins in the file, in bytes.
        count: entries in that.
        extended: whether each cluster has 32 parts that are mapped one by one.
    """

    bits: int = 16
    tables: int = 0
    count: int = 0
    extended: bool = False

    @property
    def region(self) -> int:
        """Bytes of the guest's disk that one table (L2) maps."""
        return (1 << 2 * self.bits) // (16 if self.extended else 8)


@dataclass(frozen=True, slots=True)
class Header:
    """The header of an image.

    Arguments:
        virtual_size: bytes that the guest sees.
        names: the other files that QEMU would open with it: a backing file, a data file.
        encrypted: whether its content is encrypted.
        options: for `qemu-img create`, to make another image like it.
        snapshots: names of its internal snapshots.
        bitmaps: names of its persistent bitmaps.
        idle_bitmaps: those of them that are disabled.
        clusters: where its content is.
    """

    virtual_size: int
    names: tuple[str, ...]
    encrypted: bool
    options: dict[str, str] = field(default_factory=dict)
    snapshots: tuple[str, ...] = ()
    bitmaps: tuple[str, ...] = ()
    idle_bitmaps: tuple[str, ...] = ()
    clusters: Clusters = field(default_factory=Clusters)


def named(read: Read) -> list[tuple[bytes, str | None]]:
    """Return the other files that QEMU opens with an image of any version, each with its format if it is given.

    Arguments:
        read: reads the image. The files are named even if the image has unknown features.

    Raises:
        ValueError: it is not an image, or one that QEMU would not open.
    """
    magic, version, backing, length = _FIRST.unpack(_take(read, 0, _FIRST.size))
    if magic != MAGIC:
        raise ValueError(_NO_IMAGE)
    extensions: dict[int, bytes] = {}
    if version > 1:
        (bits,) = struct.unpack(">I", _take(read, _FIRST.size, 4))
        if bits not in _CLUSTER_BITS or backing > 1 << bits:
            raise ValueError(f"no QEMU reads its header (clusters of 2^{bits} bytes)")
        start = _SIZE_2 if version == 2 else struct.unpack(">I", _take(read, _SIZE_3 - 4, 4))[0]
        extensions = _extensions(read, start, backing or 1 << bits)
    found: list[tuple[bytes, str | None]] = []
    if backing and length:
        format_ = _text(extensions[_FORMAT_NAME]) if _FORMAT_NAME in extensions else None
        found.append((_take(read, backing, min(length, _NAME_MAX)), format_))
    if _DATA_FILE_NAME in extensions:
        found.append((extensions[_DATA_FILE_NAME][:_NAME_MAX], "raw"))
    return found


def parse(read: Read) -> Header:
    """Parse the header of a qcow2 image and the names in it.

    Raises:
        ValueError: it is not an image, or one that QEMU would not open.
    """
    magic, version, backing, backing_size, bits, size, crypt, l1_count, l1_at, counts_at, counts, snapshots, at = (
        _HEADER.unpack(_take(read, 0, _SIZE_2))
    )
    if magic != MAGIC:
        raise ValueError(_NO_IMAGE)
    if version not in (2, 3) or bits not in _CLUSTER_BITS or size >= 1 << 63:
        raise ValueError(f"no QEMU reads its header (version {version}, clusters of 2^{bits} bytes)")
    if backing > 1 << bits:
        raise ValueError("the name of its backing file does not lie in its first cluster")
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
    clusters = Clusters(bits, l1_at, l1_count, bool(incompatible & _EXTENDED_L2))
    if clusters.extended and bits < _SUBCLUSTERS_MIN:
        raise ValueError(f"no QEMU reads its header (parts of clusters of 2^{bits} bytes)")
    _require_tables(clusters, size, counts_at, counts)
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
    bitmaps = _bitmaps(read, extensions.get(_BITMAPS_EXTENSION))
    return Header(
        virtual_size=size,
        names=tuple(names),
        encrypted=bool(crypt),
        options=options,
        snapshots=_snapshots(read, at, snapshots),
        bitmaps=tuple(bitmaps),
        idle_bitmaps=tuple(name for name, records in bitmaps.items() if not records),
        clusters=clusters,
    )


def _require_tables(clusters: Clusters, size: int, counts_at: int, counts: int) -> None:
    """Check the tables as QEMU does when it opens an image (qcow2_do_open)."""
    cluster = 1 << clusters.bits
    if (clusters.tables | counts_at) % cluster or max(clusters.tables, counts_at) >= 1 << 63:
        raise ValueError("a table of its content does not begin where a cluster does")
    if clusters.count * 8 > TABLE_L1_MAX or clusters.count < -(-size // clusters.region):
        raise ValueError(f"it says that the table of its content has {clusters.count} entries")
    if not counts or counts << clusters.bits > _TABLE_REFCOUNTS_MAX:
        raise ValueError(f"it says that the table of its reference counts has {counts} clusters")


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


def _bitmaps(read: Read, extension: bytes | None) -> dict[str, bool]:
    """Return the names of an image's bitmaps, each with whether it is enabled."""
    if extension is None:
        return {}
    if len(extension) != _BITMAPS.size:
        raise ValueError("its list of bitmaps is damaged")
    count, _, size, at = _BITMAPS.unpack(extension)
    if count > _BITMAPS_MAX or size > _TABLE_MAX:
        raise ValueError(f"it says that it has {count} bitmaps")
    found = {}
    limit = at + size
    for _ in range(count):
        _, _, flags, _, _, name_size, extra = _BITMAP.unpack(_take(read, at, _BITMAP.size))
        at += _BITMAP.size + extra
        found[_text(_take(read, at, name_size))] = bool(flags & _BITMAP_AUTO)
        at = -(-(at + name_size) // 8) * 8
        if at > limit:
            raise ValueError("its list of bitmaps is too long")
    return found


def _take(read: Read, at: int, length: int) -> bytes:
    data = read(at, length) if at < 1 << 63 else b""
    if len(data) != length:
        raise ValueError("it ends where its header goes on")
    return data


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
