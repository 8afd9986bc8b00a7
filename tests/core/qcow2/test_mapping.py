"""What images hold, against `qemu-img map`, and tables that lie."""

import json
import os
import random
import struct
import subprocess
from pathlib import Path

import pytest

from vmferry.core import qcow2
from vmferry.core.qcow2 import Piece

MIB = 1 << 20


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


def make(path: Path, options: str, size: int, seed: int) -> bytes:
    """Make an image with data, zeroes and discarded parts at random, and a compressed one's parts."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, str(path), str(size))
    dice = random.Random(seed)
    writes = []
    if "preallocation" not in options:
        writes += [word for at in (4 * MIB, 10 * MIB) for word in ("-c", f"write -q -c -P 8 {at} 2M")]
    for _ in range(40):
        at, length = dice.randrange(size // 512) * 512, dice.choice([512, 4096, 70_144, 1_000_448])
        length = min(length, size - at)
        kind = dice.choice(["write -q -P 7", "write -q -P 7", "write -q -z", "discard -q"])
        writes += ["-c", f"{kind} {at} {length}"]
    run("qemu-io", "-d", "unmap", "-f", "qcow2", *writes, str(path))
    return path.read_bytes()


def solid(path: Path, bits: int) -> bytes:
    found = bytearray(-(-path.stat().st_size >> bits))
    with path.open("rb") as file:
        end = 0
        while end < path.stat().st_size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            for number in range(start >> bits, -(-end >> bits)):
                found[number] = 1
    found[0] = 0
    return bytes(found)


def pieces(raw: bytes, holds: bytes | None = None) -> list[Piece]:
    def read(at: int, length: int) -> bytes:
        return raw[at : at + length]

    return list(qcow2.pieces(read, qcow2.parse(read), holds))


@pytest.mark.parametrize(
    "options",
    [
        "cluster_size=64k",
        "compat=0.10",
        "cluster_size=512",
        "cluster_size=4k",
        "cluster_size=2M",
        "extended_l2=on,cluster_size=64k",
        "extended_l2=on,cluster_size=256k",
        "preallocation=metadata",
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_it_holds_what_qemu_img_says(tmp_path: Path, options: str, seed: int) -> None:
    path, size = tmp_path / "a", 17 * MIB + 512
    raw = make(path, options, size, seed)
    bits = struct.unpack_from(">I", raw, 20)[0]
    found = bytearray(size // 512)
    compressed = False
    for piece in pieces(raw, solid(path, bits)):
        compressed = compressed or piece.compressed
        for number, flag in enumerate(piece.flags):
            start = (piece.start + number * piece.unit) // 512
            end = min(start + piece.unit // 512, len(found))
            found[start:end] = bytes([flag]) * (end - start)
    expected = bytearray(size // 512)
    extents = json.loads(run("qemu-img", "map", "--output=json", "-f", "qcow2", str(path)))
    for extent in extents:
        if extent["data"] and not extent["zero"]:
            start, end = extent["start"] // 512, -(-(extent["start"] + extent["length"]) // 512)
            expected[start:end] = b"\1" * (end - start)
    cluster = (1 << bits) // 512
    missing = [at for at in range(len(found)) if expected[at] and not found[at]]
    assert not missing
    # A hole within a cluster is known to qemu-img alone.
    for at in range(0, len(found), cluster):
        if found[at : at + cluster].count(1):
            assert expected[at : at + cluster].count(1), f"at {at * 512}"
    assert compressed or options != "cluster_size=64k"


def test_without_holes_all_that_is_mapped_counts(tmp_path: Path) -> None:
    path = tmp_path / "a"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", str(path), "16M")
    raw = path.read_bytes()
    assert sum(sum(piece.flags) for piece in pieces(raw)) == 256
    assert sum(sum(piece.flags) for piece in pieces(raw, bytes(len(raw) >> 16))) == 0


def test_tables_that_lie_cost_little(tmp_path: Path) -> None:
    path = tmp_path / "a"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", str(path), "16M")
    raw = bytearray(path.read_bytes())
    l1 = struct.unpack_from(">Q", raw, 40)[0]
    struct.pack_into(">Q", raw, l1, 1 << 63 | 1 << 55)
    with pytest.raises(ValueError, match="ends where"):
        pieces(bytes(raw))
    l2 = 0x40000
    struct.pack_into(">Q", raw, l1, 1 << 63 | l2)
    raw[l2 : l2 + 65536] = b"\xff" * 65536
    (piece,) = pieces(bytes(raw), bytes(100))
    assert piece.compressed
    raw[l2 : l2 + 65536] = struct.pack(">Q", (1 << 56) - (1 << 16)) * 8192
    (piece,) = pieces(bytes(raw), bytes(100))
    assert piece.flags == b"\1" * 256, "what lies behind the end of the file counts"
