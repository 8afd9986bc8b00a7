"""The source after the verdict: the VM is the destination's, and what is left of it here goes.

Nothing here fails: what cannot be done now is done later, and what libvirt or a file system refuses for good is said.
"""

import time
from collections.abc import Callable
from typing import Protocol

from vmferry.core import codes
from vmferry.core.errors import InternalError, VmferryError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.job import Phase
from vmferry.core.messages.api import Outcome
from vmferry.core.messages.offer import Offer
from vmferry.core.messages.vm import Presence
from vmferry.core.move import actions as do
from vmferry.core.move.events import (
    ActionDone,
    ActionNotNow,
    Answered,
    EndHeard,
    Event,
    LinkBroken,
    MessageHeard,
    Starts,
    TimePassed,
    VmSeen,
    WentHeard,
    WorkerEvent,
)
from vmferry.core.move.messages import Defined, Go, Stuck, Went
from vmferry.core.move.phases import Verdict
from vmferry.core.move.source import step
from vmferry.core.move.source_state import SourceState
from vmferry.jobs.persist import why
from vmferry.transfer.worker.arrival import Ledger, lost
from vmferry.transfer.worker.carrying import carry_out

_TICK = 0.5
_ASK_AGAIN = 0.5
_LOOK_AGAIN = 0.02


class Remains(Protocol):
    """What is done here to the VM that has gone (hypervisor/domains.py)."""

    def presence(self, uuid: str) -> Presence:
        """Return how it stands."""

    def destroy(self, vm: VmIdentity) -> None:
        """End it."""

    def starts_with_host(self, vm: VmIdentity) -> bool:
        """Return whether it is started with the host."""

    def autostart(self, vm: VmIdentity, *, on: bool) -> None:
        """Set whether it is started with the host."""

    def forget(self, vm: VmIdentity) -> tuple[str, bool] | None:
        """Take its definition away; returns it, and its autostart."""


class Lock(Protocol):
    """Keeps the VM from being started here (jobs/startlock.py)."""

    def hold(self) -> None:
        """Put it into force."""

    def lift(self) -> None:
        """Take it away."""


class Departure:
    """Hands a VM over and takes it away here.

    Arguments:
        ledger: the job's record.
        domains: the VMs of this host.
        lock: of the VM.
        offer: of the move.
        peer: the destination's name.
        next_event: waits so many seconds for an event of the session.
        ask: tells the destination's daemon that the VM is its own, and returns what became of that.
        sleep: waits for so many seconds.

    `vm` is what identifies it here, with its id as soon as that is known. `started` is whether it was started with the
    host, before that was taken away here; an earlier worker may have done so.
    """

    def __init__(
        self,
        ledger: Ledger,
        domains: Remains,
        lock: Lock,
        offer: Offer,
        peer: str,
        next_event: Callable[[float], WorkerEvent],
        ask: Callable[[], Outcome],
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._ledger = ledger
        self._domains = domains
        self._lock = lock
        self._offer = offer
        self._peer = peer
        self._next_event = next_event
        self._ask = ask
        self._sleep = sleep
        self._asked = self._ended = False
        self._refusal = ""
        self._taken: tuple[str, bool] | None = None
        self.started = False
        self.vm = VmIdentity(offer.uuid, offer.vm)
        self.went_at: float | None = None
        self.left: list[str] = []
        self.lost = False

    def take(
        self,
        *,
        noted: bool,
        said: bool,
        go: Go,
        tell: Callable[[bool], list[str]],
        tell_last: Callable[[tuple[str, bool] | None, bool], list[str]],
        remove: Callable[[], list[str]],
    ) -> VmferryError | None:
        """See that the VM runs there, then take it away here. May be called again after it was cut off at any point.

        Arguments:
            noted: whether the journal has `going` already.
            said: whether `go` was sent over the session.
            go: the message that says it.
            tell: tells the destination of a definition that was changed meanwhile, given `started`; returns what it did
                not take.
            tell_last: does so once more with the definition that was taken away here, or with None: somebody had done
                that.
            remove: removes the VM's files that are nobody else's; returns what stays, with the reasons.

        Returns:
            vm-lost-at-switch, or why else the destination ended its job; None: the VM ran there.

        Raises:
            UsageError: job-ended; somebody else ended the job.
        """
        state = SourceState(
            phase=Phase.GOING if noted else Phase.COMMITTING,
            verdict=Verdict.GO,
            suspended=go.suspended,
            started=self.started,
            said=True if said else None,
        )
        self._tell, self._tell_last, self._remove = tell, tell_last, remove
        event: Event | None = None
        while True:
            state, asked = step(state, event)
            self.started, self._ended, self.lost = state.started, state.ended, state.lost is not None
            if not asked:
                event = self._wait()
            elif isinstance(asked[0], do.RemoveProofs):
                return self._outcome(state)
            else:
                event = carry_out(asked[0], self._perform, self._waiting, self._ledger.doubt, self._sleep)

    def _outcome(self, state: SourceState) -> VmferryError | None:
        """Return why the VM does not run there, if it does not, and note what stays here."""
        if state.lost is not None and state.lost.code is not codes.VM_LOST_AT_SWITCH:
            self.left.append(
                f"the definition and the disks of {self._offer.vm}: {self._peer} ended its job otherwise, so "
                f"see there where the VM is before you start or remove anything"
            )
            return state.lost
        if state.gone is False:
            command = f"virsh undefine {self._offer.vm} --snapshots-metadata --checkpoints-metadata --keep-nvram"
            self.left.append(
                f"the definition of {self._offer.vm} and its disks: {self._refusal}. It is {self._peer}'s, so do not "
                f"start it here; remove it: {command}"
            )
        return lost(self._offer, self._peer) if state.lost is not None else None  # in this host's words

    def _wait(self) -> Event | None:
        """Wait for what the destination says; None: it was nothing that matters here."""
        match self._next_event(_TICK):
            case LinkBroken() | TimePassed() as event:
                return event
            case MessageHeard(Went()):
                self.went_at = time.monotonic()
                return WentHeard()
            case MessageHeard(Defined()):
                return EndHeard(None)
            case MessageHeard(Stuck(problem=problem)):
                return EndHeard(VmferryError.from_problem(problem))
        return None

    def _perform(self, action: do.Action) -> Event:  # noqa: C901 (one line an action)
        match action:
            case do.Journal(started=True):
                self._ledger.journal(action.phase, started=True)
            case do.Journal(phase=Phase.GOING):
                self._ledger.journal(action.phase, suspended=action.suspended)
            case do.Journal():
                self._ledger.journal(action.phase)
            case do.SayGo():
                if not self._ledger.say(Go(suspended=action.suspended)):
                    return ActionNotNow(action, InternalError(codes.INTERNAL, why="the session has ended"))
            case do.TellDaemonGo():
                return self._ask_daemon()
            case do.LookAtVm():
                return self._look(action)
            case do.Destroy():
                self._domains.destroy(self.vm)
            case do.KeepFromStarting():
                self._lock.hold()
                return Starts(self._domains.starts_with_host(self.vm))
            case do.EndAutostart():
                self._domains.autostart(self.vm, on=False)
            case do.TellDefinition():
                self.left += self._tell(action.started)
            case do.Forget():
                self._forget()
            case do.LiftLock():
                self._lock.lift()
            case do.RemoveDisks():
                self.left += self._tell_last(self._taken, action.started)  # on record whatever comes of the rest
                self.left += self._remove()
        return ActionDone(action)

    def _look(self, look: do.LookAtVm) -> VmSeen:
        if look.concern:
            self._ledger.doubt(f"{self._offer.vm} was handed to {self._peer} and yet runs here; stop one of the two")
        if look.again:
            self._sleep(_LOOK_AGAIN)
        return VmSeen(self._domains.presence(self._offer.uuid))

    def _forget(self) -> None:
        try:
            self._taken = self._domains.forget(self.vm)
        except VmferryError as error:
            self._refusal = why(error)
            raise

    def _ask_daemon(self) -> Answered:
        """Tell the destination's daemon: whatever else is wrong, the VM may wait there."""
        if self._asked:
            self._sleep(_ASK_AGAIN)
        self._asked = True
        outcome = self._ask()
        if not outcome.ended and outcome.reason:
            self._ledger.doubt(f"{self._offer.vm} is {self._peer}'s, which says: {outcome.reason}")
        problem = VmferryError.from_problem(outcome.problem) if outcome.problem else None
        return Answered(outcome.ended, problem, outcome.reason or "")

    def _waiting(self, action: do.Action, _error: Exception) -> str:
        """Return what waits while an action cannot be carried out; empty: nothing has to be said of it."""
        vm, peer = self._offer.vm, self._peer
        match action:
            case do.Journal(started=None):
                return "the journal cannot be written"
            case do.LookAtVm():
                return f"{vm} is {peer}'s; what is left of it here waits for libvirt"
            case do.TellDaemonGo():
                return f"{peer} has to be told that {vm} is its own"
            case do.Journal() | do.KeepFromStarting() | do.EndAutostart() if self._ended:
                return f"{vm} can be started here, and that cannot be barred yet"
            case do.TellDefinition():
                return f"the definition of {vm} cannot be looked at yet"
            case do.Forget():
                return f"{vm} runs on {peer}, and its definition here cannot be removed"
            case do.LiftLock() | do.RemoveDisks():
                return f"what is left of {vm} here cannot be removed yet"
        return ""
