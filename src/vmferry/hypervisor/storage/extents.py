"""How much of an image a copy takes: the data that it maps and that is not zero, not its size or that of its file.

Clusters that are mapped and hold only zeroes (preallocation=metadata) are not copied (transfer/disks/thin.py);
compressed ones are copied uncompressed.
"""

import errno
import os
import time
from collections.abc import Iterator

from vmferry import safefiles
from vmferry.core import qcow2

_GRANULE = 64 * 1024  # bytes; QEMU's mirror copies no less at once, whatever the image's own clusters are
_LIMIT = 5.0  # seconds; an image of many pieces takes long to look through
_SOLID_MAX = 1 << 26  # clusters of a file whose holes are looked for
_REFCOUNT = 2  # bytes, by default
_FIXED = 4  # clusters of a new qcow2 image: header, refcount table and block, L1 table


class _Count:
    """Adds up data in whole granules."""

    def __init__(self) -> None:
        self.size = 0  # bytes
        self.end = 0  # of what has been looked at
        self.tables = 0  # L2 tables of a qcow2
        self.compressed = False

    def extent(self, start: int, end: int) -> None:
        """Add data that lies behind all that was added before."""
        first = max(self.end, start // _GRANULE * _GRANULE)
        last = -(-end // _GRANULE) * _GRANULE
        self.size += max(0, last - first)
        self.end = max(self.end, last)

    def piece(self, piece: qcow2.Piece) -> None:
        """Add the data that one table maps."""
        self.compressed = self.compressed or piece.compressed
        self.end = piece.start + piece.unit * len(piece.flags)
        self.tables += 1 in piece.flags
        flags, ratio = piece.flags, _GRANULE // piece.unit
        if ratio <= 1:
            self.size += flags.count(1) * piece.unit
            return
        flags += bytes(-len(flags) % ratio)
        joined = 0
        for part in range(ratio):
            joined |= int.from_bytes(flags[part::ratio], "big")
        self.size += joined.bit_count() * _GRANULE


def needed(path: str, format_: str, virtual_size: int, allocated: int, cluster: int = _GRANULE) -> int:
    """Return the bytes that a copy of an image will take, its metadata included. All sizes in bytes.

    Arguments:
        path: absolute path of the image; it may be in use.
        format_: what the VM's configuration calls it: raw or qcow2.
        virtual_size: what the guest sees.
        allocated: what the file takes where it is: the best guess for what cannot be looked at in time.
        cluster: of the image, where it is a qcow2.
    """
    count = _Count()
    whole = _counted(path, format_, count)
    size = min(count.size, virtual_size)
    if not whole:
        rest = max(0, virtual_size - count.end)
        size += rest if count.compressed else min(rest, max(0, allocated - count.size))
    if format_ != "qcow2":
        return size
    region = cluster * (cluster // 8)  # that one L2 table maps
    tables = count.tables if whole else virtual_size // region + 1
    return size + (tables + _FIXED) * cluster + virtual_size // region * 8 + size // cluster * _REFCOUNT


def _counted(path: str, format_: str, count: _Count) -> bool:
    """Add up the data of an image; return whether all of it was examined in time."""
    deadline = time.monotonic() + _LIMIT
    try:
        handle = safefiles.open_regular(path)
    except OSError:
        return False
    try:
        if format_ != "qcow2":
            for start, end in _solid(handle, deadline):
                count.extent(start, end)
            return True

        def read(at: int, length: int) -> bytes:
            _hurry(deadline)
            return os.pread(handle, length, at)

        header = qcow2.parse(read)
        for piece in qcow2.pieces(read, header, _solid_clusters(handle, header.clusters.bits, deadline)):
            count.piece(piece)
    except (OSError, ValueError):  # QEMU is at work on it, or it is damaged
        return False
    finally:
        os.close(handle)
    return True


def _solid(handle: int, deadline: float) -> Iterator[tuple[int, int]]:
    """Return the parts of a file that are not holes: their beginnings and ends.

    Raises:
        OSError: it takes too long (ETIMEDOUT).
    """
    end = 0
    while True:
        try:
            start = os.lseek(handle, end, os.SEEK_DATA)
            end = os.lseek(handle, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing behind it
            raise
        yield start, end
        _hurry(deadline)


def _hurry(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def _solid_clusters(handle: int, bits: int, deadline: float) -> bytes | None:
    """Return for each cluster of a file whether it is not a hole; None if there are none, or far too many."""
    status = os.fstat(handle)
    count = -(-status.st_size >> bits)
    if status.st_blocks * 512 >= status.st_size or count > _SOLID_MAX:
        return None
    found = bytearray(count)
    for start, end in _solid(handle, deadline):
        first, last = start >> bits, -(-end >> bits)
        found[first:last] = b"\1" * (last - first)
    found[:1] = b"\0"  # the header: an entry that says so maps nothing
    return bytes(found)
