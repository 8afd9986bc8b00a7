"""What one end of a move does next: the actions that its reducer asks for.

An `Urgent` action is carried out at once, by whoever brought the event: the guest may stand still meanwhile. `Work` is
for the worker's main thread. Both are answered by an event (events.py); a step of the journal must succeed before what
follows it.
"""

from dataclasses import dataclass

from vmferry.core.errors import VmferryError
from vmferry.core.job import Phase, State


@dataclass(frozen=True, slots=True)
class Urgent:
    """Carried out at once, by whoever brought the event."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Carried out at once as well, and never answered."""


@dataclass(frozen=True, slots=True)
class Work:
    """Carried out by the worker's main thread."""


# --- the journal ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Journal(Urgent):
    """Write a step down, durably.

    Arguments:
        quick: the guest may stand still: it is given up when the database does not let for 1.5 s.
        suspended: whether a person has suspended the VM; None: that is not said.
        why: why the move goes or is given up.
        started: whether the VM was started with its host; None: that is not said.
        ran: whether the VM has run at the destination; None: that is not said.
    """

    phase: Phase
    quick: bool = False
    suspended: bool | None = None
    why: str = ""
    started: bool | None = None
    ran: bool | None = None


@dataclass(frozen=True, slots=True)
class Again(Work):
    """Put on record why an action cannot be taken now, wait, and take it again.

    Arguments:
        tries: how often it was tried; the pause grows with it.
        reason: what is waited for; empty: nothing is put on record.
    """

    action: "Action"
    tries: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EndJob(Work):
    """Record the end of the job."""

    state: State
    error: VmferryError | None = None


# --- words for the other end -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SayGo(Urgent):
    """Hand the VM over."""

    suspended: bool


@dataclass(frozen=True, slots=True)
class SayAbort(Work):
    """Tell the destination that the move is given up."""

    error: VmferryError


@dataclass(frozen=True, slots=True)
class SayWent(Work):
    """Tell the source that the VM runs."""


@dataclass(frozen=True, slots=True)
class SayEnded(Work):
    """Tell the source how the job ended here: the VM is defined, or why it is not there."""

    error: VmferryError | None


@dataclass(frozen=True, slots=True)
class SayFailed(Work):
    """Tell the source why the move is given up here."""

    error: VmferryError


@dataclass(frozen=True, slots=True)
class SayBye(Work):
    """Tell the destination that nothing more comes."""


@dataclass(frozen=True, slots=True)
class TellDaemonGo(Work):
    """Tell the destination's daemon that the VM is its own, and ask what became of that."""

    suspended: bool


@dataclass(frozen=True, slots=True)
class TellDaemonAbort(Work):
    """Tell the destination's daemon that the move is given up; it asks itself if that does not reach it."""

    error: VmferryError


@dataclass(frozen=True, slots=True)
class AskVerdict(Work):
    """Ask the source's daemon for its verdict."""


# --- the source: until the verdict -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConnectPeer(Work):
    """Connect to the destination's worker."""


@dataclass(frozen=True, slots=True)
class CopyFiles(Work):
    """Copy the disks that nobody writes."""


@dataclass(frozen=True, slots=True)
class Migrate(Work):
    """Let libvirt copy; it goes on beside everything else."""


@dataclass(frozen=True, slots=True)
class Mark(Urgent):
    """Mark, until the host's next start, whether libvirt was given the reply that ends the VM here."""

    replied: bool


@dataclass(frozen=True, slots=True)
class HoldLock(Urgent):
    """See that the VM cannot be started here."""


@dataclass(frozen=True, slots=True)
class PassReply(Urgent):
    """Let libvirt have the reply that ends the VM here."""


@dataclass(frozen=True, slots=True)
class DropReply(Notice):
    """Cut libvirt off in its place: the VM runs on."""


@dataclass(frozen=True, slots=True)
class RefuseCancel(Notice):
    """Tell who cancels that it is too late."""


@dataclass(frozen=True, slots=True)
class FindOut(Work):
    """Hold the lock, wait until libvirt is no more at work on the VM, and look what became of it.

    Arguments:
        again: it was not to be told a moment ago.
    """

    again: bool = False


# --- the source: after the verdict -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LookAtVm(Work):
    """Look how the VM stands.

    Arguments:
        settle: wait first until libvirt is no more at work on it.
        again: it was looked at a moment ago.
        concern: put on record first that it does not stand as it should by now.
    """

    settle: bool = False
    again: bool = False
    concern: bool = False


@dataclass(frozen=True, slots=True)
class Resume(Work):
    """Let the VM run."""


@dataclass(frozen=True, slots=True)
class Suspend(Work):
    """Suspend the VM again, as a person had done."""


@dataclass(frozen=True, slots=True)
class Destroy(Work):
    """End what is left of the VM here."""


@dataclass(frozen=True, slots=True)
class StopMigration(Work):
    """Ask whether a person suspended the VM, and have libvirt give the migration up."""


@dataclass(frozen=True, slots=True)
class Disconnect(Work):
    """Close the session, and wait until libvirt's call is over."""


@dataclass(frozen=True, slots=True)
class LiftLock(Work):
    """Let the VM be started here again."""


@dataclass(frozen=True, slots=True)
class KeepFromStarting(Work):
    """Hold the lock while the VM is the destination's, and find out whether it starts with its host."""


@dataclass(frozen=True, slots=True)
class EndAutostart(Work):
    """See that the VM does not start with its host."""


@dataclass(frozen=True, slots=True)
class TellDefinition(Work):
    """Tell the destination of a definition that was changed while the VM was copied."""

    started: bool


@dataclass(frozen=True, slots=True)
class Forget(Work):
    """Take the VM's definition away."""


@dataclass(frozen=True, slots=True)
class RemoveDisks(Work):
    """Tell of a definition that was changed at the last moment, and remove the files that are the VM's alone."""

    started: bool


@dataclass(frozen=True, slots=True)
class RemoveProofs(Work):
    """Remove the files that proved what storage both hosts see."""


# --- the destination -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MakeDisks(Work):
    """Make the disks, and listen."""


@dataclass(frozen=True, slots=True)
class Accept(Work):
    """Wait for the source's worker."""


@dataclass(frozen=True, slots=True)
class StopWaiting(Notice):
    """Wake the main thread, which waits for the source's worker."""


@dataclass(frozen=True, slots=True)
class Receive(Work):
    """Let libvirt's calls and the disks in; that goes on beside everything else."""


@dataclass(frozen=True, slots=True)
class EndVigil(Work):
    """Let the copy be resumed: nobody suspends it again."""


@dataclass(frozen=True, slots=True)
class CheckDisks(Work):
    """See that the disks are there, before anybody is told that they are whole."""


@dataclass(frozen=True, slots=True)
class DefineVm(Work):
    """Define the VM."""


@dataclass(frozen=True, slots=True)
class RemoveCopy(Work):
    """End the copy, which is paused or not complete."""


@dataclass(frozen=True, slots=True)
class RemoveFiles(Work):
    """Remove the files that were made here."""


@dataclass(frozen=True, slots=True)
class Linger(Work):
    """Stay until the source has heard the end."""


@dataclass(frozen=True, slots=True)
class RefuseStep(Notice):
    """Refuse a step of libvirt's: the move was given up."""


@dataclass(frozen=True, slots=True)
class RefuseForce(Notice):
    """Tell the administrator that only the source can tell now whose the VM is."""


Action = Urgent | Notice | Work


def inner(action: Action | None) -> Action | None:
    """Return what an action comes down to: one that is taken again, or itself."""
    return action.action if isinstance(action, Again) else action
