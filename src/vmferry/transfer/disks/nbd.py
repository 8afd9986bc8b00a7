"""Reads the NBD protocol as QEMU speaks it, as far as it takes to leave zeroes out of a copy (the protocol's proto.md).

A copied disk begins empty on the destination: zeroes for a part that was never written there say nothing new. They
are answered here and not sent, so that neither the wire carries them nor the destination allocates them.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from vmferry.core import codes
from vmferry.core.errors import InternalError

_CHUNK = 64 * 1024  # bytes; as QEMU's mirror counts
_PAGE = 1 << 14  # chunks in one page of marks
_PAGES_MAX = 1 << 14  # of 1 GiB of a disk, each 16 KiB: QEMU's user could write anywhere
_OPTION_MAX = 8192  # bytes of an option's data; a name has 4096 at most
_REPLY_MAX = 64 << 20  # bytes of a reply's content; QEMU asks for 32 MiB at most
ZEROES = memoryview(bytes(256 * 1024))

_GREETING = 18  # bytes: NBDMAGIC, IHAVEOPT, flags
_OPTION, _OPTION_REPLY = struct.Struct(">8sII"), struct.Struct(">8sIII")
_REQUEST, _EXTENDED = struct.Struct(">IHHQQI"), struct.Struct(">IHHQQQ")
_SIMPLE, _CHUNKED, _LONG = struct.Struct(">IIQ"), struct.Struct(">IHHQI"), struct.Struct(">IHHQQQ")
_IHAVEOPT, _REQUEST_MAGIC, _EXTENDED_MAGIC = 0x49484156, 0x25609513, 0x21E41C71
_OPTION_REPLY_MAGIC, _SIMPLE_MAGIC, _CHUNKED_MAGIC, _LONG_MAGIC = 0x0003E889, 0x67446698, 0x668E33EF, 0x6E8A278C
_EXPORT_NAME, _STARTTLS = 1, 5
_READ, _WRITE, _TRIM, _WRITE_ZEROES = 0, 1, 4, 6
_DONE, _PAYLOAD = 1, 1 << 5


class Written:
    """Which parts of a copy have been written so far."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._full = False  # there are too many: all of the disk counts as written then

    def add(self, offset: int, length: int) -> None:
        """Note a write. Offset and length in bytes."""
        for number, first, last in _marks(offset, length):
            self._full = self._full or (len(self._pages) >= _PAGES_MAX and number not in self._pages)
            if self._full:
                return
            page = self._pages.setdefault(number, bytearray(_PAGE))
            page[first:last] = b"\1" * (last - first)

    def overlaps(self, offset: int, length: int) -> bool:
        """Return whether any of a part may have been written."""
        if self._full:
            return True
        first, last = offset // _CHUNK // _PAGE, (offset + length - 1) // _CHUNK // _PAGE
        if last - first >= len(self._pages):  # a request for a whole disk: there are fewer pages than it spans
            return any(
                page.find(1, begin, end) >= 0
                for number, page in self._pages.items()
                for begin, end in [_inside(number, offset, length)]
            )
        return any(
            number in self._pages and self._pages[number].find(1, begin, end) >= 0
            for number, begin, end in _marks(offset, length)
        )


class Requests:
    """What QEMU's mirror asks of the destination; decides what of it has to go there.

    Arguments:
        written: of the disk that is copied.
        reads: the lengths of reads that wait for their answer, by cookie; `Replies` needs them.
        answer: gets the reply to each request that needs not go.
    """

    def __init__(self, written: Written, reads: dict[int, int], answer: Callable[[bytes], None]) -> None:
        self.spared = 0  # bytes of zeroes that were not sent
        self._written = written
        self._reads = reads
        self._answer = answer
        self._greeted = False
        self._opaque = False  # something that is not understood: everything passes as it is
        self._head = bytearray()
        self._payload = 0  # bytes of the current request still to come
        self._write: _Write | None = None  # whose content comes

    def feed(self, data: memoryview) -> list[memoryview]:
        """Take what QEMU has sent; returns what has to go, parts that lie side by side as one."""
        out = _Pieces(data)
        if self._write is not None:
            self._write.span = None  # its head lay in an earlier buffer
        at = 0
        while at < len(data):
            if self._opaque:
                out.put(data[at:], (at, len(data)))
                break
            if self._payload:
                end = min(at + self._payload, len(data))
                self._payload -= end - at
                self._pass(out, data, at, end)
            else:
                end = min(at + self._missing(), len(data))
                self._head += data[at:end]
                if not self._missing():
                    head = bytes(self._head)
                    self._head.clear()
                    span = end - len(head)
                    self._begin(out, head, (span, end) if span >= 0 else None)
            at = end
        return out.parts

    def _missing(self) -> int:
        """Return how many bytes of the head are known to be missing."""
        have = len(self._head)
        if have < 4:
            return 4 - have
        if not self._greeted:
            return 0
        (magic,) = struct.unpack_from(">I", self._head)
        if magic == _REQUEST_MAGIC:
            return _REQUEST.size - have
        if magic == _EXTENDED_MAGIC:
            return _EXTENDED.size - have
        if magic != _IHAVEOPT:
            return 0
        if have < _OPTION.size:
            return _OPTION.size - have
        length = _OPTION.unpack_from(self._head)[2]
        return _OPTION.size + length - have if length <= _OPTION_MAX else 0

    def _begin(self, out: "_Pieces", head: bytes, span: "_Span") -> None:
        (magic,) = struct.unpack_from(">I", head)
        if not self._greeted:
            self._greeted = True
        elif magic == _REQUEST_MAGIC:
            _, flags, kind, cookie, offset, length = _REQUEST.unpack(head)
            reply = _SIMPLE.pack(_SIMPLE_MAGIC, 0, cookie)
            self._request(out, _Write(head, span, offset, length, reply), flags, kind, cookie)
            return
        elif magic == _EXTENDED_MAGIC:
            _, flags, kind, cookie, offset, length = _EXTENDED.unpack(head)
            reply = _LONG.pack(_LONG_MAGIC, _DONE, 0, cookie, offset, 0)
            self._request(out, _Write(head, span, offset, length, reply), flags, kind, cookie)
            return
        elif magic != _IHAVEOPT or len(head) < _OPTION.size or _OPTION.unpack_from(head)[2] > _OPTION_MAX:
            self._opaque = True
        elif _OPTION.unpack_from(head)[1] in (_EXPORT_NAME, _STARTTLS):
            self._opaque = True  # what follows has no frame, or is encrypted; QEMU does neither here
        out.put(head, span)

    def _request(self, out: "_Pieces", write: "_Write", flags: int, kind: int, cookie: int) -> None:
        if kind == _WRITE or flags & _PAYLOAD:
            self._payload = write.length
        if kind == _READ:
            self._reads[cookie] = write.length
        self._write = write if kind == _WRITE and write.length else None
        changes = kind in (_WRITE, _TRIM, _WRITE_ZEROES) and write.length > 0
        if changes and not self._written.overlaps(write.offset, write.length):
            if kind == _WRITE:
                write.held = True
            else:
                self._spare(write)
            return
        out.put(write.head, write.span)

    def _pass(self, out: "_Pieces", data: memoryview, start: int, end: int) -> None:
        """Pass a part of a request's content on, unless it is a write that has been all zeroes so far."""
        write = self._write
        if write is None:
            out.put(data[start:end], (start, end))
            return
        part, begins = data[start:end], write.offset + write.done
        write.done += len(part)
        zero = _is_zero(part)
        if not zero:
            self._written.add(begins, len(part))
        if not write.held:
            out.put(part, (start, end))
        elif not zero:
            write.held = False
            out.put(write.head, write.span)
            before = begins - write.offset
            while before:
                out.put(ZEROES[:before], None)
                before -= min(before, len(ZEROES))
            out.put(part, (start, end))
        elif not self._payload:
            self._spare(write)

    def _spare(self, write: "_Write") -> None:
        self.spared += write.length
        self._answer(write.reply)


class Replies:
    """What the destination answers; knows where one reply ends and the next begins, for others to go between.

    Arguments:
        reads: see `Requests`.
    """

    def __init__(self, reads: dict[int, int]) -> None:
        self._reads = reads
        self._head = bytearray()
        self._greeted = False
        self._payload = 0

    @property
    def between(self) -> bool:
        """Whether a reply has just ended, so that another may go here."""
        return self._greeted and not self._payload and not self._head

    def feed(self, data: memoryview) -> None:
        """Take what the destination has sent.

        Raises:
            InternalError: protocol; it is no NBD.
        """
        at = 0
        while at < len(data):
            if self._payload:
                size = min(self._payload, len(data) - at)
                self._payload -= size
            else:
                size = min(self._missing(), len(data) - at)
                self._head += data[at : at + size]
                if not self._missing():
                    self._begin(bytes(self._head))
                    self._head.clear()
            at += size

    def _missing(self) -> int:
        have = len(self._head)
        if not self._greeted:
            return _GREETING - have
        if have < 4:
            return 4 - have
        (magic,) = struct.unpack_from(">I", self._head)
        sizes = {
            _OPTION_REPLY_MAGIC: _OPTION_REPLY.size,
            _SIMPLE_MAGIC: _SIMPLE.size,
            _CHUNKED_MAGIC: _CHUNKED.size,
            _LONG_MAGIC: _LONG.size,
        }
        if magic not in sizes:
            raise InternalError(codes.PROTOCOL, why="a disk's stream holds what is no NBD reply")
        return sizes[magic] - have

    def _begin(self, head: bytes) -> None:
        if not self._greeted:
            if not head.startswith(b"NBDMAGICIHAVEOPT"):
                raise InternalError(codes.PROTOCOL, why="a disk's stream does not begin as NBD")
            self._greeted = True
            return
        (magic,) = struct.unpack_from(">I", head)
        if magic == _OPTION_REPLY_MAGIC:
            self._payload = _OPTION_REPLY.unpack(head)[3]
        elif magic == _SIMPLE_MAGIC:
            _, error, cookie = _SIMPLE.unpack(head)
            asked = self._reads.pop(cookie, 0)
            self._payload = 0 if error else asked
        else:
            _, flags, _, cookie, *_, length = (_CHUNKED if magic == _CHUNKED_MAGIC else _LONG).unpack(head)
            self._payload = length
            if flags & _DONE:
                self._reads.pop(cookie, None)
        if self._payload > _REPLY_MAX:
            raise InternalError(codes.PROTOCOL, why="an NBD reply is too long")


_Span = tuple[int, int] | None
"""Where bytes lie in the buffer that is at hand; None: not in it."""


@dataclass(slots=True)
class _Write:
    """A request that changes the disk, and may turn out to change nothing. Offset and length in bytes."""

    head: bytes
    span: _Span
    offset: int
    length: int
    reply: bytes
    done: int = 0  # bytes of its content that have come
    held: bool = False  # nothing of it was sent, since all that came is zero


class _Pieces:
    """Gathers parts of one buffer, and bytes between them, as few pieces."""

    def __init__(self, data: memoryview) -> None:
        self.parts: list[memoryview] = []
        self._data = data
        self._end: int | None = None  # of the last part, if it lies in the buffer

    def put(self, what: bytes | memoryview, span: _Span) -> None:
        """Add bytes; those that lie in the buffer right behind the last ones become one piece with them."""
        if span is None:
            self.parts.append(memoryview(what))
            self._end = None
            return
        start, end = span
        if self._end == start:
            start -= len(self.parts.pop())
        self.parts.append(self._data[start:end])
        self._end = end


def _is_zero(part: memoryview) -> bool:
    if part[:32] != ZEROES[: min(32, len(part))]:  # data shows itself at once, nearly always
        return False
    return all(
        bytes(part[start : start + len(ZEROES)]) == bytes(ZEROES[: len(part) - start])
        for start in range(0, len(part), len(ZEROES))
    )


def _marks(offset: int, length: int) -> list[tuple[int, int, int]]:
    """Return page, first and last chunk (which is not in) of every page that a part touches."""
    first, last = offset // _CHUNK // _PAGE, (offset + length - 1) // _CHUNK // _PAGE
    return [(number, *_inside(number, offset, length)) for number in range(first, last + 1)]


def _inside(number: int, offset: int, length: int) -> tuple[int, int]:
    """Return the chunks of one page that a part touches; none: the second is not above the first."""
    base = number * _PAGE
    first, last = offset // _CHUNK - base, (offset + length - 1) // _CHUNK - base + 1
    return max(0, first), max(0, min(_PAGE, last))
