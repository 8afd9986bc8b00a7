"""Carries out what the reducer of an end asks for (core/move/), and turns whatever comes of it into an event."""

import logging
from collections.abc import Callable
from itertools import islice

from vmferry.core import codes
from vmferry.core.errors import InternalError, VmferryError
from vmferry.core.move import actions as do
from vmferry.core.move.events import ActionNotNow, Event
from vmferry.jobs.persist import overtaken, pauses, why

log = logging.getLogger("vmferry.transfer")

_SLOWEST = 12  # tries, after which the pauses grow no more


def carry_out(
    action: do.Action,
    perform: Callable[[do.Action], Event],
    waiting: Callable[[do.Action, Exception], str],
    doubt: Callable[[str], None],
    sleep: Callable[[float], object],
) -> Event:
    """Carry an action out; return the event that it comes to, of whatever kind an error is.

    Arguments:
        perform: carries one out that is not taken again.
        waiting: returns what waits while one fails so, e.g. "web01 cannot be resumed yet"; empty: nothing does.
        doubt: puts on record what is waited for.
        sleep: waits for so many seconds.

    Raises:
        UsageError: job-ended; somebody else ended the job.
        InternalError: phase-refused; the journal has to be read again.
    """
    if isinstance(action, do.Again):
        sleep(next(islice(pauses(), min(action.tries, _SLOWEST) - 1, None)))
        action = action.action
    try:
        return perform(action)
    except Exception as error:
        if overtaken(error):
            raise
        if not isinstance(error, (VmferryError, OSError)):
            log.exception("%s failed", type(action).__name__)
        if what := waiting(action, error):
            doubt(f"{what}: {why(error)}")
        known = error if isinstance(error, VmferryError) else InternalError(codes.INTERNAL, why=why(error))
        return ActionNotNow(action, known)
