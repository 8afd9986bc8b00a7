"""The destination after the verdict: the VM is this host's, and is made so until it is.

Nothing here fails: what cannot be done now is done later. The one other end is that the VM itself has ended.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from vmferry.core import codes
from vmferry.core.errors import VmferryError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.job import Phase
from vmferry.core.messages.offer import ArtifactPlan, Offer
from vmferry.core.messages.vm import Presence
from vmferry.core.move.messages import Went, WorkerMessage
from vmferry.jobs.decision import COMMIT_LIMIT
from vmferry.jobs.persist import Persistence, overtaken, pauses, why

_LOOK_AGAIN = 1.0
_AT_WORK = 0.05
_PATIENCE = 40  # looks at a VM that libvirt is at work on, before that is said


class Ledger(Protocol):
    """What is put on record of a job, and said to the other end (transfer/worker/endpoint.py)."""

    def journal(self, phase: Phase, wait: float = ..., **detail: Any) -> None:
        """Write a step down."""

    def doubt(self, reason: str) -> None:
        """Put on record what is waited for."""

    def say(self, message: WorkerMessage) -> bool:
        """Send the other end's worker a message."""


class Copies(Protocol):
    """What is done here to the VM on this host (hypervisor/domains.py)."""

    def presence(self, uuid: str, name: str | None = None) -> Presence:
        """Return how it stands."""

    def resume(self, vm: VmIdentity) -> None:
        """Let it run."""

    def define(self, xml: str, *, autostart: bool) -> None:
        """Define it."""


class Arrival:
    """Makes a VM this host's own: lets it run, then defines it.

    Arguments:
        ledger: the job's record.
        domains: the VMs of this host.
        vm: what identifies the copy; None: the job made none, so that nothing here may be let run.
        offer: of the move.
        host: this host's name.
        xml: the VM's definition.
        disks: what was copied to this host.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        domains: Copies,
        vm: VmIdentity | None,
        offer: Offer,
        host: str,
        xml: str,
        disks: list[ArtifactPlan],
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._ledger = ledger
        self._domains = domains
        self._vm = vm
        self._offer = offer
        self._host = host
        self._xml = xml
        self._disks = disks
        self._sleep = sleep
        self._persistence = Persistence(ledger.doubt, sleep)
        self.resumed_at: float | None = None

    def take(self, *, noted: bool, ran: bool | None, suspended: bool = False) -> VmferryError | None:
        """Let the VM run and define it. May be called again after it was cut off at any point.

        Arguments:
            noted: whether the journal has `going` already.
            ran: whether the VM ran here, from `settling` in the journal; None: that is not there.
            suspended: whether a person had suspended the VM, which stays so.

        Returns:
            vm-lost-at-switch, or None: it ran here.

        Raises:
            UsageError: job-ended; somebody else ended the job.
        """
        if ran is None:
            going = {"suspended": suspended}
            noted = noted or self._note(going)
            ran = self._let_run(suspended=suspended)
            if ran:
                self.resumed_at = time.monotonic()
                self._ledger.say(Went())
            if not noted:
                self._write(Phase.GOING, **going)
            self._write(Phase.SETTLING, ran=ran)
        if self._offer.persistent:
            if not ran:
                self._persistence.take(f"{self._offer.vm} ended here at its switch", self._see_disks)
            self._persistence.take(f"{self._offer.vm} is {self._host}'s and cannot be defined yet", self._define)
        return None if ran else lost(self._offer, self._host)

    def _note(self, going: dict[str, Any]) -> bool:
        """Journal the verdict, unless that takes longer than a guest that stands still should wait."""
        try:
            self._ledger.journal(Phase.GOING, wait=COMMIT_LIMIT, **going)
        except VmferryError as error:
            if overtaken(error):
                raise
            return False  # the source has it on record: a later life asks it again, and its word does not change
        return True

    def _write(self, phase: Phase, **detail: Any) -> None:
        self._persistence.take("the journal cannot be written", lambda: self._ledger.journal(phase, **detail))

    def _let_run(self, *, suspended: bool) -> bool:
        """Return whether the VM runs (or stays suspended, as a person wanted it); False: it has ended."""
        vm = self._vm
        if vm is None:
            return False
        gone = busy = 0
        for pause in pauses():
            try:
                presence = self._domains.presence(vm.uuid, vm.name)
                if presence is Presence.PAUSED and not suspended:
                    self._domains.resume(vm)
                    return True
                if presence in (Presence.RUNNING, Presence.CRASHED, Presence.PAUSED):
                    return True
                gone = gone + 1 if presence in (Presence.OFF, Presence.ABSENT) else 0
                busy += presence is Presence.BUSY
                if gone > 1:
                    return False
                if busy == _PATIENCE:
                    self._ledger.doubt(
                        f"libvirt is still at work on {self._offer.vm} here, which cannot be resumed yet"
                    )
            except VmferryError as error:
                if overtaken(error):
                    raise
                gone = 0
                self._doubt(error)
                self._sleep(pause)
            else:
                self._sleep(_LOOK_AGAIN if gone else _AT_WORK)
        raise AssertionError("the pauses have no end")

    def _doubt(self, error: VmferryError) -> None:
        self._ledger.doubt(f"{self._offer.vm} is {self._host}'s and cannot be resumed yet: {why(error)}")

    def _see_disks(self) -> None:
        """See that the copies are there, before anybody is told that they are whole."""
        for plan in self._disks:
            Path(plan.path).stat()

    def _define(self) -> None:
        self._domains.define(self._xml, autostart=self._offer.autostart)


def lost(offer: Offer, host: str) -> VmferryError:
    """Return the error of a VM that ended at its switch.

    Its memory was the destination's alone by then. Its disks there are whole: QEMU completes and flushes the mirrors
    before libvirt hands the VM over, and if the VM did run there for a moment, only they have what it wrote.

    Arguments:
        offer: of the move.
        host: the destination's name.
    """
    advice = f"start it with `virsh start {offer.vm}` on {host}"
    if not offer.persistent:
        advice = "it had no definition, so create it again with them"
    return VmferryError(codes.VM_LOST_AT_SWITCH, vm=offer.vm, host=host, source=offer.source, advice=advice)
