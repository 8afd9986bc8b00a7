"""How much of an image a copy takes: what it maps and is not zero, which is neither its size nor what its file holds.

Clusters that are mapped and hold only zeroes (preallocation=metadata) are not copied (transfer/thin.py); compressed
ones are copied as what they hold.
"""

import json
import subprocess
import threading
from collections.abc import Iterable

_GRANULE = 64 * 1024  # bytes; QEMU's mirror copies no less at once, whatever the image's own clusters are
_LIMIT = 5.0  # seconds; an image of many pieces takes long to list
_REFCOUNT = 2  # bytes, by default
_FIXED = 4  # clusters of a new qcow2 image: header, refcount table and block, L1 table


class _Count:
    """Adds extents up."""

    def __init__(self) -> None:
        self.size = 0  # bytes of whole granules
        self.end = 0  # of what has been listed
        self.compressed = False
        self.regions: set[int] = set()  # of L2 tables
        self._covered = 0

    def add(self, line: str, region: int) -> None:
        """Add a line of `qemu-img map --output=json`."""
        text = line.strip().strip("[],")
        if not text:
            return
        extent = json.loads(text)
        start, length = int(extent["start"]), int(extent["length"])
        self.end = max(self.end, start + length)
        self.compressed = self.compressed or bool(extent.get("compressed"))
        if not extent["data"] or extent["zero"] or not length:
            return
        first = max(self._covered, start // _GRANULE * _GRANULE)
        last = (start + length + _GRANULE - 1) // _GRANULE * _GRANULE
        self.size += max(0, last - first)
        self._covered = max(self._covered, last)
        self.regions.update(range(start // region, (start + length - 1) // region + 1))


def needed(path: str, format_: str, virtual_size: int, allocated: int, cluster: int = _GRANULE) -> int:
    """Return the bytes that a copy of an image will take, its metadata included. All sizes in bytes.

    Arguments:
        path: absolute path of the image; it may be in use.
        format_: what the VM's configuration calls it: raw or qcow2.
        virtual_size: what the guest sees.
        allocated: what the file takes where it is: the best guess for what cannot be listed in time.
        cluster: of the image, where it is a qcow2.
    """
    region = cluster * (cluster // 8)  # that one L2 table maps
    count = _Count()
    whole = _list(["qemu-img", "map", "--force-share", "--output=json", "-f", format_, path], count, region)
    size = min(count.size, virtual_size)
    if not whole:
        rest = max(0, virtual_size - count.end)
        size += rest if count.compressed else min(rest, max(0, allocated - count.size))
    if format_ != "qcow2":
        return size
    tables = len(count.regions) if whole else virtual_size // region + 1
    return size + (tables + _FIXED) * cluster + virtual_size // region * 8 + size // cluster * _REFCOUNT


def _list(command: list[str], count: _Count, region: int) -> bool:
    """Add up what a program lists; returns whether it came to the end in time."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program:
        assert program.stdout is not None
        alarm = threading.Timer(_LIMIT, program.kill)
        alarm.start()
        try:
            _add(program.stdout, count, region)
        finally:
            alarm.cancel()
    return program.returncode == 0


def _add(lines: Iterable[str], count: _Count, region: int) -> None:
    try:
        for line in lines:
            count.add(line, region)
    except (ValueError, KeyError):
        return  # cut off, when the time is over
