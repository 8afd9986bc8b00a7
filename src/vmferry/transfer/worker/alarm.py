"""The time at which a move is given up by itself."""

import threading
import time
from collections.abc import Callable


def at(deadline: float | None, ring: Callable[[], None]) -> threading.Timer:
    """Return an alarm that is set; cancel it when it is not needed any more.

    Arguments:
        deadline: Unix time; None: it never rings.
        ring: is called then, in a thread of its own.
    """
    alarm = threading.Timer(threading.TIMEOUT_MAX if deadline is None else max(0.0, deadline - time.time()), ring)
    alarm.daemon = True
    if deadline is not None:
        alarm.start()
    return alarm
