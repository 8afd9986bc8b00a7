"""What a commit that broke came to, by what can be seen of the VM on its source."""

from vmferry.core.messages.vm import Ending, Presence
from vmferry.core.move.events import CommitFound
from vmferry.core.move.phases import Verdict

_GONE = (Presence.OFF, Presence.ABSENT)


def judge(found: CommitFound) -> tuple[Verdict, str] | None:
    """Return what a broken commit came to, and why; None: it is to be looked at again.

    Nothing is concluded while libvirt is still at work: a VM that stands still may be resumed or ended any moment.
    """
    if found.presence in (Presence.RUNNING, Presence.CRASHED):
        return Verdict.ABORT, "libvirt runs the VM here"
    if found.presence is Presence.PAUSED:
        # `go` is journaled before it is sent, so it never was: the copy here is complete, and free to run.
        return Verdict.ABORT, "libvirt left the VM paused here; it goes on here"
    return _judge_ended(found) if found.presence in _GONE else None


def _judge_ended(found: CommitFound) -> tuple[Verdict, str] | None:
    """Tell a VM that was handed over from one that ran on here, because the reply was lost, and then ended.

    Of the latter the destination's copy is out of date: its disks here have what it wrote since.
    """
    if found.resumed is not None and not found.told and not found.waited:
        return None  # libvirt's events are on their way
    if found.ending is Ending.MIGRATED:
        return Verdict.GO, "libvirt handed the VM over"
    if found.resumed or found.ending is Ending.HERE:
        return Verdict.ABORT, "the VM ended here, and was not handed over"
    if found.resumed is False:
        return Verdict.GO, "the VM ended while it stood still for the switch; only its copy has its memory"
    if found.replied is None:
        return Verdict.GO, "this host was started anew at the switch; only the VM's copy has its memory"
    if found.replied:
        return Verdict.GO, "libvirt had the reply that hands the VM over"
    return Verdict.ABORT, "libvirt had no reply, so that the VM ran on here until it ended"
