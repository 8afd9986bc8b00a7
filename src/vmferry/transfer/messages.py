"""The workers' own messages: JSON objects on the control stream, each behind its length (u32)."""

import json
import struct
import threading
from collections.abc import Iterator
from typing import Any

from vmferry.transfer import frames
from vmferry.transfer.stream import Stream

Message = dict[str, Any]

_LENGTH = struct.Struct(">I")
LONGEST = (1 << 20) - _LENGTH.size


class Messages:
    """Both directions of the control stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Send a message; any thread may.

        Raises:
            ConnectionAbortedError: the session broke.
            ValueError: the message is too long.
        """
        raw = json.dumps(message).encode()
        if len(raw) > LONGEST:
            raise ValueError(f"a message of {len(raw)} bytes is too long")
        with self._lock:
            self._stream.send(_LENGTH.pack(len(raw)) + raw)

    def __iter__(self) -> Iterator[Message]:
        """Give the messages that come, until the peer closes the session.

        Raises:
            ConnectionAbortedError: the session broke.
            InternalError: protocol; what came is no message.
        """
        held = bytearray()
        while data := self._stream.recv():
            held += data
            while (end := self._end(held)) <= len(held):
                try:
                    message = json.loads(held[_LENGTH.size : end])
                except (ValueError, RecursionError):
                    raise frames.broken("a message is no JSON") from None
                if not isinstance(message, dict):
                    raise frames.broken("a message is no JSON object")
                del held[:end]
                yield message
        if held:
            raise frames.broken("the last message is cut off")

    @staticmethod
    def _end(held: bytearray) -> int:
        if len(held) < _LENGTH.size:
            return _LENGTH.size
        (length,) = _LENGTH.unpack_from(held)
        if length > LONGEST:
            raise frames.broken("a message is too long")
        return _LENGTH.size + int(length)
