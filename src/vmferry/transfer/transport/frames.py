"""Frames: what a carrier connection carries after the hello (docs/design.md, The wire between workers). Pure."""

import struct
from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import NamedTuple

from vmferry.core import codes
from vmferry.core.errors import InternalError

# stream u32, type u8, flags u8, reserved u16, offset u64, length u32, raw length u32
HEADER = struct.Struct(">IBBHQII")
CREDIT = struct.Struct(">Q")

CONTROL = 0  # the stream of the workers' own messages
LONGEST = 1 << 20  # bytes of payload in one frame
INITIAL_CREDIT = 1 << 20  # bytes that may be sent on a stream before its first ACK
STREAMS = 64  # streams that one side may have open at once
PENDING = 1024  # frames of one stream that may be unacknowledged: bounds what tiny frames cost
REASON = 512  # bytes of a RESET's reason

RESUME = "resume"
"""The feature of the hello that says that a session may go on with new connections after it lost all."""
CODEC = "codec-"
"""How the features of the hello begin that stand for a codec (codec.py)."""

_MOST_OFFSET = 1 << 62  # an offset above this is nonsense, and sums stay far from 2^64


class Type(IntEnum):
    """What a frame is."""

    OPEN = 1  # payload: the stream's kind, and its parameters
    DATA = 2  # offset: position of the payload in the stream; raw length: what an encoded payload decodes to, else 0
    ACK = 3  # offset: bytes taken (written to the local socket); payload u64: the credit limit
    FIN = 4  # offset: where the stream ends
    RESET = 5  # payload: why; the stream is given up in both directions
    PING = 6  # "this connection is alive"


# Flags of DATA.
SOON = 1  # the sender would like an ACK without delay
# Flags of ACK.
RESUMED = 4  # of stream 0, after those of all other streams: that is what the sender has of each
ENDED = 1  # the FIN was taken too
GONE = 2  # the stream is over at this end: nothing of it need be kept or sent again

_FLAGS = {Type.DATA: SOON, Type.ACK: ENDED | GONE}
_LENGTHS = {
    Type.OPEN: (1, 32),
    Type.DATA: (1, LONGEST),
    Type.ACK: (CREDIT.size, CREDIT.size),
    Type.FIN: (0, 0),
    Type.RESET: (0, REASON),
    Type.PING: (0, 0),
}


class Rule(NamedTuple):
    """What the header of a frame of one type may say."""

    flags: int
    shortest: int
    longest: int
    encoded: bool = False


Rules = Mapping[int, Rule]
"""By the type's number, for the path that every frame takes."""

PLAIN: Rules = {int(kind): Rule(_FLAGS.get(kind, 0), *_LENGTHS[kind]) for kind in Type}
_WITH_PARAMETERS = 128  # bytes of an OPEN


def rules(features: Collection[str]) -> Rules:
    """Return what frames may be like in a session.

    Arguments:
        features: that both sides have.
    """
    made = dict(PLAIN)
    if any(one.startswith(CODEC) for one in features):
        made[Type.OPEN] = Rule(0, 1, _WITH_PARAMETERS)
        made[Type.DATA] = made[Type.DATA]._replace(encoded=True)
    if RESUME in features:
        made[Type.ACK] = made[Type.ACK]._replace(flags=ENDED | GONE | RESUMED)
    return made


def broken(why: str) -> InternalError:
    """Make the error of a peer that does not keep to the protocol."""
    return InternalError(codes.PROTOCOL, why=why)


def parse(header: bytes | bytearray | memoryview, rules: Rules = PLAIN) -> tuple[int, int, int, int, int, int]:
    """Read a header.

    Arguments:
        header: that came.
        rules: of the session.

    Returns:
        Stream, type, flags, offset, the length of the payload that follows, and the length that it decodes to: 0 if
        it is not encoded.

    Raises:
        InternalError: protocol; no frame of such a session has such a header.
    """
    stream, kind, flags, reserved, offset, length, raw = HEADER.unpack_from(header)
    rule = rules.get(kind)
    if rule is None:
        raise broken(f"there is no frame of type {kind}")
    allowed, shortest, longest, encoded = rule
    if reserved or (raw and not encoded) or flags & ~allowed:
        raise broken(f"a frame of type {kind} has unknown flags")
    if not shortest <= length <= longest:
        raise broken(f"a frame of type {kind} has a payload of {length} bytes")
    if raw and not length < raw <= LONGEST:
        raise broken(f"a payload of {length} bytes claims to decode to {raw}")
    if offset > _MOST_OFFSET:
        raise broken("a frame lies beyond the end of any stream")
    return stream, kind, flags, offset, length, raw


def pack(stream: int, kind: Type, offset: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    """Make a whole frame of one of the short types."""
    return HEADER.pack(stream, kind, flags, 0, offset, len(payload), 0) + payload


def opening(kind: str, parameters: Mapping[str, str]) -> bytes:
    """Make the payload of OPEN: the kind, then ` name=value` for each parameter. Without any, every release reads it.

    Raises:
        InternalError: protocol; that is no name of a kind.
    """
    payload = " ".join([kind, *(f"{name}={value}" for name, value in parameters.items())]).encode()
    opening_of(payload)
    return payload


def opening_of(payload: bytes | memoryview) -> tuple[str, dict[str, str]]:
    """Read the payload of OPEN; returns the kind, and the parameters, of which unknown ones mean nothing.

    Raises:
        InternalError: protocol; it does not begin with the name of a kind.
    """
    kind, *parameters = bytes(payload).split(b" ")
    if not kind.isascii() or not kind.isalpha() or not kind.islower():
        raise broken("a stream was opened without a kind")
    said = dict(part.decode("ascii", "replace").partition("=")[::2] for part in parameters)
    return kind.decode("ascii"), said


def reason_of(payload: bytes | memoryview) -> str:
    """Read the payload of RESET; whatever a peer put there becomes one printable line."""
    text = bytes(payload).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text) or "the peer gave no reason"


def reason(text: str) -> bytes:
    """Make the payload of RESET."""
    return text.encode("utf-8", "replace")[:REASON]
