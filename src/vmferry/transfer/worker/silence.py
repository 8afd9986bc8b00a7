"""How long the destination waits for a source that sends nothing: its place is wanted by others."""

import time
from collections.abc import Callable


class Silence:
    """Measures for how long nothing has come.

    Arguments:
        limit: seconds that are too long.
        clock: gives seconds that only go forward.
    """

    def __init__(self, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._seen = -1
        self._since = clock()

    def too_long(self, arrived: int) -> bool:
        """Return whether nothing has come for too long.

        Arguments:
            arrived: bytes of streams and messages that have come so far; signs of life do not count.
        """
        if arrived != self._seen:
            self._seen, self._since = arrived, self._clock()
        return self._clock() - self._since > self._limit
