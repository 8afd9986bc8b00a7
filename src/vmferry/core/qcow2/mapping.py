"""Where a qcow2 image holds data: its tables (L1 and L2), read one by one.

Tables are read as numbers of many bytes, and not entry by entry: an image of 1 TiB has 16 million entries.
"""

import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from vmferry.core.qcow2.header import TABLE_L1_MAX, Header, Read

_PARTS = 32  # of a cluster, with extended_l2
_STEP = 64 << 10  # bytes of the L1 table that are read at once
_ADDRESS = (1 << 56) - (1 << 9)  # the bits of an entry that say where in the file its cluster is
_ZEROES = bytes(number & 1 for number in range(256))  # by an entry's last byte: it reads as zeroes
_COMPRESSED = bytes(number >> 6 & 1 for number in range(256))  # by its first byte
_BITS = [bytes(number >> bit & 1 for bit in range(8)) for number in range(256)]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one table maps.

    Arguments:
        start: the first of the guest's bytes that it maps.
        unit: bytes that each flag stands for.
        flags: 1 where there is data, 0 where there are zeroes or nothing; as far as the guest's disk goes.
        compressed: whether any of it is.
    """

    start: int
    unit: int
    flags: bytes
    compressed: bool


def pieces(read: Read, header: Header, solid: bytes | None) -> Iterator[Piece]:
    """Return what an image's tables map, from the beginning of the disk; tables that are not there are left out.

    Arguments:
        read: reads the image, which may be in use.
        header: of the image.
        solid: for each cluster of the file, the first one excepted, 1 where it is more than a hole in the file; None:
            the file has no holes.

    Raises:
        ValueError: the file ends where a table should be.
    """
    layout = header.clusters
    cluster, region = 1 << layout.bits, layout.region
    count = min(layout.count, -(-header.virtual_size // region), TABLE_L1_MAX // 8)
    for begin in range(0, count, _STEP // 8):
        size = min(count - begin, _STEP // 8) * 8
        for number, entry in enumerate(_numbers(_whole(read, layout.tables + begin * 8, size)), begin):
            if not entry & _ADDRESS:
                continue
            table = _whole(read, entry & _ADDRESS, cluster)
            if table.count(0) == cluster:
                continue
            flags, compressed = (_extended if layout.extended else _plain)(table, layout.bits, solid)
            unit = region // len(flags)
            rest = -(-(header.virtual_size - number * region) // unit)
            yield Piece(number * region, unit, flags[:rest], compressed)


def _plain(table: bytes, bits: int, solid: bytes | None) -> tuple[bytes, bool]:
    """Return which entries of a table hold data, and whether any is compressed."""
    compressed = table[0::8].translate(_COMPRESSED)
    mapped = int.from_bytes(_mapped(table, bits, solid), "big")
    zeroes = int.from_bytes(table[7::8].translate(_ZEROES), "big")
    flags = mapped & ~zeroes | int.from_bytes(compressed, "big")
    return flags.to_bytes(len(table) // 8, "big"), 1 in compressed


def _extended(table: bytes, bits: int, solid: bytes | None) -> tuple[bytes, bool]:
    """Return which parts of a table's clusters hold data: each entry has a second number for them."""
    numbers = _numbers(table)
    entries = array("Q", numbers[0::2])
    compressed = [entry >> 62 & 1 for entry in entries]
    if sys.byteorder == "little":
        entries.byteswap()
    mapped = _mapped(entries.tobytes(), bits, solid)
    parts = []
    for is_compressed, is_mapped, which in zip(compressed, mapped, numbers[1::2], strict=True):
        if is_compressed:
            parts.append(b"\1" * _PARTS)
        else:
            held = which & ~(which >> _PARTS) & 0xFFFFFFFF if is_mapped else 0
            parts += [_BITS[byte] for byte in held.to_bytes(4, "little")]
    return b"".join(parts), 1 in compressed


def _mapped(table: bytes, bits: int, solid: bytes | None) -> bytes:
    """Return 1 for each entry whose cluster is in the file, and no hole there; else 0."""
    count = len(table) // 8
    every, ramp = _constants(count)
    joined = (int.from_bytes(table, "big") & every * (_ADDRESS >> bits << bits)) >> bits
    if solid is not None:
        first = joined >> 64 * (count - 1)
        if 0 < first <= len(solid) - count and joined == every * first + ramp:  # one after the other, as is usual
            return solid[first : first + count]
    clusters = _numbers(joined.to_bytes(len(table), "big"))
    if solid is None:
        return bytes(map(bool, clusters))
    try:
        return bytes(map(solid.__getitem__, clusters))
    except IndexError:  # compressed, or a lie: behind the end of the file
        return bytes(solid[number] if number < len(solid) else 1 for number in clusters)


@lru_cache(8)
def _constants(count: int) -> tuple[int, int]:
    """Return so many numbers of 64 bits joined to one: of 1 alone, and of 0, 1, 2 and so on."""
    one = int.from_bytes((1).to_bytes(8, "big") * count, "big")
    return one, int.from_bytes(b"".join(number.to_bytes(8, "big") for number in range(count)), "big")


def _numbers(raw: bytes) -> "array[int]":
    found = array("Q", raw)
    if sys.byteorder == "little":
        found.byteswap()
    return found


def _whole(read: Read, at: int, length: int) -> bytes:
    data = read(at, length)
    if len(data) != length:
        raise ValueError("it ends where one of its tables goes on")
    return data
