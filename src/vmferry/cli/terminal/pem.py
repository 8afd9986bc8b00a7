"""Read PEM files that are arguments of a command."""

import sys
from pathlib import Path

import click

from vmferry.core import codes
from vmferry.core.errors import UsageError


def unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Return the reason why a file cannot be read."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not a text file"


def read_pem(file: str) -> str:
    """Read a file of certificates; - is standard input.

    Raises:
        UsageError: it contains a private key, which must not be sent anywhere (PRIVATE_KEY).
        click.FileError: it cannot be read.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise click.FileError(file, unreadable(error)) from error
    if "PRIVATE KEY" in text:
        raise UsageError(codes.PRIVATE_KEY, path=file)
    return text
