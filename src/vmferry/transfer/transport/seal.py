"""What shows that a control message is the peer's, and the next one: needed where nothing else encrypts the session.

Each message is followed by HMAC-SHA256 over its direction, its number and its bytes. The key comes from the job key and
the session's identifier, so that a message of another session, of the other direction, or out of turn is worth nothing.
"""

import hashlib
import hmac
import struct

from vmferry.core import jobkey
from vmferry.transfer.transport.tls import Credentials

FEATURE = "control-mac"
FINISHED = "finished"
"""The destination says in a message of its own what its libvirt replied to Finish (transfer/worker/commit.py)."""
SIZE = hashlib.sha256().digest_size
_NUMBER = struct.Struct(">Q")


def key(credentials: Credentials, session: str) -> bytes:
    """Return the key for the control messages of one session.

    Arguments:
        session: its identifier, as the hello has it.
    """
    ends = credentials.source_fingerprint, credentials.destination_fingerprint
    return bytes.fromhex(jobkey.proof(credentials.key, credentials.job, *ends, f"control messages {session}"))


class Seal:
    """Seals what goes one way, and checks what comes the other way. Each way has one thread at a time.

    Arguments:
        key: from `key`.
        source: whether this is the source's end.
    """

    def __init__(self, key: bytes, *, source: bool) -> None:
        self._key = key
        self._mine, self._theirs = (b"source", b"destination") if source else (b"destination", b"source")
        self._sent = self._received = 0

    def tag(self, body: bytes) -> bytes:
        """Return what goes with the next message that is sent."""
        self._sent += 1
        return self._make(self._mine, self._sent, body)

    def check(self, body: bytes, tag: bytes) -> bool:
        """Return whether the next message that came is what the peer sent as its next one."""
        self._received += 1
        return hmac.compare_digest(self._make(self._theirs, self._received, body), tag)

    def _make(self, side: bytes, number: int, body: bytes) -> bytes:
        return hmac.digest(self._key, side + b"\0" + _NUMBER.pack(number) + body, "sha256")
