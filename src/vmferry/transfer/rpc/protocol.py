"""libvirt's remote protocol: messages and their headers. All numbers are big-endian.

Source: libvirt's src/rpc/virnetprotocol.x, src/rpc/virkeepaliveprotocol.x, src/remote/remote_protocol.x.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from vmferry.core import codes
from vmferry.core.errors import InternalError

REMOTE_PROGRAM = 0x20008086
KEEPALIVE_PROGRAM = 0x6B656570
VERSION = 1

# VIR_NET_MESSAGE_MAX; the length word itself comes on top.
LENGTH_MAX = 32 * 1024 * 1024
_HEADER = struct.Struct(">IIIiIIi")
HEADER_SIZE = _HEADER.size


class Procedure(IntEnum):
    """The procedures of REMOTE_PROGRAM that a peer-to-peer migration calls on the destination."""

    OPEN = 1
    CLOSE = 2
    SUPPORTS_FEATURE = 60
    AUTH_LIST = 66
    PREPARE = 303  # DomainMigratePrepare3Params
    FINISH = 306  # DomainMigrateFinish3Params
    REGISTER_CLOSE_CALLBACK = 360
    UNREGISTER_CLOSE_CALLBACK = 361


class KeepAlive(IntEnum):
    """The procedures of KEEPALIVE_PROGRAM."""

    PING = 1
    PONG = 2


class MessageType(IntEnum):
    """The type of a message (virNetMessageType)."""

    CALL = 0
    REPLY = 1
    MESSAGE = 2


class MessageStatus(IntEnum):
    """The status of a message (virNetMessageStatus)."""

    OK = 0
    ERROR = 1


@dataclass(frozen=True, slots=True)
class RpcMessage:
    """One whole message with its header parsed. `type` and `status` may be values without a name above."""

    raw: bytes
    program: int
    version: int
    procedure: int
    type: int
    serial: int
    status: int

    @property
    def payload(self) -> bytes:
        """The bytes after the header."""
        return self.raw[HEADER_SIZE:]

    def __str__(self) -> str:
        return (
            f"program {self.program:#x} version {self.version} procedure {self.procedure} "
            f"type {self.type} serial {self.serial} status {self.status}, {len(self.raw)} bytes"
        )


def read(raw: bytes) -> RpcMessage:
    """Parse the header of a whole message."""
    _length, program, version, procedure, kind, serial, status = _HEADER.unpack_from(raw)
    return RpcMessage(raw, program, version, procedure, kind, serial, status)


def build(
    program: int,
    procedure: int,
    kind: int,
    serial: int,
    payload: bytes | bytearray = b"",
    status: int = MessageStatus.OK,
) -> bytes:
    """Build a message."""
    length = HEADER_SIZE + len(payload)
    return _HEADER.pack(length, program, VERSION, procedure, kind, serial, status) + payload


PING = build(KEEPALIVE_PROGRAM, KeepAlive.PING, MessageType.MESSAGE, 0)
PONG = build(KEEPALIVE_PROGRAM, KeepAlive.PONG, MessageType.MESSAGE, 0)


class Splitter:
    """Splits a byte stream into messages."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[RpcMessage]:
        """Take bytes and return every message that they complete.

        Raises:
            InternalError: protocol; a length that no message can have. The stream cannot be used after that.
        """
        self._held += data
        while len(self._held) >= 4:
            length = int.from_bytes(self._held[:4], "big")
            if not HEADER_SIZE <= length <= LENGTH_MAX + 4:
                raise InternalError(codes.PROTOCOL, why=f"a libvirt message says it has {length} bytes")
            if len(self._held) < length:
                return
            raw = bytes(self._held[:length])
            del self._held[:length]
            yield read(raw)
