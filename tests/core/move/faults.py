"""A world in which hosts and workers die, links are lost, and people do as they like."""

from functools import partial

from tests.core.move.model import CANCELLED, GONE, MOVE_FAILED, End, Move, World

from vmferry.core.job import Role
from vmferry.core.messages.vm import Ending, Presence
from vmferry.core.move import events, phases
from vmferry.core.move.phases import Verdict


class Faulty(World):
    """A world with faults."""

    def restart(self, end: End) -> None:
        """Start a host anew: its VM has ended; its libvirt starts what starts with the host, unless that is locked."""
        if end.presence not in GONE:
            self.ended_itself = True
            end.presence, end.ending = (Presence.OFF if end.defined else Presence.ABSENT), Ending.UNKNOWN
        if end is self.s:
            self.migration, self.reply, self.mark, self.saw = "", False, None, None
        end.die()
        if end is self.s:
            self.start_vm(self.autostart)

    def start_vm(self, wanted: bool = True) -> None:
        """Start the VM at the source, as a person or libvirt does; libvirt's hook asks for the lock."""
        if wanted and self.s.presence is Presence.OFF and self.s.defined and not self.locked:
            self.s.ending = Ending.UNKNOWN
            self.let_run(self.s)

    def kill_qemu(self, end: End) -> None:
        self.ended_itself = True
        end.presence, end.ending = (Presence.OFF if end.defined else Presence.ABSENT), Ending.UNKNOWN
        if end is self.s and not self.reply:
            self.migration_fails()

    def _suspend(self) -> None:
        self.person_suspended = True
        self.s.presence = Presence.PAUSED
        if self.s.machine is not None:
            self.s.feed(events.SuspensionSeen(True))

    @property
    def runs_on(self) -> bool:
        """Whether the VM has run on at the source after a commit that broke, and no worker has found that out.

        A host that dies just then cannot be told from one that died at the switch (docs/design.md, The commit).
        """
        undecided = phases.verdict(Role.SOURCE, self.s.told()) is Verdict.COMMITTING
        return undecided and self.writes != self.copied

    def _kill_libvirtd(self) -> None:
        """It leaves the VM as it is, and tells nothing of what went before."""
        self.migration, self.reply, self.saw = "", False, None
        if not self.finished and self.d.presence is Presence.PAUSED:
            self.d.presence = Presence.ABSENT
        if self.s.machine is not None:
            self.s.feed(events.SomethingFailed(MOVE_FAILED))

    def _let_run(self) -> None:
        self.person_suspended = False
        self.let_run(self.s)
        if self.s.machine is not None:
            self.s.feed(events.SuspensionSeen(False))

    def faults(self) -> list[Move]:  # noqa: C901 (one line a fault)
        found: list[Move] = []
        for end in self.ends.values():
            name = end.role.value
            if end.machine is not None:
                found.append((f"the worker of the {name} dies", end.die))
                found.append(
                    (f"something fails at the {name}", partial(self._feed, end, events.SomethingFailed(MOVE_FAILED)))
                )
            if end is self.d or not self.runs_on:
                found.append((f"the host of the {name} is started anew", partial(self.restart, end)))
            if end.presence not in GONE:
                found.append((f"QEMU is killed at the {name}", partial(self.kill_qemu, end)))
        if self.session is not None:
            found.append(("the session is lost", self.cut))
        if self.link:
            found.append(("the daemons' link is lost", lambda: self._link(False)))
        if self.s.machine is not None:
            found.append(("somebody cancels", lambda: self._feed(self.s, events.CancelAsked(CANCELLED))))
            found.append(("the deadline comes", lambda: self._feed(self.s, events.DeadlineCame(MOVE_FAILED))))
        if self.d.machine is not None:
            found.append(
                ("an administrator ends it", lambda: self._feed(self.d, events.CancelAsked(CANCELLED, force=True)))
            )
        if self.s.presence is Presence.RUNNING and self.migration in ("", "copying"):
            found.append(("a person suspends the VM", self._suspend))
        if self.person_suspended and self.s.presence is Presence.PAUSED and self.migration in ("", "copying"):
            found.append(("a person lets the VM run again", self._let_run))
        if self.s.presence is Presence.OFF:
            found.append(("a person starts the VM at the source", self.start_vm))
        if self.migration == "finishing":
            found += [("somebody forges a reply", lambda: self._reply_came(genuine=False))] * 4
        if self.migration:
            found.append(("libvirtd is killed at the source", self._kill_libvirtd))
        return found
