"""What the destination of a move does next, as a pure function of what has happened to it.

The state holds facts; `_next` names the first thing that they lack (see source.py). The destination never guesses: once
libvirt's Finish was called here only the source can tell whose the VM is, and it is asked until it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vmferry.core import codes
from vmferry.core.errors import CancelledError, InternalError, VmferryError
from vmferry.core.job import Phase, Role, State
from vmferry.core.messages.vm import Presence
from vmferry.core.move import actions as do
from vmferry.core.move import events as on
from vmferry.core.move import phases
from vmferry.core.move.phases import Verdict

_PATIENCE = 40  # looks at a VM that libvirt is at work on, before that is put on record
_RUNS = (Presence.RUNNING, Presence.CRASHED)
_GONE = (Presence.OFF, Presence.ABSENT)


@dataclass(frozen=True, slots=True)
class DestinationState:
    """What the destination knows.

    Arguments:
        phase: the last step on record.
        persistent: whether the VM gets a definition here.
        own: whether this job has made a copy here, which it may let run.
        lost: the error of a VM that ended at its switch.
        error: why the move is given up, or what makes the source's word doubtful.
        suspended: whether a person had suspended the VM, which stays so.
        writing, doing: the urgent action and the work under way.
        tries: how often the work was tried.
        asking: the source's verdict has to be asked for.
        hurried: it was tried to write `going` down before the VM runs.
        ran: whether the VM runs here; False: it has ended; None: not known.
        gone, busy: how often it was seen gone, and at work.
    """

    phase: Phase = Phase.OFFERED
    verdict: Verdict = Verdict.OPEN
    persistent: bool = True
    own: bool = True
    lost: VmferryError | None = None
    error: VmferryError | None = None
    suspended: bool = False
    writing: do.Action | None = None
    doing: do.Action | None = None
    tries: int = 0
    made: bool = False
    connected: bool = False
    receiving: bool = False
    asking: bool = False
    awake: bool = False
    hurried: bool = False
    seen: Presence | None = None
    ran: bool | None = None
    gone: int = 0
    busy: int = 0
    went: bool = False
    checked: bool = False
    defined: bool = False
    ended: bool = False
    said: bool = False
    closed: bool = False
    copy_removed: bool = False
    files_removed: bool = False
    over: bool = False

    @property
    def may_go_on(self) -> bool:
        """Whether a step may be taken beside which the move is not given up."""
        return self.verdict in (Verdict.OPEN, Verdict.COMMITTING) and self.error is None


def begin(*, lost: VmferryError, persistent: bool = True) -> DestinationState:
    """Return the state of a move that begins."""
    return DestinationState(persistent=persistent, lost=lost)


def recover(
    told: Sequence[Phase],
    died: VmferryError,
    *,
    lost: VmferryError,
    persistent: bool = True,
    own: bool = True,
    suspended: bool = False,
    ran: bool | None = None,
) -> DestinationState:
    """Return the state of a worker that goes on from the journal; core/move/phases.py says how.

    Arguments:
        told: the phases of the journal.
        died: that an earlier worker died.
        own: whether the journal has a copy that the job made.
        suspended: whether a person had suspended the VM, by the journal.
        ran: whether the VM ran here, by `settling`; None: that is not in the journal.
    """
    verdict = phases.verdict(Role.DESTINATION, told)
    phase = phases.reached(Role.DESTINATION, told)
    return DestinationState(
        phase=phase,
        verdict=Verdict.ABORT if verdict is Verdict.OPEN else verdict,
        persistent=persistent,
        own=own,
        lost=lost,
        error=None if verdict is Verdict.GO else died,
        suspended=suspended,
        asking=verdict is Verdict.COMMITTING,
        ran=ran if phase is Phase.SETTLING else None,
    )


def step(state: DestinationState, event: on.Event | None) -> tuple[DestinationState, list[do.Action]]:
    """Take an event; return the state after it and what is to be done now.

    Arguments:
        event: None: nothing has happened yet; what is to be done first is asked.
    """
    if state.over:
        return state, []
    asked: list[do.Action] = []
    if event is not None:
        state, notices = _learn(state, event)
        asked += notices
    action = _next(state)
    if action is None or state.doing is not None or state.writing is not None:
        return state, asked
    slot = "writing" if isinstance(action, do.Urgent) else "doing"
    return replace(state, **{slot: action}), [*asked, action]  # type: ignore[arg-type]


# --- what is lacking --------------------------------------------------------------------------------------------------


def _next(state: DestinationState) -> do.Action | None:
    if state.verdict is Verdict.OPEN:
        return _receive(state)
    if state.verdict is Verdict.COMMITTING:
        return do.AskVerdict() if state.asking else None
    if state.verdict is Verdict.ABORT:
        return _undo(state)
    ran = state.ran if state.own else state.ran or False
    return _let_run(state) if ran is None else _settle(state, ran=ran)


def _receive(state: DestinationState) -> do.Action | None:
    if not state.made:
        return do.MakeDisks()
    if state.phase is Phase.ADMITTED:
        return do.Journal(Phase.CONNECTING)
    if not state.connected:
        return do.Accept()
    if state.phase is Phase.CONNECTING:
        return do.Journal(Phase.COPYING)
    if not state.receiving:
        return do.Receive()
    return None


def _let_run(state: DestinationState) -> do.Action:
    if not state.awake:
        return do.EndVigil()
    if state.phase is not Phase.GOING and not state.hurried:
        return do.Journal(Phase.GOING, quick=True, suspended=state.suspended)
    if state.seen is Presence.PAUSED:
        return do.Resume()
    return do.LookAtVm(again=state.seen is not None, concern=state.busy == _PATIENCE)


def _settle(state: DestinationState, *, ran: bool) -> do.Action:
    if not state.awake:
        return do.EndVigil()
    if ran and not state.went:
        return do.SayWent()
    if state.phase not in (Phase.GOING, Phase.SETTLING):
        return do.Journal(Phase.GOING, suspended=state.suspended)
    if state.phase is Phase.GOING:
        return do.Journal(Phase.SETTLING, ran=ran)
    if state.persistent and not ran and not state.checked:
        return do.CheckDisks()
    if state.persistent and not state.defined:
        return do.DefineVm()
    error = None if ran else state.lost
    if not state.ended:
        return do.EndJob(State.FAILED if error else State.DONE, error)
    return do.Linger() if state.said else do.SayEnded(error)


def _undo(state: DestinationState) -> do.Action:
    assert state.error is not None
    if state.phase is not Phase.UNDOING:
        return do.Journal(Phase.UNDOING, why=state.error.reason)
    if not state.said:
        return do.SayFailed(state.error)
    if not state.closed:
        return do.Disconnect()
    if not state.copy_removed:
        return do.RemoveCopy()
    if not state.awake:
        return do.EndVigil()
    if not state.files_removed:
        return do.RemoveFiles()
    return do.EndJob(State.CANCELLED if isinstance(state.error, CancelledError) else State.FAILED, state.error)


# --- what an event tells ----------------------------------------------------------------------------------------------


def _learn(state: DestinationState, event: on.Event) -> tuple[DestinationState, list[do.Action]]:
    match event:
        case on.CancelAsked(force=True):
            if state.verdict in (Verdict.COMMITTING, Verdict.GO):
                return state, [do.RefuseForce()]
            return _give_up(state, event.error)
        case on.SomethingFailed() | on.LinkBroken() if state.verdict is Verdict.OPEN:
            return _give_up(state, event.error)
        case on.SomethingFailed() | on.LinkBroken() if state.verdict is Verdict.COMMITTING:
            return replace(state, error=state.error or event.error, asking=True), []
        case on.FinishCalled():
            return _finish(state)
        case on.GoHeard() | on.AbortHeard():
            return _told(state, event)
        case on.Undecided() if isinstance(do.inner(state.doing), do.AskVerdict):
            return _again(state, do.AskVerdict())
        case on.ActionNotNow():
            return _not_now(state, event)
        case _:
            return _answered(state, event), []


def _give_up(state: DestinationState, error: VmferryError) -> tuple[DestinationState, list[do.Action]]:
    """Before Finish was called here there can be only one verdict, so that nobody is asked for it."""
    if state.verdict is not Verdict.OPEN:
        return state, []
    waits = isinstance(state.doing, do.Accept)
    return replace(state, verdict=Verdict.ABORT, error=error), [do.StopWaiting()] if waits else []


def _finish(state: DestinationState) -> tuple[DestinationState, list[do.Action]]:
    if state.verdict is not Verdict.OPEN or not state.receiving:
        return state, [do.RefuseStep()]
    step = do.Journal(Phase.FINISHING, quick=True)
    return replace(state, writing=step), [step]


def _told(state: DestinationState, event: on.GoHeard | on.AbortHeard) -> tuple[DestinationState, list[do.Action]]:
    if state.verdict.final:
        return state, []
    if isinstance(event, on.AbortHeard):
        error = event.error if event.cancelled or state.error is None else state.error
        if state.verdict is Verdict.OPEN:
            return _give_up(state, error)
        return _asked(replace(state, verdict=Verdict.ABORT, error=error)), []
    if state.verdict is Verdict.OPEN:
        why = "the source handed a VM over whose copy is not complete"
        return _give_up(state, InternalError(codes.PROTOCOL, why=why))
    return _asked(replace(state, verdict=Verdict.GO, suspended=event.suspended, error=None)), []


def _asked(state: DestinationState) -> DestinationState:
    """Return the state when the verdict is there: it is not asked for any more."""
    asks = isinstance(do.inner(state.doing), do.AskVerdict)
    return replace(state, doing=None, tries=0) if asks else state


def _not_now(state: DestinationState, event: on.ActionNotNow) -> tuple[DestinationState, list[do.Action]]:
    action = event.action
    if action == state.writing:
        state = replace(state, writing=None)
    elif action == do.inner(state.doing):
        state = replace(state, doing=None)
    else:
        return state, []
    match action:
        case do.Journal(phase=Phase.FINISHING):
            state, notices = _give_up(state, event.error)
            return state, [do.RefuseStep(), *notices]
        case do.Journal(phase=Phase.GOING, quick=True):
            return replace(state, hurried=True), []  # the source has it on record: a later life asks it again
        case do.SayWent() | do.SayEnded() | do.SayFailed() | do.Linger():
            return _did(state, action), []
        case _ if state.verdict is Verdict.OPEN:
            return _give_up(state, event.error)
        case _ if not isinstance(action, do.Urgent | do.Work) or _passed(state, action):
            return state, []
        case do.LookAtVm() | do.Resume():
            return _again(replace(state, gone=0, seen=None), do.LookAtVm(again=True), event.reason)
    return _again(state, action, event.reason)


def _again(state: DestinationState, action: do.Action, reason: str = "") -> tuple[DestinationState, list[do.Action]]:
    again = do.Again(action, state.tries + 1, reason)
    return replace(state, doing=again, tries=again.tries), [again]


def _passed(state: DestinationState, action: do.Action) -> bool:
    """Return whether an action was overtaken by the verdict: what it was for is not wanted any more."""
    return isinstance(action, do.MakeDisks | do.Accept | do.Receive) or (
        isinstance(action, do.Journal) and phases.TABLE[Role.DESTINATION][action.phase].verdict is not state.verdict
    )


def _answered(state: DestinationState, event: on.Event) -> DestinationState:
    action = event.action if isinstance(event, on.ActionDone) else None
    if action is not None and action == state.writing:
        return _did(replace(state, writing=None), action)
    work = do.inner(state.doing)
    free = replace(state, doing=None, tries=0)
    match work, event:
        case _, on.ActionDone() if action == work and work is not None:
            return _did(free, work)
        case do.LookAtVm(), on.VmSeen():
            return _seen(replace(free, tries=state.tries), event.presence)
    return state


def _seen(state: DestinationState, presence: Presence) -> DestinationState:
    if presence in _RUNS or (presence is Presence.PAUSED and state.suspended):
        return replace(state, ran=True)
    gone = state.gone + 1 if presence in _GONE else 0
    busy = state.busy + (presence is Presence.BUSY)
    ran = False if gone > 1 else None
    return replace(state, seen=presence, gone=gone, busy=busy, ran=ran)


def _did(state: DestinationState, action: do.Action) -> DestinationState:
    match action:
        case do.Journal():
            verdict = phases.TABLE[Role.DESTINATION][action.phase].verdict
            known = state.verdict if verdict is Verdict.OPEN or state.verdict.final else verdict
            return replace(state, phase=action.phase, verdict=known, hurried=state.hurried or action.quick)
        case do.MakeDisks():
            # What is given up meanwhile stays so; the journal has the files.
            return replace(state, made=True, phase=state.phase if state.verdict.final else Phase.ADMITTED)
        case do.Resume():
            return replace(state, ran=True)
    facts = {
        do.Accept: "connected",
        do.Receive: "receiving",
        do.EndVigil: "awake",
        do.SayWent: "went",
        do.CheckDisks: "checked",
        do.DefineVm: "defined",
        do.SayEnded: "said",
        do.SayFailed: "said",
        do.Disconnect: "closed",
        do.RemoveCopy: "copy_removed",
        do.RemoveFiles: "files_removed",
        do.Linger: "over",
    }
    if isinstance(action, do.EndJob):
        return replace(state, ended=True, over=state.verdict is Verdict.ABORT)
    fact = facts.get(type(action))
    return replace(state, **{fact: True}) if fact else state  # type: ignore[arg-type]
