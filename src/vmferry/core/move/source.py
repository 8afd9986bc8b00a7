"""What the source of a move does next, as a pure function of what has happened to it.

The state holds facts; `next_action` names the first thing that they lack. So a worker that goes on from the journal
needs no way of its own: it begins with fewer facts. While the verdict is open anyone may give the move up. Once it is
committing, libvirt may have had the reply that ends the VM here, and only the VM's own state can tell. `go` and `abort`
never change.
"""

from dataclasses import replace

from vmferry.core import codes
from vmferry.core.errors import UnreachableError, VmferryError
from vmferry.core.job import Phase, Role
from vmferry.core.messages.vm import Presence
from vmferry.core.move import actions as do
from vmferry.core.move import events as on
from vmferry.core.move import phases
from vmferry.core.move.judgement import judge
from vmferry.core.move.phases import Verdict
from vmferry.core.move.source_next import next_action
from vmferry.core.move.source_state import SourceState

_TICKS = 20  # of half a second, for the destination's answer to `go`; then its daemon is asked
_REFUSALS = 5  # of libvirt, to take the definition away
_RESUMES = 3  # of a VM that stops again by itself, e.g. because its disk is full
_GONE = (Presence.OFF, Presence.ABSENT)
_BARRING = (do.KeepFromStarting, do.EndAutostart)


def step(state: SourceState, event: on.Event | None) -> tuple[SourceState, list[do.Action]]:
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
    action = next_action(state)
    if state.writing is None and isinstance(action, do.Urgent) and action != do.inner(state.doing):
        state = replace(state, writing=action)
    elif state.writing is None and isinstance(action, do.Work) and state.doing is None:
        state = replace(state, doing=action)
    else:
        return state, asked
    return state, [*asked, action]


# --- what an event tells ----------------------------------------------------------------------------------------------


def _learn(state: SourceState, event: on.Event) -> tuple[SourceState, list[do.Action]]:
    match event:
        case on.CancelAsked() if state.verdict in (Verdict.COMMITTING, Verdict.GO):
            return state, [do.RefuseCancel()]
        case on.CancelAsked() | on.DeadlineCame():
            return (_fail(state, event.error) if state.verdict is Verdict.OPEN else state), []
        case on.SomethingFailed() | on.LinkBroken():
            return _broken(state, event)
        case on.FinishCalled() if state.verdict is Verdict.OPEN and state.phase is Phase.COPYING:
            return replace(state, finish_called=True, suspended=event.suspended), []
        case on.ReplyCame():
            return _reply(state, genuine=event.genuine)
        case on.ReplyRead():
            return _read(state, event), []
        case on.SuspensionSeen() if state.verdict is Verdict.OPEN:
            return replace(state, suspended=event.suspended), []
        case on.TimePassed() | on.EndHeard():
            return _heard(state, event), []
        case on.ActionNotNow():
            return _not_now(state, event)
        case _:
            return _answered(state, event), []


def _fail(state: SourceState, error: VmferryError) -> SourceState:
    return state if state.error is not None else replace(state, error=error)


def _broken(state: SourceState, event: on.SomethingFailed | on.LinkBroken) -> tuple[SourceState, list[do.Action]]:
    if not state.verdict.final:
        return _fail(state, event.error), _cut_off(state)
    return replace(state, insisting=True) if isinstance(event, on.LinkBroken) else state, []


def _cut_off(state: SourceState) -> list[do.Action]:
    """Return what ends the wait for a reply that may not pass any more: the guest stands still meanwhile."""
    return [do.DropReply()] if state.verdict is Verdict.COMMITTING and not state.passed else []


def _reply(state: SourceState, *, genuine: bool) -> tuple[SourceState, list[do.Action]]:
    """Nothing shows by itself whose a reply is: without the destination's word this host would end the only copy."""
    if not state.committed or state.verdict.final or state.error is not None or not genuine:
        return state, [do.DropReply()]
    return replace(state, reply=True), []


def _read(state: SourceState, event: on.ReplyRead) -> SourceState:
    if state.verdict is not Verdict.COMMITTING or not state.passed or state.found is not None:
        return state
    if event.unread is not None:
        return _fail(state, event.unread)
    return replace(state, read=True, suspended=event.suspended)


def _heard(state: SourceState, event: on.TimePassed | on.EndHeard) -> SourceState:
    if state.verdict is not Verdict.GO or state.ended or state.said is None:
        return state
    if isinstance(event, on.EndHeard):
        return replace(state, ended=True, lost=event.error, off=False)
    ticks = state.ticks + 1
    return replace(state, ticks=ticks, insisting=state.insisting or ticks >= _TICKS, may_bar=True)


def _answered(state: SourceState, event: on.Event) -> SourceState:
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
        case do.FindOut(), on.CommitFound():
            return replace(free, found=judge(event), looks=state.looks + 1)
        case do.TellDaemonGo(), on.Answered() if event.ended:
            return replace(free, ended=True, lost=event.error, off=False)
        case do.TellDaemonGo(), on.Answered():
            return replace(state, doing=None, may_bar=True)
        case do.StopMigration(), on.Stopped():
            return replace(free, stopped=True, suspended=event.suspended)
        case do.Suspend(), on.Changed():
            return replace(free, stands=Presence.PAUSED if event.done else Presence.RUNNING)
        case do.Resume(), on.Changed() if event.done:
            return replace(free, resumes=state.resumes + 1, seen=None)
        case do.Resume(), on.Changed():
            return replace(free, stands=Presence.PAUSED)
        case do.KeepFromStarting(), on.Starts():
            return replace(free, starts=event.on, barred=not event.on)
    return state


def _did(state: SourceState, action: do.Action) -> SourceState:
    """Return the state after an action that has no more to tell than that it is done."""
    match action:
        case do.Journal():
            return _noted(state, action)
        case do.Mark():
            return replace(state, replied=True) if action.replied else replace(state, marked=True)
        case do.SayGo():
            return replace(state, said=True)
        case do.SayAbort():
            return replace(state, told=True)
        case do.Destroy():
            return replace(state, seen=None)
    facts = {
        do.ConnectPeer: "connected",
        do.CopyFiles: "copied",
        do.Migrate: "migrating",
        do.HoldLock: "locked",
        do.PassReply: "passed",
        do.EndAutostart: "barred",
        do.TellDefinition: "defined",
        do.Forget: "gone",
        do.LiftLock: "unlocked",
        do.RemoveDisks: "removed",
        do.RemoveProofs: "proofs",
        do.SayBye: "bye",
        do.Disconnect: "closed",
        do.TellDaemonAbort: "reached",
        do.EndJob: "over",
    }
    fact = facts.get(type(action))
    return replace(state, **{fact: True}) if fact else state  # type: ignore[arg-type]


def _noted(state: SourceState, step: do.Journal) -> SourceState:
    verdict = phases.TABLE[Role.SOURCE][step.phase].verdict
    state = replace(state, phase=step.phase, verdict=verdict if verdict is not Verdict.OPEN else state.verdict)
    if step.suspended is not None:
        state = replace(state, noted=step.suspended)
    return replace(state, started=True) if step.started else state


def _not_now(state: SourceState, event: on.ActionNotNow) -> tuple[SourceState, list[do.Action]]:
    action = event.action
    if action == state.writing:
        state = replace(state, writing=None)
    elif action == do.inner(state.doing):
        state = replace(state, doing=None)
    else:
        return state, []
    if state.verdict is Verdict.OPEN:
        return _not_before(state, event), []
    if state.verdict is Verdict.COMMITTING:
        return _not_committing(state, event)
    return _not_after(state, event)


def _not_before(state: SourceState, event: on.ActionNotNow) -> SourceState:
    """Before the commit whatever fails ends the move. That need not be on record: a later life ends it as well."""
    if isinstance(event.action, do.Journal) and event.action.phase is Phase.UNDOING:
        return replace(state, verdict=Verdict.ABORT)
    unsure = isinstance(event.action, do.Journal) and event.action.phase is Phase.COMMITTING
    return _fail(replace(state, unsure=state.unsure or unsure), event.error)


def _not_committing(state: SourceState, event: on.ActionNotNow) -> tuple[SourceState, list[do.Action]]:
    match event.action:
        case do.FindOut():
            return _again(state, event)
        case do.Journal() if state.found is not None:
            return _again(state, event)
    return _fail(replace(state, read=False, reply=False), event.error), _cut_off(state)


def _not_after(state: SourceState, event: on.ActionNotNow) -> tuple[SourceState, list[do.Action]]:
    barring = isinstance(event.action, _BARRING) or (isinstance(event.action, do.Journal) and event.action.started)
    match event.action:
        case do.SayGo():
            return replace(state, said=False), []
        case do.SayAbort():
            return replace(state, told=False), []
        case do.SayBye() | do.TellDaemonAbort():
            return _did(state, event.action), []
        case do.Destroy():  # libvirt ended it at the same moment, as a rule
            return _again(replace(state, seen=None), on.ActionNotNow(do.LookAtVm(again=True), event.error))
        case do.Suspend() | do.Resume() | do.LookAtVm() if event.error.code is codes.NOT_THIS_VM:
            return replace(state, stands=Presence.PAUSED), []
        case do.TellDaemonGo():
            return replace(state, may_bar=True), []
        case do.Forget():
            state = replace(state, refusals=state.refusals + (not isinstance(event.error, UnreachableError)))
            if state.refusals >= _REFUSALS:
                return replace(state, gone=False), []
        case _ if barring and not state.ended:
            return replace(state, may_bar=False), []  # taken up again
        case do.Suspend() | do.Resume():
            return _again(
                replace(state, seen=None), on.ActionNotNow(do.LookAtVm(settle=state.suspended, again=True), event.error)
            )
        case do.ConnectPeer() | do.CopyFiles() | do.Migrate():
            return state, []  # given up meanwhile
    return _again(state, event)


def _again(state: SourceState, event: on.ActionNotNow) -> tuple[SourceState, list[do.Action]]:
    again = do.Again(event.action, state.tries + 1, event.reason)
    return replace(state, doing=again, tries=again.tries), [again]


# --- how the VM stands ------------------------------------------------------------------------------------------------


def _seen(state: SourceState, presence: Presence) -> SourceState:
    if state.verdict is Verdict.GO:
        runs = presence in (Presence.RUNNING, Presence.CRASHED)
        return replace(state, off=presence in _GONE, seen=presence, looks=state.looks + runs)
    busy = presence is Presence.BUSY
    paused = presence is Presence.PAUSED and not state.suspended and state.resumes < _RESUMES
    running = presence is Presence.RUNNING and state.suspended
    if paused or running:
        return replace(state, seen=presence)
    return replace(state, seen=None, looks=state.looks + busy, stands=None if busy else presence)
