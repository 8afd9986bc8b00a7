"""Texts of others, made so that they can be shown on a terminal and written into a log."""

from typing import Any

LONGEST = 4000  # characters of one sentence
_DEEPEST = 20  # levels of a JSON value; nothing that we say has more than a few
_MOST = 10_000  # values in it


def printable(text: str, longest: int = LONGEST) -> str:
    """Return a text as one line without anything that a terminal or a reader could take for something else.

    Control characters (ESC and line breaks among them), bidirectional overrides, invisible and unassigned characters
    and lone surrogates become `?`; the end is cut off.

    Arguments:
        longest: characters that are kept.
    """
    if len(text) > longest:
        text = text[: longest - 3] + "..."
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else "?" for one in text)


def cleaned(value: Any) -> Any:
    """Return a JSON value with all texts in it printable; what is too deep or too much is left out."""
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
            case _:
                return value
