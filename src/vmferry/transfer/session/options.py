"""What one end of a session can do beyond the least, as the hello offers it to the other."""

from dataclasses import dataclass

from vmferry.transfer.transport import codec, hello
from vmferry.transfer.transport.codec import Codec


@dataclass(frozen=True, slots=True)
class Options:
    """What this end offers; only what the peer offers too is used.

    Arguments:
        codecs: that streams may use.
    """

    codecs: tuple[Codec, ...] = codec.KNOWN

    @property
    def features(self) -> list[str]:
        """What the hello says."""
        return [*hello.FEATURES, *codec.features(self.codecs)]
