"""Reads the records that a guest has written from its disk's file, without the guest."""

import struct
import tempfile
from pathlib import Path

from vmferry.lab.host import LabHost
from vmferry.lab.vms.vm import GuestDisk

# Of lab/guest/guest.c: the last 64 MiB of the disk hold up to 256 records of a page each, written round and round.
_AREA = 64
_PAGE, _SLOTS = 4096, 256
_MAGIC = 0x564D464552525931
_HEAD = struct.Struct("<QQ")


def last_record(host: LabHost, disk: GuestDisk, vm: str) -> int:
    """Return the number of the newest record on a disk; -1 when there is none."""
    with tempfile.TemporaryDirectory(dir=host.home) as folder:
        copy = Path(folder) / "records"
        start = disk.size - _AREA
        part = ["bs=1M", f"skip={start}", f"count={start + 1}"]  # qemu-img counts from the beginning of its input
        files = [f"if={disk.path(vm)}", f"of={copy}"]
        host.run("qemu-img", "dd", "-U", "-f", disk.format, "-O", "raw", *part, *files)
        data = copy.read_bytes()
    found = [_HEAD.unpack_from(data, slot * _PAGE) for slot in range(min(_SLOTS, len(data) // _PAGE))]
    return max((number for magic, number in found if magic == _MAGIC), default=-1)
