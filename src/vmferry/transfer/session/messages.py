"""The workers' own messages: JSON objects on the control stream, each behind its length (u32), its seal after it."""

import json
import struct
import threading
from collections.abc import Iterator
from typing import Any

from vmferry.core.message import load
from vmferry.core.text import cleaned
from vmferry.transfer.session.stream import Stream
from vmferry.transfer.transport import frames
from vmferry.transfer.transport.seal import SIZE, Seal

Message = dict[str, Any]

_LENGTH = struct.Struct(">I")
LONGEST = (1 << 20) - _LENGTH.size


class Messages:
    """Both directions of the control stream.

    Arguments:
        seal: shows whose a message is; None where the peer does not know it.
    """

    def __init__(self, stream: Stream, seal: Seal | None = None) -> None:
        self._stream = stream
        self._seal = seal
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
            tag = self._seal.tag(raw) if self._seal else b""
            self._stream.send(_LENGTH.pack(len(raw)) + raw + tag)

    def __iter__(self) -> Iterator[Message]:
        """Yield the messages that come, until the peer closes the session.

        Raises:
            ConnectionAbortedError: the session broke.
            InternalError: protocol; what came is no message.
        """
        held = bytearray()
        while data := self._stream.recv():
            held += data
            while (end := self._end(held)) <= len(held):
                body = end - self._tag
                if self._seal and not self._seal.check(bytes(held[_LENGTH.size : body]), bytes(held[body:end])):
                    raise frames.broken("a message is not the peer's, or not its next one")
                try:
                    message = load(held[_LENGTH.size : body])
                except ValueError:
                    raise frames.broken("a message is no JSON") from None
                if not isinstance(message, dict):
                    raise frames.broken("a message is no JSON object")
                del held[:end]
                yield cleaned(message)
        if held:
            raise frames.broken("the last message is cut off")

    @property
    def _tag(self) -> int:
        return SIZE if self._seal else 0

    def _end(self, held: bytearray) -> int:
        if len(held) < _LENGTH.size:
            return _LENGTH.size
        (length,) = _LENGTH.unpack_from(held)
        if length > LONGEST:
            raise frames.broken("a message is too long")
        return _LENGTH.size + int(length) + self._tag
