"""Steps that have to be taken: tried again until they succeed, with the reason on record meanwhile.

After the verdict "not now" is never "never": libvirt may be away, the database locked, a folder read-only.
"""

import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

from vmferry.core import codes
from vmferry.core.errors import VmferryError
from vmferry.core.text import shortened

T = TypeVar("T")

log = logging.getLogger("vmferry.transfer")

_FIRST = 0.1
_LONGEST = 3.0
_TRIES = 6


def pauses() -> Iterator[float]:
    """Return pauses between tries, in seconds: short ones at first, some seconds later on."""
    pause = _FIRST
    while True:
        yield pause
        pause = min(_LONGEST, pause * 1.5)


def why(error: BaseException) -> str:
    """Return the reason that an exception of any kind gives, in one sentence without a full stop."""
    if isinstance(error, VmferryError):
        if error.code is codes.MOVE_FAILED:  # whoever is told says itself that the move failed
            return str(error.fields["why"]).rstrip(".")
        return error.reason.rstrip(".")
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, subprocess.CalledProcessError):
        said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else error.stderr
        command = error.cmd if isinstance(error.cmd, str) else error.cmd[0]
        return shortened(f"{command} failed: {said or error.returncode}").rstrip(".")
    return shortened(f"{type(error).__name__}: {error}".rstrip(": ."))


def ended(error: BaseException) -> bool:
    """Return whether a step failed because the job has been ended by somebody else: there is nothing left to do."""
    return isinstance(error, VmferryError) and error.code in (codes.JOB_ENDED, codes.JOB_UNKNOWN)


def overtaken(error: BaseException) -> bool:
    """Return whether a step must not be tried again: the job has ended, or its journal is further than was believed.

    In the second case the worker reads the journal anew.
    """
    return ended(error) or (isinstance(error, VmferryError) and error.code is codes.PHASE_REFUSED)


class Persistence:
    """Takes steps that must not be given up.

    Arguments:
        doubt: puts on record what is waited for; may raise when the job has been ended by somebody else.
        sleep: waits for so many seconds.
    """

    def __init__(self, doubt: Callable[[str], None], sleep: Callable[[float], object] = time.sleep) -> None:
        self._doubt = doubt
        self._sleep = sleep

    def take(self, what: str, step: Callable[[], T]) -> T:
        """Take a step that can be taken more than once; returns what it returns, however long it takes.

        Arguments:
            what: what waits while it fails, e.g. "web01 cannot be resumed yet".

        Raises:
            UsageError: job-ended; somebody else ended the job meanwhile.
            InternalError: phase-refused; the journal has to be read again.
        """
        for pause in pauses():
            try:
                return step()
            except Exception as error:
                if overtaken(error):
                    raise
                if not isinstance(error, (VmferryError, OSError)):
                    log.exception("%s", what)
                self._doubt(f"{what}: {why(error)}")
            self._sleep(pause)
        raise AssertionError("the pauses have no end")


def tried(remove: Callable[[], list[str]], sleep: Callable[[float], object] = time.sleep) -> list[str]:
    """Remove files of a job's, with some tries; returns what stays, each with the reason.

    Arguments:
        remove: removes what is there, and returns what it could not remove.
        sleep: waits for so many seconds.
    """
    left: list[str] = []
    for pause in islice(pauses(), _TRIES):
        left = remove()
        if not left:
            break
        sleep(pause)
    return left
