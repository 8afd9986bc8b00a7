"""Whether a host's network is free for a measurement: it would slow moves down, and be wrong beside one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from vmferry.core import codes
from vmferry.core.errors import PreflightError
from vmferry.core.job import State
from vmferry.store.jobs import Jobs


@dataclass(frozen=True, slots=True)
class MeasurementLock:
    """A host, as far as it takes part in moves and in measurements.

    Arguments:
        host: its name.
    """

    host: str
    jobs: Jobs
    measuring: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> bool:
        """Tell whether no move runs here now; one that waits does nothing yet."""
        return all(row.state is State.WAITING for row in self.jobs.active())

    def take(self, source: str, destination: str) -> None:
        """Keep the network for one measurement, until `give`.

        Raises:
            PreflightError: bandwidth-unmeasured.
        """
        why = None if self() else f"{self.host} takes part in a move now"
        if why is None and not self.measuring.acquire(blocking=False):
            why = f"{self.host} takes part in another measurement now"
        if why is not None:
            raise PreflightError(codes.BANDWIDTH_UNMEASURED, source=source, host=destination, why=why)

    def give(self) -> None:
        """Let others measure."""
        self.measuring.release()

    @contextmanager
    def kept(self, source: str, destination: str) -> Iterator[None]:
        """Keep the network for the length of a `with` block; arguments and errors as for `take`."""
        self.take(source, destination)
        try:
            yield
        finally:
            self.give()
