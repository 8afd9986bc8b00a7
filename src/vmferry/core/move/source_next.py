"""What the source of a move does next: the first thing that the facts in its state lack (source.py)."""

from vmferry.core import codes
from vmferry.core.errors import CancelledError, InternalError, VmferryError
from vmferry.core.job import Phase, State
from vmferry.core.messages.vm import Presence
from vmferry.core.move import actions as do
from vmferry.core.move.phases import Verdict
from vmferry.core.move.source_state import SourceState

_AT_WORK = 400  # looks at a VM that libvirt is at work on, before that is put on record


def next_action(state: SourceState) -> do.Action | None:
    """Return what is to be done next; None: nothing, until something happens."""
    if state.verdict is Verdict.OPEN:
        return _toward_commit(state)
    if state.verdict is Verdict.COMMITTING:
        return _commit(state)
    return _hand_over(state) if state.verdict is Verdict.GO else _undo(state)


def _toward_commit(state: SourceState) -> do.Action | None:
    if state.error is not None:
        return do.Journal(Phase.UNDOING, quick=True, why=state.error.reason)
    if state.finish_called:
        if not state.marked:
            return do.Mark(replied=False)
        return do.Journal(Phase.COMMITTING, quick=True, suspended=state.suspended)
    if state.phase in (Phase.OFFERED, Phase.ADMITTED):
        return do.Journal(Phase.CONNECTING)
    if not state.connected:
        return do.ConnectPeer()
    if state.files and state.phase is Phase.CONNECTING:
        return do.Journal(Phase.COPYING_FILES)
    if state.files and not state.copied:
        return do.CopyFiles()
    if state.phase is not Phase.COPYING or state.noted != state.suspended:
        return do.Journal(Phase.COPYING, suspended=state.suspended)
    if not state.migrating:
        return do.Migrate()
    return None


def _commit(state: SourceState) -> do.Action | None:
    if state.found is not None:
        verdict, why = state.found
        phase = Phase.GOING if verdict is Verdict.GO else Phase.UNDOING
        return do.Journal(phase, suspended=state.suspended, why=why)
    if state.read:
        return do.Journal(Phase.GOING, suspended=state.suspended)
    if state.error is not None:
        return do.FindOut(again=state.looks > 0)
    if not state.locked:
        return do.HoldLock()
    if state.reply and not state.passed:
        return do.PassReply() if state.replied else do.Mark(replied=True)
    return None


def _hand_over(state: SourceState) -> do.Action | None:
    if state.phase not in (Phase.GOING, Phase.SETTLING):
        return do.Journal(Phase.GOING, suspended=state.suspended)
    if state.said is None:
        return do.SayGo(suspended=state.suspended) if state.read or state.off else _end_here(state)
    if not state.ended:
        return _wait(state)
    if not state.off:
        return _end_here(state)
    if not state.barred:
        return _bar(state)
    if state.lost is None or state.lost.code is codes.VM_LOST_AT_SWITCH:
        return _take_away(state)
    return _finish(state, State.FAILED, state.lost)


def _wait(state: SourceState) -> do.Action | None:
    """Return what is lacking while the destination is waited for: this host may be started anew any time."""
    if state.may_bar and not state.barred:
        return _bar(state)
    if not state.said or state.insisting:
        return do.TellDaemonGo(suspended=state.suspended)
    return None


def _end_here(state: SourceState) -> do.Action:
    """Return what is lacking for this host's copy to be off; libvirt ends it, unless it was killed on the way there."""
    if state.seen is Presence.PAUSED:
        return do.Destroy()
    # Nothing of ours lets it run again: a person did. Killing what they run is theirs to decide.
    return do.LookAtVm(again=state.seen is not None, concern=state.looks == 1)


def _bar(state: SourceState) -> do.Action:
    """Return what is lacking for nothing to start the VM here: the lock bars libvirt's hook, no autostart all else."""
    if state.starts is None:
        return do.KeepFromStarting()
    return do.EndAutostart() if state.started else do.Journal(Phase.GOING, started=True)


def _take_away(state: SourceState) -> do.Action:
    if not state.defined and not state.settled:
        return do.TellDefinition(started=state.started)
    if state.phase is not Phase.SETTLING:
        return do.Journal(Phase.SETTLING)
    if state.gone is None:
        return do.Forget()
    if state.gone and not state.unlocked:
        return do.LiftLock()
    if state.gone and not state.removed:
        return do.RemoveDisks(started=state.started)
    return _finish(state, State.FAILED if state.lost else State.DONE, state.lost)


def _finish(state: SourceState, how: State, error: VmferryError | None) -> do.Action:
    if not state.proofs:
        return do.RemoveProofs()
    return do.EndJob(how, error) if state.bye else do.SayBye()


def _undo(state: SourceState) -> do.Action | None:
    error = state.error or InternalError(codes.INTERNAL, why="nothing says why the move is given up")
    if state.migrating and not state.stopped:
        return do.StopMigration()
    if state.unsure and state.phase is not Phase.UNDOING:
        return do.Journal(Phase.UNDOING, why=error.reason)
    if state.told is None:
        return do.SayAbort(error)
    if not state.closed:
        return do.Disconnect()
    if state.stands is None:
        return _keep_running(state)
    if not state.unlocked:
        return do.LiftLock()
    if not state.told and not state.reached:
        return do.TellDaemonAbort(error)
    if not state.proofs:
        return do.RemoveProofs()
    return do.EndJob(State.CANCELLED if isinstance(error, CancelledError) else State.FAILED, error)


def _keep_running(state: SourceState) -> do.Action:
    """Return what is lacking for the VM to run on here, or to stay as a person wanted it: no other copy will."""
    if state.suspended and state.seen is Presence.RUNNING:
        return do.Suspend()
    if not state.suspended and state.seen is Presence.PAUSED:
        return do.Resume()
    again = state.looks + state.resumes > 0
    return do.LookAtVm(settle=state.suspended, again=again, concern=state.looks == _AT_WORK)
