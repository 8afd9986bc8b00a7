"""Reads and creates qcow2 images (QEMU's docs/interop/qcow2.txt).

An image from another host, or one that a guest's QEMU has written, is hostile: its header could name any file of this
host, and its tables can be wrong. It is read here, in memory-safe code and within bounds; no program with more
privileges than QEMU's user reads its bytes.
"""

from vmferry.core.qcow2.empty import OPTIONS, empty
from vmferry.core.qcow2.header import MAGIC, Clusters, Header, Read, named, parse
from vmferry.core.qcow2.mapping import Piece, pieces

__all__ = ["MAGIC", "OPTIONS", "Clusters", "Header", "Piece", "Read", "empty", "named", "parse", "pieces"]
