"""Colours in output: set by `--color`, then by NO_COLOR (no-color.org) and FORCE_COLOR, then on a terminal.

The option sets the environment variables, because rich reads them too: all output follows one rule.
"""

import os
from typing import TextIO


def choose(word: str) -> None:
    """Apply `--color`.

    Arguments:
        word: auto, always or never.
    """
    if word == "auto":
        return
    os.environ.pop("NO_COLOR", None)
    os.environ.pop("FORCE_COLOR", None)
    os.environ["FORCE_COLOR" if word == "always" else "NO_COLOR"] = "1"


def coloured(stream: TextIO) -> bool:
    """Return whether output to a stream has colours."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")
