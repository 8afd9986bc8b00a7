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
from vmferry.core.move import actions as do
from vmferry.core.move.destination import DestinationState, step
from vmferry.core.move.events import ActionDone, Event, VmSeen
from vmferry.core.move.messages import Went, WorkerMessage
from vmferry.core.move.phases import Verdict
from vmferry.jobs.decision import COMMIT_LIMIT
from vmferry.transfer.worker.carrying import carry_out

_LOOK_AGAIN = 1.0
_AT_WORK = 0.05


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
        self._gone = False

    def take(self, *, noted: bool, ran: bool | None, suspended: bool = False) -> VmferryError | None:
        """Let the VM run and define it. May be called again after it was cut off at any point.

        core/move/destination.py says what is done next.

        Arguments:
            noted: whether the journal has `going` already.
            ran: whether the VM ran here, from `settling` in the journal; None: that is not there.
            suspended: whether a person had suspended the VM, which stays so.

        Returns:
            vm-lost-at-switch, or None: it ran here.

        Raises:
            UsageError: job-ended; somebody else ended the job.
            InternalError: phase-refused; the journal has to be read again.
        """
        phase = Phase.SETTLING if ran is not None else Phase.GOING if noted else Phase.FINISHING
        state = DestinationState(
            phase=phase,
            verdict=Verdict.GO,
            persistent=self._offer.persistent,
            own=self._vm is not None,
            lost=lost(self._offer, self._host),
            suspended=suspended,
            ran=ran,
            awake=True,
            went=ran is not None,
        )
        event: Event | None = None
        while True:
            state, (action,) = step(state, event)
            if isinstance(action, do.EndJob):
                return action.error
            event = carry_out(action, self._perform, self._waiting, self._ledger.doubt, self._sleep)

    def _perform(self, action: do.Action) -> Event:
        match action:
            case do.Journal(phase=Phase.SETTLING):
                self._ledger.journal(Phase.SETTLING, ran=action.ran)
            case do.Journal(quick=True):
                self._ledger.journal(action.phase, wait=COMMIT_LIMIT, suspended=action.suspended)
            case do.Journal():
                self._ledger.journal(action.phase, suspended=action.suspended)
            case do.LookAtVm():
                return self._look(action)
            case do.Resume():
                assert self._vm is not None
                self._domains.resume(self._vm)
            case do.SayWent():
                self._ledger.say(Went())
            case do.CheckDisks():
                for plan in self._disks:
                    Path(plan.path).stat()
            case do.DefineVm():
                self._domains.define(self._xml, autostart=self._offer.autostart)
        return ActionDone(action)

    def _look(self, look: do.LookAtVm) -> VmSeen:
        assert self._vm is not None
        if look.concern:
            self._ledger.doubt(f"libvirt is still at work on {self._offer.vm} here, which cannot be resumed yet")
        if look.again:
            self._sleep(_LOOK_AGAIN if self._gone else _AT_WORK)
        presence = self._domains.presence(self._vm.uuid, self._vm.name)
        self._gone = presence in (Presence.OFF, Presence.ABSENT)
        return VmSeen(presence)

    def _waiting(self, action: do.Action, _error: Exception) -> str:
        """Return what waits while an action cannot be carried out."""
        own = f"{self._offer.vm} is {self._host}'s and cannot be"
        match action:
            case do.LookAtVm() | do.Resume():
                return f"{own} resumed yet"
            case do.DefineVm():
                return f"{own} defined yet"
            case do.CheckDisks():
                return f"{self._offer.vm} ended here at its switch"
            case do.Journal(quick=False):
                return "the journal cannot be written"
        return ""  # the source has it on record: a later life asks it again, and its word does not change


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
