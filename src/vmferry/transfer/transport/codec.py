"""Codecs: what becomes of a DATA frame's payload on the wire. A stream's OPEN names the one that it may use. Pure.

Whether a frame is encoded is up to its sender, frame by frame. One that is says how many bytes it decodes to, which is
known to be allowed before anything is decoded.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from vmferry.transfer.transport.frames import CODEC


class Codec(Protocol):
    """Encodes payloads, each for itself: frames of one stream travel over different connections.

    Arguments:
        name: lower-case letters and digits; the feature `codec-NAME` of the hello says who knows it.
    """

    name: str

    def encode(self, raw: memoryview) -> bytes | None:
        """Return what crosses the wire in place of `raw`; None if that is `raw` itself."""

    def decode(self, encoded: memoryview, size: int) -> bytes:
        """Return the `size` bytes that were encoded.

        Arguments:
            encoded: from a peer that may have put anything there.
            size: what it must come to; nothing longer is ever held.

        Raises:
            ValueError: it comes to anything else.
        """


class IdentityCodec:
    """Leaves everything as it is. Every release knows it."""

    name = "identity"

    def encode(self, raw: memoryview) -> bytes | None:
        """Return None: what crosses the wire is `raw`."""
        return None

    def decode(self, encoded: memoryview, size: int) -> bytes:
        """Refuse: nothing is ever encoded with this codec."""
        raise ValueError("the stream's frames are not encoded")


IDENTITY = IdentityCodec()
KNOWN: tuple[Codec, ...] = (IDENTITY,)


def features(codecs: Sequence[Codec]) -> list[str]:
    """Return what the hello says of these codecs; nothing of the one that every release knows."""
    return [CODEC + codec.name for codec in codecs if codec.name != IDENTITY.name]


def common(codecs: Sequence[Codec], agreed: Collection[str]) -> dict[str, Codec]:
    """Return the codecs that both sides know, by name.

    Arguments:
        codecs: that this side knows.
        agreed: the features that both sides have.
    """
    return {codec.name: codec for codec in (IDENTITY, *codecs) if codec is IDENTITY or CODEC + codec.name in agreed}
