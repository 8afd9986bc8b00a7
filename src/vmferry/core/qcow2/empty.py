"""The first bytes of an empty qcow2 image: its header and reference counts, as `qemu-img create` writes them."""

import struct
from collections.abc import Mapping

from vmferry.core.qcow2.header import MAGIC, TABLE_L1_MAX

OPTIONS = {
    "cluster_size": frozenset(str(1 << bits) for bits in range(9, 22)),
    "compat": frozenset({"0.10", "1.1"}),
    "compression_type": frozenset({"zlib", "zstd"}),
    "extended_l2": frozenset({"on", "off"}),
    "lazy_refcounts": frozenset({"on", "off"}),
    "refcount_bits": frozenset(str(1 << order) for order in range(7)),
}
"""Options of `qemu-img create` that a copy has in common with its original, and the values of each."""

_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_MORE = struct.Struct(">QQQIIB7x")
_SECTOR = 512
_OWN = 1 << 63  # of an entry: nobody else has that cluster
_SUBCLUSTERS_MIN = 16 << 10


def empty(virtual_size: int, options: Mapping[str, str]) -> tuple[bytes, int]:
    """Return the first bytes of an empty image, and the length of its file; the rest of the file is zero.

    Arguments:
        virtual_size: bytes that the guest sees, rounded up to whole sectors.
        options: as in OPTIONS; a missing option has QEMU's default.

    Raises:
        ValueError: QEMU creates no such image.
    """
    cluster = int(options.get("cluster_size", "65536"))
    width = int(options.get("refcount_bits", "16"))
    old = options.get("compat") == "0.10"
    zstd, lazy, extended = (
        options.get(name) == value
        for name, value in (("compression_type", "zstd"), ("lazy_refcounts", "on"), ("extended_l2", "on"))
    )
    if old and (width != 16 or zstd or lazy or extended):
        raise ValueError("an image of the old format (compat=0.10) has none of the newer options")
    if extended and cluster < _SUBCLUSTERS_MIN:
        raise ValueError(f"clusters of {cluster} bytes have no parts (extended_l2)")
    if virtual_size < 0:
        raise ValueError(f"no disk has {virtual_size} bytes")
    virtual_size = -(-virtual_size // _SECTOR) * _SECTOR
    entries = -(-virtual_size // (cluster * (cluster // (16 if extended else 8))))
    if entries * 8 > TABLE_L1_MAX:
        raise ValueError(f"a disk of {virtual_size} bytes is too large for clusters of {cluster} bytes")
    l1 = -(-entries * 8 // cluster)
    tables, blocks = _counts(l1, cluster, width)
    used = 1 + tables + blocks + l1
    bits = cluster.bit_length() - 1
    l1_at = (1 + tables + blocks) * cluster if entries else 0
    header = _HEADER.pack(MAGIC, 2 if old else 3, 0, 0, bits, virtual_size, 0, entries, l1_at, cluster, tables, 0, 0)
    if not old:
        features = zstd << 3 | extended << 4
        header += _MORE.pack(features, int(lazy), 0, width.bit_length() - 1, _HEADER.size + _MORE.size, int(zstd))
    places = b"".join(struct.pack(">Q", (1 + tables + number) * cluster) for number in range(blocks))
    head = header.ljust(cluster, b"\0") + places.ljust(tables * cluster, b"\0") + _ones(used, width)
    return head, used * cluster


def _counts(others: int, cluster: int, width: int) -> tuple[int, int]:
    """Return the number of clusters of the reference count table and of its blocks, which count themselves too."""
    tables, blocks = 1, 1
    while True:
        used = 1 + tables + blocks + others
        wanted = -(-used * width // (cluster * 8))
        if wanted <= blocks and blocks * 8 <= tables * cluster:
            return tables, blocks
        blocks = max(blocks, wanted)
        tables = max(tables, -(-blocks * 8 // cluster))


def _ones(count: int, width: int) -> bytes:
    """Return as many reference counts of 1."""
    if width >= 8:
        return (1).to_bytes(width // 8, "big") * count
    bits = sum(1 << number * width for number in range(count))  # the first is in the lowest bits of a byte
    return bits.to_bytes(-(-count * width // 8), "little")
