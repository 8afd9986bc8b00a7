"""What happens to one end of a move: the events that its reducer takes."""

from dataclasses import dataclass

from vmferry.core.errors import VmferryError
from vmferry.core.messages.vm import Ending, Presence
from vmferry.core.move.actions import Action
from vmferry.core.move.messages import FromDestination, FromSource

# --- answers to actions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ActionDone:
    """An action was carried out."""

    action: Action


@dataclass(frozen=True, slots=True)
class ActionNotNow:
    """An action could not be carried out; it may have been, all the same."""

    action: Action
    error: VmferryError

    @property
    def reason(self) -> str:
        """Part of a sentence."""
        return self.error.reason.rstrip(".")


@dataclass(frozen=True, slots=True)
class VmSeen:
    """How the VM stands; answers `LookAtVm`."""

    presence: Presence


@dataclass(frozen=True, slots=True)
class CommitFound:
    """What can be told of a VM whose commit broke; answers `FindOut`.

    Arguments:
        ending: how it ended, by libvirt's events where the worker has them, else by its reason.
        told: whether its events told that.
        resumed: whether it was let run since it stood still for the switch; None: that is not known.
        replied: whether libvirt was given the reply; None: nothing tells.
        waited: libvirt's events have had time to come.
    """

    presence: Presence
    ending: Ending = Ending.UNKNOWN
    told: bool = False
    resumed: bool | None = None
    replied: bool | None = None
    waited: bool = True


@dataclass(frozen=True, slots=True)
class Answered:
    """What the destination's daemon says to `TellDaemonGo`.

    Arguments:
        ended: whether its job has ended.
        error: why it failed, if it did.
        reason: what it waits for; empty: it does not say.
    """

    ended: bool
    error: VmferryError | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The migration is being given up; answers `StopMigration`."""

    suspended: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of `Resume` or `Suspend` after a move was given up: False: a person's own wish was left as it is."""

    done: bool


@dataclass(frozen=True, slots=True)
class Starts:
    """Whether the VM starts with its host; answers `KeepFromStarting`."""

    on: bool


# --- what people and clocks do ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody cancels the move.

    Arguments:
        force: an administrator of the destination ends it, whatever the source says.
    """

    error: VmferryError
    force: bool = False


@dataclass(frozen=True, slots=True)
class DeadlineCame:
    """The move's deadline has come."""

    error: VmferryError


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Nothing has happened for as long as it was waited for."""


# --- what goes wrong -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SomethingFailed:
    """Something has failed that the move needs."""

    error: VmferryError


@dataclass(frozen=True, slots=True)
class LinkBroken:
    """The session has ended."""

    error: VmferryError


# --- the commit ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FinishCalled:
    """libvirt has called Finish: at the source its own, at the destination the source's.

    Arguments:
        suspended: whether a person has suspended the VM, as far as the source has seen.
    """

    suspended: bool = False


@dataclass(frozen=True, slots=True)
class ReplyCame:
    """A reply to Finish that ends the VM here has come.

    Arguments:
        genuine: the destination's worker says that its libvirt has sent it.
    """

    genuine: bool


@dataclass(frozen=True, slots=True)
class ReplyRead:
    """libvirt has read the reply; or why that could not be seen."""

    unread: VmferryError | None = None
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class SuspensionSeen:
    """A person has suspended the VM, or let it run again, while it is copied."""

    suspended: bool


# --- words of the other end ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GoHeard:
    """The VM is the destination's, says the source or an administrator."""

    suspended: bool = False


@dataclass(frozen=True, slots=True)
class AbortHeard:
    """The move is given up, says the source or an administrator.

    Arguments:
        cancelled: somebody cancelled it.
    """

    error: VmferryError
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Undecided:
    """The source's journal has no verdict yet."""


@dataclass(frozen=True, slots=True)
class WentHeard:
    """The VM runs at the destination."""


@dataclass(frozen=True, slots=True)
class EndHeard:
    """The destination's job has ended; with an error: the VM is not there."""

    error: VmferryError | None


# --- what a worker's main thread waits for ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MessageHeard:
    """A message of the other end's worker has come, or the same word by way of the daemons."""

    message: FromSource | FromDestination


@dataclass(frozen=True, slots=True)
class Handed:
    """The verdict `go` has been written down and sent, while the main thread waited."""


WorkerEvent = TimePassed | LinkBroken | SomethingFailed | MessageHeard | Handed

Event = (
    ActionDone
    | ActionNotNow
    | VmSeen
    | CommitFound
    | Answered
    | Stopped
    | Changed
    | Starts
    | CancelAsked
    | DeadlineCame
    | TimePassed
    | SomethingFailed
    | LinkBroken
    | FinishCalled
    | ReplyCame
    | ReplyRead
    | SuspensionSeen
    | GoHeard
    | AbortHeard
    | Undecided
    | WentHeard
    | EndHeard
)
