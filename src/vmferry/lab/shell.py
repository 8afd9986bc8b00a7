"""Run programs of the system for the lab, and report their output if they fail."""

import subprocess
from collections.abc import Sequence

from vmferry.core import codes
from vmferry.core.errors import InternalError


def run(*command: str, quiet: bool = False) -> str:
    """Run a command and return its output.

    Arguments:
        quiet: whether to ignore a failure.

    Raises:
        InternalError: lab-command-failed, with the output.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and not quiet:
        raise failed(command, done.stderr or done.stdout)
    return done.stdout


def failed(command: Sequence[str], said: str) -> InternalError:
    """Return the error of a command that failed."""
    return InternalError(codes.LAB_COMMAND, command=" ".join(command), why=said.strip() or "it said nothing")


def inside(namespace: str, *command: str, quiet: bool = False) -> str:
    """Run a command in a network namespace, like `run`."""
    return run("ip", "netns", "exec", namespace, *command, quiet=quiet)
