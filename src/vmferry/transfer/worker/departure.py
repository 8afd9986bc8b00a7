"""The source after the verdict: the VM is the destination's, and what is left of it here goes.

Nothing here fails: what cannot be done now is done later, and what libvirt or a file system refuses for good is said.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

from vmferry.core import codes
from vmferry.core.errors import UnreachableError, VmferryError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.job import Phase
from vmferry.core.messages.api import Outcome
from vmferry.core.messages.offer import Offer
from vmferry.core.messages.vm import Presence
from vmferry.core.move.messages import Defined, Go, Stuck, Went
from vmferry.jobs.persist import Persistence, overtaken, pauses, why
from vmferry.transfer.worker.arrival import Ledger, lost

_TICK = 0.5
_ANSWER_LIMIT = 10.0
_ASK_AGAIN = 0.5
_TRIES = 5  # of what libvirt refuses, or a file system
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
        next_event: Callable[[float], tuple[str, Any]],
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
        self._persistence = Persistence(ledger.doubt, sleep)
        self._barred = False
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
        if not noted:
            self._persistence.take("the journal cannot be written", lambda: self._ledger.journal(Phase.GOING))
        if not said:
            self._end_here()
            said = self._ledger.say(go)
        problem = self._hear(said=said)
        self._end_here()
        vm = self._offer.vm
        self._persistence.take(f"{vm} can be started here, and that cannot be barred yet", self._bar)
        if problem is not None:
            if problem.code is not codes.VM_LOST_AT_SWITCH:
                self.left.append(
                    f"the definition and the disks of {vm}: {self._peer} ended its job otherwise, so "
                    f"see there where the VM is before you start or remove anything"
                )
                return problem
            problem = lost(self._offer, self._peer)  # in this host's words
            self.lost = True
        self.left += self._persistence.take(
            f"the definition of {vm} cannot be looked at yet", lambda: tell(self.started)
        )
        self._persistence.take("the journal cannot be written", lambda: self._ledger.journal(Phase.SETTLING))
        if self._forget():
            self._lock.lift()
            self.left += tell_last(self._taken, self.started)
            self.left += remove()
        return problem

    def _end_here(self) -> None:
        """Wait until this host's copy is off; libvirt ends it, unless it was killed on the way there."""
        vm, peer = self._offer.vm, self._peer
        doubted = False
        for pause in pauses():
            try:
                presence = self._domains.presence(self._offer.uuid)
                if presence in (Presence.OFF, Presence.ABSENT):
                    return
                if presence is Presence.PAUSED:
                    self._domains.destroy(self.vm)
                if presence in (Presence.RUNNING, Presence.CRASHED) and not doubted:
                    # Nothing of ours lets it run again: a person did. Killing what they run is theirs to decide.
                    self._ledger.doubt(f"{vm} was handed to {peer} and yet runs here; stop one of the two")
                    doubted = True
                self._sleep(_LOOK_AGAIN)
            except UnreachableError as error:
                self._ledger.doubt(f"{vm} is {peer}'s; what is left of it here waits for libvirt: {why(error)}")
                self._sleep(pause)
            except VmferryError as error:
                if overtaken(error):
                    raise
                self._sleep(_LOOK_AGAIN)  # libvirt ended it at the same moment

    def _hear(self, *, said: bool) -> VmferryError | None:
        """See to it that the destination has `go`; returns why the VM does not run there, if it does not."""
        limit = time.monotonic() + _ANSWER_LIMIT
        while said and time.monotonic() < limit:
            kind, value = self._next_event(_TICK)
            if kind == "broken":
                break
            if kind == "tick":
                self._try_to_bar()
            match value if kind == "message" else None:
                case Went():
                    self.went_at = time.monotonic()
                case Defined():
                    return None
                case Stuck():
                    return VmferryError.from_problem(value.problem)
        return self._insist()

    def _insist(self) -> VmferryError | None:
        """Tell the destination's daemon until its job has ended: whatever else is wrong, the VM may wait there."""
        while True:
            try:
                outcome = self._ask()
            except VmferryError as error:
                self._ledger.doubt(f"{self._peer} has to be told that {self._offer.vm} is its own: {why(error)}")
            else:
                if outcome.ended:
                    return VmferryError.from_problem(outcome.problem) if outcome.problem else None
                if outcome.reason:
                    self._ledger.doubt(f"{self._offer.vm} is {self._peer}'s, which says: {outcome.reason}")
            self._try_to_bar()
            self._sleep(_ASK_AGAIN)

    def _bar(self) -> None:
        """See that nothing starts the VM here: the lock bars it where libvirt has the hook, no autostart elsewhere."""
        if not self._barred:
            self._lock.hold()
            if self._domains.starts_with_host(self.vm):
                self._ledger.journal(Phase.GOING, started=True)
                self.started = True
                self._domains.autostart(self.vm, on=False)
            self._barred = True

    def _try_to_bar(self) -> None:
        """Do so while the destination is waited for: this host may be started anew any time."""
        try:
            self._bar()
        except VmferryError:
            pass  # taken up again

    def _forget(self) -> bool:
        """Take the definition away; returns whether it is gone, so that its disks may go too."""
        vm = self._offer.vm
        refusals = 0
        for pause in pauses():
            try:
                self._taken = self._domains.forget(self.vm)
            except VmferryError as error:
                refusals += not isinstance(error, UnreachableError)
                self._ledger.doubt(
                    f"{vm} runs on {self._peer}, and its definition here cannot be removed: {why(error)}"
                )
                if refusals == _TRIES:
                    command = f"virsh undefine {vm} --snapshots-metadata --checkpoints-metadata --keep-nvram"
                    self.left.append(
                        f"the definition of {vm} and its disks: {why(error)}. It is {self._peer}'s, so do not start it "
                        f"here; remove it: {command}"
                    )
                    return False
            else:
                return True
            self._sleep(pause)
        raise AssertionError("the pauses have no end")
