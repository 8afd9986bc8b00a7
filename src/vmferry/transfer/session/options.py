"""What one end of a session can do beyond the least, as the hello offers it to the other."""

from dataclasses import dataclass

from vmferry.transfer.transport import codec, frames, hello
from vmferry.transfer.transport.codec import Codec


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What this end offers; only what the peer offers too is used.

    Arguments:
        codecs: that streams may use.
        patience: seconds that the session may be without connections; 0: it breaks at once.
    """

    codecs: tuple[Codec, ...] = codec.KNOWN
    patience: float = 0.0

    @property
    def features(self) -> list[str]:
        """What the hello says."""
        return [*hello.FEATURES, *codec.features(self.codecs), *([frames.RESUME] if self.patience else [])]
