"""Find vmferry's own secrets where they do not belong.

They are recognised by their form, removed from records and logs, and refused as names: a person may paste a token where
a name is expected, a program may put one into a URL. Nothing that is written may contain one.
"""

import logging
import re
from urllib.parse import unquote

from vmferry.core.text import printable

# An API token has an identifier that may be shown (identity/tokens.py), a pairing token has none (identity/pairing.py).
# Half a secret, cut by a copy or by the end of a field, is one too.
_API_TOKEN = re.compile(r"(vmft1-[0-9a-f]{8})-[A-Za-z0-9_-]{8,}", re.IGNORECASE)
_PAIRING_TOKEN = re.compile(r"vmf1-[A-Za-z0-9_-]{8,}={0,2}", re.IGNORECASE)
_LONGEST = 16_000  # characters of a line of log
_TURNS = 3  # that something may be percent-encoded


def redacted(text: str) -> str:
    """Return a text without anything that looks like one of our secrets."""
    return _PAIRING_TOKEN.sub("vmf1-...", _API_TOKEN.sub(r"\1-...", text))


def redacted_path(path: str) -> str:
    """Return a URL's path without anything that looks like one of our secrets, percent-encoded or not."""
    return redacted(path) if not is_secret(path) else redacted(_decoded(path))


def is_secret(text: str) -> bool:
    """Return whether a text contains something that looks like one of our secrets."""
    plain = _decoded(text)
    return redacted(plain) != plain


def not_secret(text: str) -> str:
    """Refuse a name that looks like one of our secrets: names are stored and shown.

    Raises:
        ValueError: it looks like a secret.
    """
    if is_secret(text):
        raise ValueError("it has a token in it, which is a secret and no name")
    return text


def token_identifier(text: str) -> str:
    """Return the identifier of a whole API token; other text unchanged."""
    found = _API_TOKEN.fullmatch(text.strip())
    return found[1].removeprefix("vmft1-").lower() if found else text


def _decoded(text: str) -> str:
    for _ in range(_TURNS):
        plain = unquote(text)
        if plain == text:
            break
        text = plain
    return text


class Formatter(logging.Formatter):
    """Format like another formatter, with messages of one line each and without secrets."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record; a traceback has its own lines."""
        copy = logging.makeLogRecord(record.__dict__)
        copy.msg, copy.args = printable(record.getMessage(), _LONGEST), ()
        return redacted(self._inner.format(copy))


def install() -> None:
    """Send all later log messages of this process through `Formatter`."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(Formatter(handler.formatter or logging.Formatter()))
