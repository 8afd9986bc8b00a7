"""Our own secrets where they do not belong: known by their form, taken out of records and logs, refused as names.

A person pastes a token where a name is asked for; a program puts one into a URL. What is written down must not have it.
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
    """Return a text without what looks like our secrets."""
    return _PAIRING_TOKEN.sub("vmf1-...", _API_TOKEN.sub(r"\1-...", text))


def redacted_path(path: str) -> str:
    """Return a URL's path without what looks like our secrets, percent-encoded or not."""
    return redacted(path) if not is_secret(path) else redacted(_decoded(path))


def is_secret(text: str) -> bool:
    """Return whether a text has something in it that looks like one of our secrets."""
    plain = _decoded(text)
    return redacted(plain) != plain


def not_secret(text: str) -> str:
    """Refuse a name that is one of our secrets in the wrong place: names are kept and shown.

    Raises:
        ValueError: it looks like one.
    """
    if is_secret(text):
        raise ValueError("it has a token in it, which is a secret and no name")
    return text


def token_identifier(text: str) -> str:
    """Return the identifier of a whole API token; any other text as it is."""
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
    """Formats as another formatter does, with messages of one line each and without secrets."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record; a traceback has lines of its own."""
        copy = logging.makeLogRecord(record.__dict__)
        copy.msg, copy.args = printable(record.getMessage(), _LONGEST), ()
        return redacted(self._inner.format(copy))


def install() -> None:
    """Have all that this process logs from now on go through `Formatter`."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(Formatter(handler.formatter or logging.Formatter()))
