"""Read secrets from the terminal or from a file, never from an argument."""

import sys
from pathlib import Path

import click

from vmferry.cli.terminal.pem import unreadable
from vmferry.core.errors import VmferryError

LIMIT = 1024  # characters


def read_secret(prompt: str, file: str | None, no_terminal: VmferryError) -> str:
    """Read a secret.

    Arguments:
        prompt: the question on the terminal.
        file: the file to read instead of asking; - is standard input.
        no_terminal: the error to raise if there is no terminal to ask on.
    """
    if file is None:
        if not sys.stdin.isatty():
            raise no_terminal
        text = str(click.prompt(prompt, hide_input=True, err=True))
    elif file == "-":
        text = sys.stdin.read(LIMIT + 1)
    else:
        try:
            text = Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.FileError(file, unreadable(error)) from error
    return text.strip()
