"""Make texts from elsewhere safe to show on a terminal and to write into a log."""

import math
import re
from typing import Any

LONGEST = 4000  # characters of one sentence
_DEEPEST = 20  # levels of a JSON value; nothing that we say has more than a few
_MOST = 10_000  # values in it
_COMMAND_LINE = re.compile(r"(?:\b[A-Z][A-Z0-9_]*=\S*\s+(?:\\\s+)?){2}|/\S*qemu-system-\S+\s+-")


def printable(text: str, longest: int = LONGEST) -> str:
    """Return a text as one line, without anything that could mislead a terminal or a reader.

    Control characters (ESC and line breaks among them), bidirectional overrides, invisible and unassigned characters
    and
    lone surrogates become `?`; a long text is cut.

    Arguments:
        longest: characters that are kept.
    """
    if len(text) > longest:
        text = text[: longest - 3] + "..."
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else "?" for one in text)


def shortened(text: str, longest: int = 300) -> str:
    """Return the message of a program as one short line: its beginning and end, without environments and command lines.

    libvirt quotes QEMU's whole command line and log in some of its errors: kilobytes that a reader does not need and
    that
    no other host should see.

    Arguments:
        longest: characters that are kept.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    whole = " ".join(lines)
    quoted = _COMMAND_LINE.search(whole)
    if quoted:
        end = lines[-1] if len(lines) > 1 and not _COMMAND_LINE.search(lines[-1]) else whole.rpartition(") ")[2]
        kept = "" if _COMMAND_LINE.search(end) else end
        whole = f"{whole[: quoted.start()].rstrip(' (')} ... {kept}".rstrip()
    if len(whole) <= longest:
        return whole
    half = longest // 2 - 3
    return f"{whole[:half].rstrip()} ... {whole[-half:].lstrip()}"


def cleaned(value: Any) -> Any:
    """Return a JSON value with all texts in it printable; what is nested too deeply or is too large is left out."""
    return _Cleaner().clean(value, _DEEPEST)


class _Cleaner:
    def __init__(self) -> None:
        self._left = _MOST

    def clean(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if depth == 0 or self._left < 0:
            return None
        match value:
            case str():
                return printable(value)
            case list():
                return [self.clean(one, depth - 1) for one in value[:_MOST]]
            case dict():
                parts = list(value.items())[:_MOST]
                return {printable(str(name)): self.clean(one, depth - 1) for name, one in parts}
            case float() if not math.isfinite(value):
                return None  # no JSON could be made of it again
            case _:
                return value
