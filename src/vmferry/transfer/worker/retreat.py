"""The source after a move was given up: the VM is its own, and runs on."""

import time
from collections.abc import Callable
from typing import Protocol

from vmferry.core import codes
from vmferry.core.errors import VmferryError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.job import Phase
from vmferry.core.messages.vm import Presence
from vmferry.core.move import actions as do
from vmferry.core.move.events import ActionDone, Changed, Event, VmSeen
from vmferry.core.move.phases import Verdict
from vmferry.core.move.source import step
from vmferry.core.move.source_state import SourceState
from vmferry.transfer.worker.carrying import carry_out

_LOOK_AGAIN = 0.05
_WORDS = {
    Presence.RUNNING: "runs",
    Presence.PAUSED: "is paused",
    Presence.BUSY: "stays",
    Presence.CRASHED: "has crashed, and stays",
    Presence.OFF: "is shut off",
    Presence.ABSENT: "has ended",
}


class Own(Protocol):
    """What is done to the VM here (hypervisor/domains.py)."""

    def presence(self, uuid: str) -> Presence:
        """Return how it stands."""

    def settle(self, uuid: str) -> None:
        """Wait until libvirt is no more at work on it."""

    def resume_after(self, vm: VmIdentity) -> bool:
        """Let it run; False: a person suspended it."""

    def suspend_after(self, vm: VmIdentity) -> bool:
        """Suspend it again; False: somebody let it run."""


def keep_running(
    domains: Own,
    own: VmIdentity,
    doubt: Callable[[str], None],
    sleep: Callable[[float], object] = time.sleep,
    *,
    suspended: bool = False,
) -> Presence:
    """Let the VM run on when libvirt left it paused: the verdict is abort, so no other copy ever will.

    What a person suspended stays so, or is suspended again: libvirt resumes it as it ends the migration.

    Arguments:
        domains: the VMs of this host.
        own: what identifies it; one that was started anew meanwhile is left as it is.
        doubt: puts on record what is waited for.
        sleep: waits for so many seconds.
        suspended: whether a person suspended the VM before the migration or during it.

    core/move/source_next.py says what is done next.

    Returns:
        How it stands; that is found out, however long libvirt is away.

    Raises:
        UsageError: job-ended; somebody else ended the job.
    """
    vm = own.name

    def perform(action: do.Action) -> Event:
        match action:
            case do.Resume():
                return Changed(domains.resume_after(own))
            case do.Suspend():
                return Changed(domains.suspend_after(own))
            case do.LookAtVm(settle=settle, again=again, concern=concern):
                if concern:
                    doubt(f"the move of {vm} is given up, and libvirt is still at work on it here")
                if again:
                    sleep(_LOOK_AGAIN)
                if settle:
                    domains.settle(own.uuid)
                return VmSeen(domains.presence(own.uuid))
        return ActionDone(action)

    def waiting(_action: do.Action, error: Exception) -> str:
        if isinstance(error, VmferryError) and error.code is codes.NOT_THIS_VM:
            return ""
        return f"the move of {vm} is given up; whether it runs on here is not known yet"

    state = SourceState(phase=Phase.UNDOING, verdict=Verdict.ABORT, suspended=suspended, told=True, closed=True)
    event: Event | None = None
    while True:
        state, (action,) = step(state, event)
        if state.stands is not None:
            return state.stands
        event = carry_out(action, perform, waiting, doubt, sleep)


def standing(error: VmferryError, presence: Presence) -> VmferryError:
    """Return an error of a move that was given up with what is known by now of the VM on its source."""
    if "{stands}" not in error.code.remedy:
        return error
    return type(error)(error.code, **{**error.fields, "stands": _WORDS[presence]})
