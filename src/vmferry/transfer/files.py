"""Carries a file that nobody writes (a read-only disk, a CD image) over a stream, holes left out.

On the stream: u32 length and JSON {target, size}; then records of offset u64, length u32 and so many bytes, in rising
order; the last has length 0 and the file's size as its offset.
"""

import errno
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from vmferry.core import codes
from vmferry.core.errors import InternalError

_LENGTH = struct.Struct(">I")
_RECORD = struct.Struct(">QI")
_CHUNK = 256 * 1024


class ByteStream(Protocol):
    """What is needed of a stream here."""

    def send(self, data: bytes | memoryview) -> None:
        """Queue bytes; waits for credit."""

    def send_fin(self) -> None:
        """Say that nothing more comes."""

    def recv(self) -> bytes | memoryview:
        """Wait for bytes; empty at the end."""


def send(stream: ByteStream, target: str, path: str) -> int:
    """Send a file; returns the bytes of content sent.

    Raises:
        OSError: the file cannot be read.
    """
    sent = 0
    with Path(path).open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        head = json.dumps({"target": target, "size": size}).encode()
        stream.send(_LENGTH.pack(len(head)) + head)
        position = 0
        while position < size:
            try:
                position = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break  # nothing but a hole to the end
            hole = os.lseek(file.fileno(), position, os.SEEK_HOLE)
            while position < hole:
                data = os.pread(file.fileno(), min(_CHUNK, hole - position), position)
                if not data:
                    break
                stream.send(_RECORD.pack(position, len(data)) + data)
                position += len(data)
                sent += len(data)
        stream.send(_RECORD.pack(size, 0))
    stream.send_fin()
    return sent


def receive(stream: ByteStream, locate: Callable[[str], str]) -> str:
    """Receive one file and write it; returns the disk's target.

    Arguments:
        locate: gives the path for a disk's target; raises for one that was not granted.

    Raises:
        InternalError: protocol; the peer sent something else.
        OSError: the file cannot be written.
    """
    reader = _Reader(stream)
    head = json.loads(reader.take(_length(reader.take(_LENGTH.size), 4096)))
    target, size = str(head["target"]), int(head["size"])
    with Path(locate(target)).open("r+b", buffering=0) as file:
        while True:
            offset, length = _RECORD.unpack(reader.take(_RECORD.size))
            if not length:
                break
            if length > _CHUNK or offset + length > size:
                raise InternalError(codes.PROTOCOL, why="a file record lies outside the file")
            os.pwrite(file.fileno(), reader.take(length), offset)
        file.truncate(size)
        os.fsync(file.fileno())
    return target


def _length(raw: bytes, limit: int) -> int:
    (length,) = _LENGTH.unpack(raw)
    if length > limit:
        raise InternalError(codes.PROTOCOL, why="a file header is too long")
    return int(length)


class _Reader:
    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._held = bytearray()

    def take(self, count: int) -> bytes:
        while len(self._held) < count:
            data = self._stream.recv()
            if not data:
                raise InternalError(codes.PROTOCOL, why="a file ended early")
            self._held += data
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken
