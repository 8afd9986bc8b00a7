"""The source's end of a move: connects, lets libvirt copy, decides, and settles or undoes."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from vmferry.core import codes
from vmferry.core.errors import CancelledError, UnreachableError, UsageError, VmferryError
from vmferry.core.job import Phase, Role, State, Summary
from vmferry.core.kinds import CopiedBy
from vmferry.core.messages.offer import Artifact
from vmferry.core.move import phases as table
from vmferry.core.move.events import Handed, LinkBroken, MessageHeard, SomethingFailed, TimePassed
from vmferry.core.move.messages import (
    Abort,
    Bye,
    Cancel,
    Failed,
    FileReady,
    Finished,
    FromDestination,
    FromSource,
    Go,
    Medium,
    StreamKind,
)
from vmferry.core.move.phases import Verdict
from vmferry.core.policy.settings import routes_to
from vmferry.core.request import build
from vmferry.hypervisor.activity import Activities
from vmferry.hypervisor.migration import Migration, Statistics
from vmferry.hypervisor.storage import media, proofs
from vmferry.jobs import requests, startlock
from vmferry.jobs.decision import Decision, suspended
from vmferry.jobs.persist import tried, why
from vmferry.jobs.requests import CancelRequest, RequestTaken, WorkerAnswer, WorkerRequest
from vmferry.net import interfaces
from vmferry.store.jobs import JournalStep
from vmferry.transfer.disks import files, originals
from vmferry.transfer.disks.thin import ThinRelay
from vmferry.transfer.relay import Relay
from vmferry.transfer.rpc.relay import CommittingRelay
from vmferry.transfer.session.connect import connect
from vmferry.transfer.session.stream import Stream
from vmferry.transfer.transport import seal
from vmferry.transfer.worker import alarm, definition
from vmferry.transfer.worker.commit import Commit
from vmferry.transfer.worker.departure import Departure
from vmferry.transfer.worker.endpoint import Endpoint
from vmferry.transfer.worker.listeners import Doors
from vmferry.transfer.worker.meter import Meter
from vmferry.transfer.worker.owncopy import leaving, left
from vmferry.transfer.worker.retreat import keep_running, standing

_TICK = 0.5
_LIBVIRT_LIMIT = 20.0
_CONNECT_LIMIT = 6.0


class Source(Endpoint):
    """One outgoing move."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._request = build(self.offer, self.spec.grant, str(self.folder))
        names = {"job": self.job, "vm": self.offer.vm, "peer": self.spec.peer}
        self._lock = startlock.of(self.config.state_folder, self.offer.uuid, **names)
        self._commit = self._make_commit(Verdict.OPEN)
        self._migration: Migration | None = None
        self._doors: Doors | None = None
        self._first_byte_at: float | None = None
        self._go_sent = False
        self._suspended = False  # by a person, and so to stay
        self._trouble: VmferryError | None = None
        self._unanswered: list[str] = []
        self._departure = Departure(
            self,
            self.domains,
            self._lock,
            self.offer,
            self.spec.peer,
            self.next_event,
            lambda: self.peer().go(self.job, self.proof(), suspended=self._suspended),
        )
        self._meter = Meter()
        self._streams: dict[StreamKind, list[Stream]] = {kind: [] for kind in StreamKind}

    @property
    def _decision(self) -> Decision:
        return self._commit.decision

    # --- from beginning to end --------------------------------------------------------------------------------

    def run(self) -> None:
        """Carry a move out from its beginning."""
        deadline = alarm.at(self.spec.deadline, self._give_up)  # just as when a person cancels it
        try:
            self.require_own_folder()
            self._connect()
            self._expect()
            self._copy_files()
            self._copy()
        except VmferryError as error:
            self._trouble = error
        except Exception as error:
            self._trouble = self.unexpected(error)
        deadline.cancel()
        self._conclude()

    def recover(self, steps: Sequence[JournalStep]) -> None:
        """Go on after an earlier worker of this job died; core/move/phases.py says how."""
        phases = [step.phase for step in steps]
        self.phase = table.reached(Role.SOURCE, phases)
        self._trouble = self._trouble or self.died(self.phase)
        self._commit = self._make_commit(table.verdict(Role.SOURCE, phases))
        self._departure.vm = left(steps, self.offer.uuid, self.offer.vm)
        self._departure.started = any(step.detail.get("started") for step in steps)
        self._suspended = suspended(steps)
        self._conclude()

    def close(self) -> None:
        """Let go of what this process holds; what is on record stays."""
        if self._migration is not None:
            self._migration.close()
        super().close()

    def answer(self, request: WorkerRequest) -> WorkerAnswer:
        """Answer vmferryd: a person's wish to cancel."""
        if not isinstance(request, CancelRequest):
            raise requests.cannot(request.do)
        self._cancel(request.caller)
        return RequestTaken()

    def summary(self) -> Summary:
        """Return how it went."""
        carried = {kind: sum(stream.sent for stream in streams) for kind, streams in self._streams.items()}
        stopped = self._migration.stopped_at if self._migration else None
        went = self._departure.went_at
        return Summary(
            total_time=time.time() - self.spec.requested_at,
            downtime=went - stopped if went and stopped and not self._suspended else None,
            wire_bytes=self.session.sent if self.session else 0,
            memory_bytes=carried[StreamKind.MEMORY],
            disk_bytes=carried[StreamKind.DISK] + carried[StreamKind.FILE],
            overhead_before=self._first_byte_at - self.spec.requested_at if self._first_byte_at else None,
            overhead_after=time.monotonic() - went if went else None,
            connections=self.session.connections if self.session else [],
            interface=self.interface,
            left=self.left,
            unanswered=self._unanswered,
        )

    # --- before the commit -------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._step(Phase.CONNECTING, **originals.note(self.offer, self.spec.grant.disks))
        theirs = [(address.host, address.port) for address in self.spec.addresses]
        routes = routes_to(self.settings, interfaces.addresses(), theirs, self.config.name, self.spec.peer)
        limit = time.monotonic() + _CONNECT_LIMIT
        while True:
            try:
                session, self._unanswered = connect(routes, self.credentials(), self.config.connections)
            except UnreachableError:
                if time.monotonic() > limit or self._decision.verdict is not Verdict.OPEN:
                    raise
                time.sleep(0.2)  # the worker listens, so the path is what is not there yet: a link that just came up
            else:
                self.adopt(session)
                return

    def _step(self, phase: Phase, **detail: Any) -> None:
        """Take the next step, unless the move was given up meanwhile.

        Raises:
            VmferryError: why it was given up.
        """
        if not self._decision.note(phase, **detail):
            self._wait_for()  # whoever gave it up says why, right after

    def _expect(self) -> None:
        """Tell the meter what has to be sent."""
        copied = {plan.target for plan in self.spec.grant.disks if plan.made}
        disk = sum(disk.copied for disk in self.offer.disks if disk.target in copied)
        try:
            memory = Activities(self.config.libvirt_uri, self.config.name).used(self.offer.uuid)
        except VmferryError:
            memory = 0  # libvirt counts then
        self._meter.expect(disk, memory)

    def _copy_files(self) -> None:
        """Copy the disks that nobody writes; QEMU's mirror takes only writable ones."""
        plans = [plan for plan in self.spec.grant.disks if plan.copied_by in (CopiedBy.FILE, CopiedBy.PRESENT)]
        if not plans:
            return
        assert self.session is not None
        self._step(Phase.COPYING_FILES)
        disks = {disk.target: disk for disk in self.offer.disks}
        for plan in plans:
            if plan.copied_by is CopiedBy.PRESENT:
                self._show_medium(disks[plan.target])
            else:
                files.send(self._open(StreamKind.FILE), plan.target, disks[plan.target].path)
            self._wait_for(FileReady)

    def _show_medium(self, disk: Artifact) -> None:
        """Tell the destination what is in a medium that it may have, for it to compare."""
        reported = time.monotonic()

        def going_on(_done: int) -> bool:
            nonlocal reported
            if time.monotonic() - reported > _TICK:
                self._report()
                reported = time.monotonic()
            return self._decision.verdict is Verdict.OPEN

        digest = media.digest(disk.path, self.spec.grant.job_key, going_on, format_=disk.format)
        if digest is not None:  # else an event says why the move is given up
            self.say(Medium(target=disk.target, digest=digest))

    def _copy(self) -> None:
        """Let libvirt copy until the decision has fallen."""
        assert self.session is not None
        self._departure.vm = leaving(self.domains, self.offer, self.config.name)
        self._suspended = self.domains.suspended(self.offer.uuid)
        self._step(Phase.COPYING, **self._state())
        self._commit.prepare()
        self._doors = Doors(self.sockets, self.qemu_uid())
        self._doors.open(
            rpc=self._take_rpc,
            memory=lambda connection: Relay(self._open(StreamKind.MEMORY), connection),
            disk=lambda connection: ThinRelay(self._open(StreamKind.DISK), connection),
        )
        self._migration = Migration(self.config.libvirt_uri, self.config.name, self._request, self.offer.vm)
        self._commit.migration = self._migration
        self._migration.start()
        threading.Thread(target=self._await_migration, name="migration-end", daemon=True).start()
        self._first_byte_at = time.time()
        # Only a cancel aborts while this runs, and it says so in an event that comes after the verdict has changed.
        while self._decision.verdict is not Verdict.GO:
            match self.next_event(_TICK):
                case TimePassed():
                    self._report()
                    self._note_suspension()
                case LinkBroken(error) | SomethingFailed(error):
                    raise error
                case MessageHeard(message):
                    self._heard(message)

    def _take_rpc(self, connection: Any) -> None:
        assert self.session is not None
        relay = CommittingRelay(self.session.open(StreamKind.RPC), connection)
        said = seal.FINISHED in self.session.features
        relay.on_commit = self._finish_called
        relay.on_reply = lambda reply: self._commit.pass_on(reply, said=said)
        relay.on_read = self._reply_read
        relay.on_failed = self.failed
        relay.start()

    def hear(self, message: FromSource | FromDestination) -> None:
        """Take a message of the destination's worker; its word on the commit at once: the guest stands still."""
        if isinstance(message, Finished):
            self._commit.hear(message.reply)
        else:
            super().hear(message)

    def _finish_called(self) -> bool:
        self._see_suspension()
        return self._commit.take(suspended=self._suspended)

    def _state(self) -> dict[str, Any]:
        """Return what the journal needs of the VM while it is copied."""
        return {"id": self._departure.vm.id, "suspended": self._suspended}

    def _see_suspension(self) -> None:
        if self._migration is not None:
            self._suspended = self._migration.suspended

    def _note_suspension(self) -> None:
        """Write down that somebody has suspended the VM: libvirt resumes it when this worker dies."""
        known = self._suspended
        self._see_suspension()
        if self._suspended != known:
            self._decision.note(Phase.COPYING, **self._state())

    def _go(self) -> Go:
        """Return the message that hands the VM over."""
        return Go(suspended=self._suspended)

    def _reply_read(self, read: bool) -> None:
        """Send `go` at once when libvirt has read the reply: the guest stands still."""
        if read:
            self._see_suspension()
            self._decision.read(suspended=self._suspended)
            self._go_sent = self.say(self._go())
            self.events.put(Handed())
        else:
            self.failed(self.failure("libvirt did not read the reply that ends the migration"))

    def _await_migration(self) -> None:
        assert self._migration is not None
        self._migration.done.wait()
        why = self._migration.error or "libvirt ended the migration without handing the VM over"
        self.failed(self.failure(why))

    def _heard(self, message: FromSource | FromDestination) -> None:
        match message:
            case Failed():
                raise VmferryError.from_problem(message.problem)
            case Cancel():
                with suppress(UsageError):  # it comes too late, which ends nothing
                    self._cancel(message.caller)

    def _cancel(self, caller: str) -> None:
        if not self._decision.abort(f"cancelled by {caller}"):
            raise UsageError(codes.TOO_LATE, job=self.job)
        error = CancelledError(codes.CANCELLED, job=self.job, caller=caller, vm=self.offer.vm, host=self.config.name)
        self.events.put(SomethingFailed(error))

    def _give_up(self) -> None:
        if self._decision.abort("its deadline has come"):
            self.events.put(SomethingFailed(self.spec.deadline_error()))

    # --- the verdict, and what follows from it ------------------------------------------------------------------

    def _conclude(self) -> None:
        self._decision.abort(self._trouble.reason if self._trouble else "the copy is complete")
        self._commit.hear("")
        while self._decision.verdict is Verdict.COMMITTING:
            self._commit.find_out(suspended=self._suspended)
        if self._decision.verdict is Verdict.GO:
            self._settle()
        else:
            self._undo()

    def _settle(self) -> None:
        """The VM is the destination's: see that it runs there, then take it away here."""
        noted = self.jobs.last(self.job, Phase.GOING) is not None
        steps = {**self._definitions(), "remove": self._remove_disks}
        problem = self._departure.take(noted=noted, said=self._go_sent, go=self._go(), **steps)
        self.left += self._departure.left + self._remove_nonces()
        self.say(Bye())
        self.end(State.FAILED if problem else State.DONE, problem)

    def _undo(self) -> None:
        """The VM stays here: end the migration, tell the destination, see that the VM runs."""
        trouble = self._trouble or self.failure("it was given up")
        if self._migration is not None:
            self._suspended = self._migration.ask_suspended()
            self._migration.abort()
        by = str(trouble.fields["caller"]) if isinstance(trouble, CancelledError) else ""
        told = self.say(Abort(why=why(trouble), cancelled_by=by))
        if self._doors is not None:
            self._doors.close()
        if self.session is not None:
            self.session.close(linger=1.0)
        if self._migration is not None:
            self._migration.done.wait(_LIBVIRT_LIMIT)
        vm, suspended = self._departure.vm, self._suspended
        trouble = standing(trouble, keep_running(self.domains, vm, self.doubt, suspended=suspended))
        self._lock.lift()
        if not told:
            with suppress(VmferryError):  # it asks for the verdict itself as soon as it can
                self.peer().abort(self.job, self.proof(), why(trouble), by)
        self.left += self._remove_nonces()
        self.end(State.CANCELLED if isinstance(trouble, CancelledError) else State.FAILED, trouble)

    # --- small parts ---------------------------------------------------------------------------------------------

    def _definitions(self) -> dict[str, Any]:
        """Return how the destination hears of a definition that was changed meanwhile."""
        if self.jobs.last(self.job, Phase.SETTLING) is not None:  # an earlier worker may have taken it away since
            return {"tell": lambda *_: [], "tell_last": lambda *_: []}
        teller = definition.Teller(self.config.state_folder, self.spec, self.domains, self.say, self.next_event)
        return {"tell": teller.tell, "tell_last": teller.tell_last}

    def _remove_disks(self) -> list[str]:
        """Remove the files that are the VM's alone; returns what stays, with the reasons."""
        noted = self.jobs.last(self.job, Phase.CONNECTING)
        detail, lost = noted.detail if noted else {}, self._departure.lost
        return originals.remove(detail, lambda files: self.domains.around(files, self.offer.uuid), lost=lost)

    def _remove_nonces(self) -> list[str]:
        """Remove the files that proved what storage both hosts see; returns what stays, with the reasons."""
        return tried(lambda: proofs.remove(disk.nonce_file for disk in self.offer.disks))

    def _make_commit(self, verdict: Verdict) -> Commit:
        decision, mark = Decision(self.journal, verdict), self.folder / "commit"
        return Commit(decision, self.domains, self._lock, self.offer.uuid, mark, self.doubt)

    def _open(self, kind: StreamKind) -> Stream:
        assert self.session is not None
        stream = self.session.open(kind)
        self._streams[kind].append(stream)
        return stream

    def _wait_for(self, *kinds: type[FromDestination]) -> None:
        """Wait for a message of one of these kinds.

        Raises:
            VmferryError: why the move was given up meanwhile.
        """
        while True:
            match self.next_event(_TICK):
                case TimePassed():
                    self._report()
                case LinkBroken(error) | SomethingFailed(error):
                    raise error
                case MessageHeard(message) if isinstance(message, kinds):
                    return
                case MessageHeard(message):
                    self._heard(message)

    def _report(self) -> None:
        assert self.session is not None
        stats = self._migration.statistics() if self._migration else Statistics()
        sent = {kind: sum(stream.sent for stream in streams) for kind, streams in self._streams.items()}
        disk = sent[StreamKind.DISK] + sent[StreamKind.FILE]
        self.report(**self._meter.read(stats, self.session.sent, disk, sent[StreamKind.MEMORY]))
