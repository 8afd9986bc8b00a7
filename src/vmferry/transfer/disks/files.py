"""Carries a file that nobody writes (a read-only disk, a CD image) over a stream, holes left out.

On the stream: u32 length and JSON {target, size}; then records of offset u64, length u32 and so many bytes, in rising
order; the last has length 0 and the file's size as its offset.
"""

import errno
import json
import os
import struct
from typing import Protocol

from vmferry import safefiles
from vmferry.core import codes
from vmferry.core.errors import InternalError
from vmferry.core.message import Exact, Value

_LENGTH = struct.Struct(">I")
_RECORD = struct.Struct(">QI")
_CHUNK = 256 * 1024
_HEAD_MAX = 4096


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
    with os.fdopen(safefiles.open_regular(path), "rb", buffering=0) as file:
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


class IncomingFile:
    """A file that comes: its head has been read.

    Arguments:
        target: the disk that it is, as the other host says.
        size: of the file in bytes, as it says.
    """

    def __init__(self, target: str, size: int, reader: "_Reader") -> None:
        self.target = target
        self.size = size
        self._reader = reader

    def save(self, handle: int, limit: int) -> None:
        """Receive the content and write it to an empty file, holes left out; on disk when this returns.

        Arguments:
            limit: bytes that the file may have.

        Raises:
            InternalError: protocol; the peer sent something else, or more.
            OSError: the file cannot be written.
        """
        if not 0 <= self.size <= limit:
            raise InternalError(codes.PROTOCOL, why=f"a file of {self.size} bytes comes, and {limit} are expected")
        os.ftruncate(handle, self.size)
        reached = 0
        while True:
            offset, length = _RECORD.unpack(self._reader.take(_RECORD.size))
            if not length:
                break
            if length > _CHUNK or offset < reached or offset + length > self.size:
                raise InternalError(codes.PROTOCOL, why="a file record lies outside the file, or before another")
            reached = offset + length
            _write(handle, self._reader.take(length), offset)
        if offset != self.size:
            raise InternalError(codes.PROTOCOL, why="a file ended early")
        os.fsync(handle)


def begin(stream: ByteStream) -> IncomingFile:
    """Read what file comes on a stream.

    Raises:
        InternalError: protocol; the peer sent something else.
    """
    reader = _Reader(stream)
    (length,) = _LENGTH.unpack(reader.take(_LENGTH.size))
    if length > _HEAD_MAX:
        raise InternalError(codes.PROTOCOL, why="a file header is too long")
    try:
        head = _Head.model_validate_json(reader.take(length))
    except ValueError as error:
        raise InternalError(codes.PROTOCOL, why="a file header cannot be read") from error
    return IncomingFile(head.target, head.size, reader)


def _write(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


class _Head(Value):
    target: Exact
    size: int


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
