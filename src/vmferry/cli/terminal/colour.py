"""Whether output has colours: `--color`, else NO_COLOR (no-color.org) and FORCE_COLOR, else whether it is a terminal.

The option is turned into the environment variables, which rich reads by itself: so all output follows one rule.
"""

import os
from typing import TextIO


def choose(word: str) -> None:
    """Follow `--color`.

    Arguments:
        word: auto, always or never.
    """
    if word == "auto":
        return
    os.environ.pop("NO_COLOR", None)
    os.environ.pop("FORCE_COLOR", None)
    os.environ["FORCE_COLOR" if word == "always" else "NO_COLOR"] = "1"


def coloured(stream: TextIO) -> bool:
    """Return whether what is written to a stream has colours."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")
