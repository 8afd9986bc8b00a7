"""Two hosts, their libvirts, workers and daemons, and the wire between them, as far as a move is concerned.

Nothing happens by itself: `moves` returns what may happen next, and whoever drives the world chooses. So a message is
late as long as nobody chooses to deliver it. Faults are moves like all others.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from vmferry.core import codes
from vmferry.core.errors import CancelledError, InternalError, UnreachableError, VmferryError
from vmferry.core.job import Phase, Role, State
from vmferry.core.messages.vm import Ending, Presence
from vmferry.core.move import actions as do
from vmferry.core.move import destination, events, phases, source, source_state
from vmferry.core.move.phases import Recovery, Verdict

FIELDS = {"vm": "web01", "host": "kvm1", "source": "kvm1", "peer": "kvm2", "job": "1", "phase": "x", "why": "x"}
MOVE_FAILED = VmferryError(codes.MOVE_FAILED, advice="look", **FIELDS)
LINK_LOST = VmferryError(codes.LINK_LOST, **FIELDS)
DIED = VmferryError(codes.WORKER_DIED, owner="kvm1", **FIELDS)
CANCELLED = CancelledError(codes.CANCELLED, caller="ann", **FIELDS)
LOST = VmferryError(codes.VM_LOST_AT_SWITCH, advice="start it", **FIELDS)
AWAY = UnreachableError(codes.LIBVIRT_UNREACHABLE, host="kvm1", why="refused")
LOCKED = InternalError(codes.DATABASE_FAILED, path="db", host="kvm1", why="locked")
PERSISTENT = True

Move = tuple[str, Callable[[], None]]
GONE = (Presence.OFF, Presence.ABSENT)


class Broken(AssertionError):
    """What must never be has come about."""


class Dead(Exception):
    """The worker dies at this moment."""


class End:
    """One worker, its journal, and its host's VM."""

    def __init__(self, world: "World", role: Role) -> None:
        self.world = world
        self.role = role
        self.journal: list[tuple[Phase, dict[str, Any]]] = [(Phase.OFFERED, {})]
        self.machine: Any = None  # the reducer's state; None: no worker lives
        self.work: do.Work | None = None
        self.over: State | None = None
        self.error: VmferryError | None = None
        self.presence = Presence.RUNNING if role is Role.SOURCE else Presence.ABSENT
        self.ending = Ending.UNKNOWN
        self.defined = role is Role.SOURCE

    @property
    def step(self) -> Any:
        return source.step if self.role is Role.SOURCE else destination.step

    def told(self) -> list[Phase]:
        return [phase for phase, _ in self.journal]

    def detail(self, name: str) -> Any:
        return next((found[name] for _, found in reversed(self.journal) if name in found), None)

    def start(self) -> None:
        """Start a worker, which goes on from the journal."""
        begins = phases.recovery(self.role, self.told()) is Recovery.BEGIN
        if self.role is Role.SOURCE:
            kept = {"suspended": bool(self.detail("suspended")), "started": bool(self.detail("started"))}
            self.machine = (
                source_state.begin(files=self.world.files)
                if begins
                else source_state.recover(self.told(), DIED, **kept)
            )
        elif begins:
            self.machine = destination.begin(lost=LOST)
        else:
            kept = {"suspended": bool(self.detail("suspended")), "own": bool(self.detail("copy"))}
            self.machine = destination.recover(self.told(), DIED, lost=LOST, ran=self.detail("ran"), **kept)
        self.feed(None)

    def die(self) -> None:
        self.machine = self.work = None
        self.world.worker_died(self)

    def feed(self, event: events.Event | None) -> list[do.Action]:
        """Give the reducer an event, and carry out what is urgent, as the thread does that brings it."""
        notices: list[do.Action] = []
        todo: list[events.Event | None] = [event]
        try:
            while todo and self.machine is not None:
                before = self.machine
                self.machine, asked = self.step(self.machine, todo.pop(0))
                self._check(before)
                for action in asked:
                    if isinstance(action, do.Notice):
                        notices.append(action)
                        if isinstance(action, do.DropReply):
                            self.world.drop = True
                    elif isinstance(action, do.Urgent):
                        todo.append(self.world.perform(self, action))
                    else:
                        self.work = action
        except Dead:
            self.die()
        if self.machine is not None and self.machine.doing is None:
            self.work = None  # what was tried again and again is not wanted any more
        return notices

    def _check(self, before: Any) -> None:
        now = self.machine
        if before.verdict.final and now.verdict is not before.verdict:
            raise Broken(f"the verdict {before.verdict} has become {now.verdict}")

    def write(self, step: do.Journal) -> None:
        if not phases.may_follow(self.role, self.told(), step.phase):
            raise Broken(f"{step.phase} after {self.told()}")
        names = ("suspended", "started", "ran")
        detail = {name: getattr(step, name) for name in names if getattr(step, name) is not None}
        self.journal.append((step.phase, detail))


class World:
    """Everything that takes part in one move.

    Arguments:
        chance: draws whether something goes wrong: called with what it is, returns how.
    """

    def __init__(self, chance: Callable[[str], str], *, files: bool = False, autostart: bool = False) -> None:
        self.chance = chance
        self.files = files
        self.autostart = autostart
        self.link = True  # between the daemons
        self.session: int | None = None
        self.sessions = 0
        self.wire: dict[Role, list[tuple[str, Any]]] = {Role.SOURCE: [], Role.DESTINATION: []}  # to whom
        self.late: list[tuple[Role, events.Event]] = []  # words by way of the daemons, which may come twice
        self.migration = ""  # of the source's libvirt: copying, switching, finishing
        self.reply = False  # is in libvirt's socket at the source
        self.saw: Any = None  # the events of libvirt that the source's worker has had: resumed or not; None: no worker
        self.mark: bool | None = None
        self.locked = False
        self.proofs = True
        self.whole = False  # the copy
        self.finished = False  # the destination's libvirt has answered Finish
        self.writes = 0  # what the VM has written by now, wherever it ran
        self.copied = 0  # of that, what the copy has
        self.ran_there = False
        self.ended_itself = False
        self.person_suspended = False
        self.calm = False
        self.drop = False  # the source's worker has cut its libvirt off
        self.ends = {role: End(self, role) for role in Role}
        self.s, self.d = self.ends[Role.SOURCE], self.ends[Role.DESTINATION]

    # --- what is never to be ----------------------------------------------------------------------------------------

    def check(self) -> None:
        runs = (Presence.RUNNING, Presence.CRASHED)
        if self.s.presence in runs and self.d.presence in runs:
            raise Broken("both copies run")

    def let_run(self, end: End) -> None:
        """Let a copy run: it must be the newest, and the only one."""
        if end.role is Role.DESTINATION:
            if self.copied != self.writes or not self.whole:
                raise Broken(f"the copy that runs lacks writes: {self.copied} of {self.writes}")
            self.ran_there = True
        elif self.ran_there:
            raise Broken("the source runs a VM that has run at the destination")
        end.presence = Presence.RUNNING
        self.writes += 1
        if end.role is Role.DESTINATION:
            self.copied = self.writes
        self.check()

    def settled(self) -> None:
        """Check how the world stands when both jobs have ended."""
        s, d = self.s, self.d
        given = phases.verdict(Role.SOURCE, s.told()) is Verdict.GO
        taken = phases.verdict(Role.DESTINATION, d.told()) is Verdict.GO
        if given and not taken and not self.finished and self.ended_itself and s.over is State.FAILED:
            # The source's host died after Finish was called and before the destination had answered: the disks stay.
            if not s.defined or s.presence not in GONE or d.presence not in GONE:
                raise Broken("what was given up by the destination and given away by the source is gone")
            return
        if given != taken:
            raise Broken(f"the ends disagree: {s.told()}, {d.told()}")
        owner, other = (d, s) if given else (s, d)
        if other.presence not in GONE:
            raise Broken(f"the VM is left {other.presence} at the {other.role}")
        if not owner.defined or (given and other.defined):
            raise Broken("the VM is defined on both hosts, or on none")
        if self.locked is True or (given and self.copied != self.writes):
            raise Broken("the lock is left, or a write is lost")
        if owner.presence in GONE and not self.ended_itself:
            raise Broken("no copy is left")
        if owner.presence is Presence.PAUSED and not (self.person_suspended or self.ended_itself):
            raise Broken("the VM stands still, and nobody wanted that")

    # --- actions ----------------------------------------------------------------------------------------------------

    def perform(self, end: End, action: do.Action) -> events.Event:
        """Carry out an action of an end; returns what it comes to."""
        if isinstance(action, do.Again):
            action = action.action
        how = "well" if self.calm else self.chance(type(action).__name__)
        if isinstance(action, do.Mark | do.PassReply) and getattr(action, "replied", True):
            # The mark and the reply that it tells of are one step here: what lies between is some microseconds.
            how = {"dies after": "dies"}.get(how, how) if isinstance(action, do.Mark) else "well"
        if how == "dies":
            raise Dead
        error = LOCKED if isinstance(action, do.Journal) else AWAY
        if how == "fails" and not isinstance(action, do.EndJob | do.Disconnect | do.EndVigil):
            return events.ActionNotNow(action, error)
        outcome = self._perform(end, action)
        self.check()
        if how == "dies after":
            raise Dead
        if how == "fails after" and isinstance(action, do.Journal | do.Forget | do.DefineVm | do.HoldLock | do.Resume):
            return events.ActionNotNow(action, error)
        return outcome

    def _perform(self, end: End, action: do.Action) -> events.Event:  # noqa: C901 (one line an action)
        other = self.d if end is self.s else self.s
        done = events.ActionDone(action)
        match action:
            case do.Journal():
                end.write(action)
            case do.SayGo():
                return self._say(other, action, events.GoHeard(action.suspended))
            case do.SayAbort():
                cancelled = isinstance(action.error, CancelledError)
                return self._say(other, action, events.AbortHeard(action.error, cancelled=cancelled))
            case do.SayFailed():
                return self._say(other, action, events.SomethingFailed(action.error))
            case do.SayWent():
                return self._say(other, action, events.WentHeard())
            case do.SayEnded():
                return self._say(other, action, events.EndHeard(action.error))
            case do.TellDaemonGo() | do.TellDaemonAbort():
                return self._tell_daemon(action)
            case do.AskVerdict():
                return self._verdict(action)
            case do.ConnectPeer():
                return self._connect(action)
            case do.Accept():
                return done if self.session else events.ActionNotNow(action, MOVE_FAILED)
            case do.Migrate():
                if self.session is None or self.s.presence in GONE:
                    return events.ActionNotNow(action, MOVE_FAILED)
                self.migration, self.saw = "copying", False
            case do.Mark():
                self.mark = action.replied
            case do.PassReply():
                self.reply = True
            case do.HoldLock():
                self.locked = True
            case do.LiftLock():
                self.locked = False
            case do.FindOut():
                return self._find_out()
            case do.LookAtVm():
                return events.VmSeen(Presence.BUSY if end is self.s and self.migration else end.presence)
            case do.Resume():
                if end.presence in GONE:
                    return events.ActionNotNow(action, MOVE_FAILED)
                if end is self.s and self.person_suspended:
                    return events.Changed(False)
                if end.presence is Presence.PAUSED:
                    self.let_run(end)
                return events.Changed(True) if end is self.s else done
            case do.Suspend():
                if not self.person_suspended:
                    return events.Changed(False)
                end.presence = Presence.PAUSED
                return events.Changed(True)
            case do.StopMigration():
                if self.migration:
                    self.migration_fails()
                return events.Stopped(self.person_suspended)
            case do.Disconnect():
                self.cut()
            case do.Destroy():
                end.presence = Presence.OFF
            case do.KeepFromStarting():
                self.locked = True
                return events.Starts(self.autostart)
            case do.EndAutostart():
                self.autostart = False
            case do.Forget():
                end.defined = False
            case do.RemoveProofs():
                self.proofs = False
            case do.Receive():
                if self.session is None:
                    return events.ActionNotNow(action, MOVE_FAILED)
                end.journal.append((Phase.COPYING, {"copy": True}))
                end.presence = Presence.PAUSED
            case do.MakeDisks():
                end.journal.append((Phase.ADMITTED, {}))
            case do.DefineVm():
                end.defined = True
            case do.RemoveCopy():
                end.presence = Presence.ABSENT
            case do.EndJob():
                if not phases.may_follow(end.role, end.told(), Phase.ENDED):
                    raise Dead  # the journal refuses it, and the worker reads it again
                end.over, end.error = action.state, action.error
        return done

    def _say(self, other: End, action: do.Action, event: events.Event) -> events.Event:
        if self.session is None:
            return events.ActionNotNow(action, LINK_LOST)
        self.wire[other.role].append(("say", event))
        return events.ActionDone(action)

    def _tell_daemon(self, action: do.TellDaemonGo | do.TellDaemonAbort) -> events.Event:
        if not self.link:
            return events.ActionNotNow(action, AWAY)
        word: events.Event = (
            events.GoHeard(action.suspended) if isinstance(action, do.TellDaemonGo) else events.AbortHeard(DIED)
        )
        self.late.append((Role.DESTINATION, word))
        if isinstance(action, do.TellDaemonAbort):
            return events.ActionDone(action)
        ended = self.d.over is not None
        return events.Answered(ended, self.d.error)

    def _verdict(self, action: do.Action) -> events.Event:
        if not self.link:
            return events.ActionNotNow(action, AWAY)
        found = phases.verdict(Role.SOURCE, self.s.told())
        if found is Verdict.GO:
            return events.GoHeard(bool(self.s.detail("suspended")))
        return events.AbortHeard(MOVE_FAILED) if found is Verdict.ABORT or self.s.over else events.Undecided()

    def _connect(self, action: do.Action) -> events.Event:
        if not self.link or not isinstance(self.d.work, do.Accept):
            return events.ActionNotNow(action, AWAY)
        self.sessions += 1
        self.session = self.sessions
        return events.ActionDone(action)

    def _find_out(self) -> events.Event:
        self.locked = True
        if self.migration:
            return events.CommitFound(Presence.BUSY)
        told = self.saw is not None and self.s.ending is not Ending.UNKNOWN
        resumed = self.saw if isinstance(self.saw, bool) else None
        return events.CommitFound(self.s.presence, self.s.ending, told, resumed, self.mark)

    # --- what happens by itself -------------------------------------------------------------------------------------

    def moves(self) -> list[Move]:
        """Return what may happen next: the ordinary things, then, unless it is calm, the faults."""
        found: list[Move] = []
        for end in self.ends.values():
            name = end.role.value
            if end.machine is None and end.over is None:
                found.append((f"the worker of the {name} is started", end.start))
            if end.work is not None and self._ready(end):
                found.append((f"the {name} does {type(end.work).__name__}", partial(self._work, end)))
            if self.wire[end.role]:
                found.append((f"the {name} hears", partial(self._hear, end)))
        found += self._libvirt()
        if self.s.machine is not None and self.s.machine.verdict is Verdict.GO:
            found.append(("the source waits", lambda: self._feed(self.s, events.TimePassed())))
        if self.late:
            found.append(("a word comes by way of the daemons", self._late))
        if not self.link:
            found.append(("the daemons' link comes back", lambda: self._link(True)))
        return found if self.calm else found + self.faults()

    def _ready(self, end: End) -> bool:
        work = do.inner(end.work)
        if isinstance(work, do.Accept):
            return self.session is not None or self.s.over is not None or end.machine.verdict.final
        if isinstance(work, do.ConnectPeer) and self.d.over is None:
            return isinstance(self.d.work, do.Accept) or phases.verdict(Role.DESTINATION, self.d.told()).final
        return True

    def _feed(self, end: End, event: events.Event) -> None:
        end.feed(event)

    def _work(self, end: End) -> None:
        work, end.work = end.work, None
        assert work is not None
        try:
            outcome = self.perform(end, work)
        except Dead:
            end.die()
            return
        end.feed(outcome)

    def _hear(self, end: End) -> None:
        kind, event = self.wire[end.role].pop(0)
        if kind == "say":
            end.feed(event)
        elif kind == "finish":
            self._finish_there()
        else:
            self._reply_came()

    def _late(self) -> None:
        role, event = self.late[0]
        if self.calm or self.chance("twice") == "well":
            self.late.pop(0)
        self.ends[role].feed(event)

    def _link(self, up: bool) -> None:
        self.link = up

    def _libvirt(self) -> list[Move]:
        found: list[Move] = []
        if self.migration == "copying" and self.d.presence is Presence.PAUSED:  # it has prepared a copy
            found.append(("libvirt stops the VM for the switch", self._switch))
        if self.migration == "switching":
            found.append(("libvirt calls Finish", self._call_finish))
        if self.reply:
            found.append(("libvirt reads the reply", self._read_reply))
        without = self.migration == "copying" and bool(self.d.detail("copy")) and self.d.presence in GONE
        if self.migration and (self.session is None or self.drop or without) and not self.reply:
            found.append(("libvirt gives the migration up", self.migration_fails))
        return found

    def _switch(self) -> None:
        if self.s.presence in GONE:
            self.migration_fails()
            return
        self.s.presence, self.migration = Presence.PAUSED, "switching"
        self.copied = self.writes

    def _call_finish(self) -> None:
        self.migration = "finishing"
        self.wire[Role.DESTINATION].append(("finish", None))  # the call passes at once, the reply does not
        self.s.feed(events.FinishCalled(self.person_suspended))

    def _finish_there(self) -> None:
        if self.d.machine is None:
            return
        self.whole = self.d.presence is Presence.PAUSED
        refused = any(isinstance(notice, do.RefuseStep) for notice in self.d.feed(events.FinishCalled()))
        if self.d.machine is None or self.session is None:
            return
        if refused or not self.whole:  # libvirt says no, or is cut off by the worker
            self.drop = True
            return
        self.finished = True
        self.wire[Role.SOURCE].append(("reply", None))

    def _reply_came(self, *, genuine: bool = True) -> None:
        if not self.migration or self.s.machine is None:
            return
        before = self.reply
        self.s.feed(events.ReplyCame(genuine))
        if not genuine and self.reply != before:
            raise Broken("libvirt was given a forged reply")

    def _read_reply(self) -> None:
        self.reply, self.migration = False, ""
        self.s.presence, self.s.ending = Presence.OFF, Ending.MIGRATED
        if self.s.machine is not None:
            self.s.feed(events.ReplyRead(suspended=self.person_suspended))

    def migration_fails(self) -> None:
        """libvirt ends the migration, and lets the VM run on."""
        if self.reply:
            return  # it will read that first
        was, self.migration = self.migration, ""
        if was and self.s.presence is Presence.PAUSED:
            self.let_run(self.s)
            self.saw = True if self.saw is not None else None
        if not self.finished and self.d.presence is Presence.PAUSED:
            self.d.presence = Presence.ABSENT
        if self.s.machine is not None:
            self.s.feed(events.SomethingFailed(MOVE_FAILED))

    def cut(self) -> None:
        """Lose the session, with all that is on its way."""
        if self.session is None:
            return
        self.session = None
        self.wire = {Role.SOURCE: [], Role.DESTINATION: []}
        for end in self.ends.values():
            if end.machine is not None:
                end.feed(events.LinkBroken(LINK_LOST))

    def worker_died(self, end: End) -> None:
        if end is self.s:
            self.saw = None
        self.cut()

    def faults(self) -> list[Move]:
        """Return what may go wrong next."""
        return []
