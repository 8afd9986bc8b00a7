"""Whether a move goes or is given up: decided once, on the source, journaled before it takes effect.

    OPEN --abort--> ABORT
    OPEN --commit--> COMMITTING --decide(go)--> GO
                     COMMITTING --decide(abort)--> ABORT

While OPEN, anyone may abort. In COMMITTING the source's libvirt may have had the reply that ends its copy, so only
its state can tell (docs/design.md, The commit). GO and ABORT never change.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from vmferry.core.errors import VmferryError
from vmferry.core.job import Phase
from vmferry.core.move.messages import Abort, Go
from vmferry.core.move.phases import Verdict
from vmferry.core.resolution import Owner
from vmferry.store.jobs import JournalStep

COMMIT_LIMIT = 1.5  # seconds for a step of the journal while the guest may stand still

log = logging.getLogger("vmferry.transfer")


def suspended(steps: Sequence[JournalStep]) -> bool:
    """Return whether a person had suspended the VM, which stays so, by the source's journal or the destination's."""
    noted = [step.detail["suspended"] for step in steps if "suspended" in step.detail]
    return bool(noted and noted[-1] is True)


def resolved(steps: Sequence[JournalStep]) -> Go | Abort | None:
    """Return the verdict that an administrator gave at the destination, as the source's word would be; None: none."""
    noted = [step.detail for step in steps if step.phase is Phase.RESOLVING]
    if not noted:
        return None
    if noted[-1]["owner"] == Owner.HERE:
        return Go()
    return Abort(cancelled_by=str(noted[-1]["caller"]))


class Decision:
    """The decision of one job, for the threads of its source worker.

    Arguments:
        journal: writes a phase durably, with details, before it returns.
        verdict: what an earlier life of this worker had reached.
    """

    def __init__(self, journal: Callable[..., None], verdict: Verdict = Verdict.OPEN) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._verdict = verdict

    @property
    def verdict(self) -> Verdict:
        """Where it stands."""
        return self._verdict

    def note(self, phase: Phase, **detail: Any) -> bool:
        """Journal a step that is taken before the commit; False when the move was given up: none is taken then."""
        with self._lock:
            if self._verdict is Verdict.OPEN:
                self._journal(phase, **detail)
            return self._verdict is Verdict.OPEN

    def commit(self, **detail: Any) -> bool:
        """Go from OPEN to COMMITTING; False when it was given up before.

        Arguments:
            detail: what goes into the journal with it.

        Raises:
            InternalError: database-failed; the guest stands still, so that nobody waits for the journal for long.
        """
        with self._lock:
            if self._verdict is Verdict.OPEN:
                self._journal(Phase.COMMITTING, wait=COMMIT_LIMIT, **detail)
                self._verdict = Verdict.COMMITTING
            return self._verdict is not Verdict.ABORT

    def abort(self, why: str) -> bool:
        """Give it up while OPEN; True when it is given up, now or before.

        It holds also when it cannot be journaled: a later life that finds no commit gives the move up by itself.
        """
        with self._lock:
            if self._verdict is Verdict.OPEN:
                self._verdict = Verdict.ABORT
                try:
                    self._journal(Phase.UNDOING, wait=COMMIT_LIMIT, why=why)
                except VmferryError as error:
                    log.warning("the move is given up, and that is not in the journal yet: %s", error.reason)
            return self._verdict is Verdict.ABORT

    def read(self, **detail: Any) -> None:
        """Note that libvirt read the reply and so cannot run its copy again: GO.

        Journaled first: a later life that finds COMMITTING alone knows that `go` was never sent.
        """
        with self._lock:
            if self._verdict is Verdict.COMMITTING:
                self._journal(Phase.GOING, **detail)
                self._verdict = Verdict.GO

    def decide(self, verdict: Verdict, why: str, **detail: Any) -> None:
        """Settle a COMMITTING decision from what libvirt showed; journaled before it is known to anybody."""
        with self._lock:
            if self._verdict is Verdict.COMMITTING:
                self._journal(Phase.GOING if verdict is Verdict.GO else Phase.UNDOING, why=why, **detail)
                self._verdict = verdict
