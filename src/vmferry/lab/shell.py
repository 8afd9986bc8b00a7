"""Runs the system's programs for the lab, and reports what they say when they fail."""

import subprocess
from collections.abc import Sequence

from vmferry.core import codes
from vmferry.core.errors import InternalError


def run(*command: str, quiet: bool = False) -> str:
    """Run a command and give what it prints.

    Arguments:
        quiet: a failure is no error.

    Raises:
        InternalError: lab-command-failed, with what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and not quiet:
        raise failed(command, done.stderr or done.stdout)
    return done.stdout


def failed(command: Sequence[str], said: str) -> InternalError:
    """Make the error of a command that failed."""
    return InternalError(codes.LAB_COMMAND, command=" ".join(command), why=said.strip() or "it said nothing")


def inside(namespace: str, *command: str, quiet: bool = False) -> str:
    """Run a command in a network namespace; as `run` else."""
    return run("ip", "netns", "exec", namespace, *command, quiet=quiet)
