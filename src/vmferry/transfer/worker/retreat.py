"""The source after a move was given up: the VM is its own, and runs on."""

import time
from collections.abc import Callable
from typing import Protocol

from vmferry.core import codes
from vmferry.core.errors import VmferryError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.messages.vm import Presence
from vmferry.jobs.persist import overtaken, pauses, why

_AT_WORK = 400  # looks at a VM that libvirt is at work on, before that is said
_LOOK_AGAIN = 0.05
_RESUMES = 3  # of a VM that stops again by itself, e.g. because its disk is full
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

    Returns:
        How it stands; that is found out, however long libvirt is away.

    Raises:
        UsageError: job-ended; somebody else ended the job.
    """
    vm, resumed, at_work = own.name, 0, 0
    for pause in pauses():
        try:
            if suspended:
                domains.settle(own.uuid)
            presence = domains.presence(own.uuid)
            if suspended and presence is Presence.RUNNING:
                return Presence.PAUSED if domains.suspend_after(own) else presence
            if presence is Presence.PAUSED and not suspended and resumed < _RESUMES:
                if not domains.resume_after(own):
                    return presence
                resumed += 1
            elif presence is not Presence.BUSY:
                return presence
            else:
                at_work += 1
                if at_work == _AT_WORK:
                    doubt(f"the move of {vm} is given up, and libvirt is still at work on it here")
            sleep(_LOOK_AGAIN)
        except VmferryError as error:
            if overtaken(error):
                raise
            if error.code is codes.NOT_THIS_VM:
                return Presence.PAUSED
            doubt(f"the move of {vm} is given up; whether it runs on here is not known yet: {why(error)}")
            sleep(pause)
    raise AssertionError("the pauses have no end")


def standing(error: VmferryError, presence: Presence) -> VmferryError:
    """Return an error of a move that was given up with what is known by now of the VM on its source."""
    if "{stands}" not in error.code.remedy:
        return error
    return type(error)(error.code, **{**error.fields, "stands": _WORDS[presence]})
