"""The destination's end of a move: makes the disks, lets the guarded migration in, resumes the VM on `go`."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from vmferry.core import codes
from vmferry.core.errors import CancelledError, UsageError, VmferryError
from vmferry.core.job import Phase, Role, State, Summary
from vmferry.core.kinds import ArtifactType
from vmferry.core.libvirt import firmware
from vmferry.core.messages.api import KnownVerdict
from vmferry.core.messages.offer import Address
from vmferry.core.move import phases as table
from vmferry.core.move.events import LinkBroken, MessageHeard, SomethingFailed, TimePassed
from vmferry.core.move.messages import (
    Abort,
    Bye,
    Cancel,
    Define,
    Defined,
    Failed,
    FileReady,
    Finished,
    Go,
    Medium,
    StreamKind,
    Stuck,
)
from vmferry.core.move.phases import Recovery, Verdict
from vmferry.core.policy.networks import Local
from vmferry.core.policy.settings import listening, require_network
from vmferry.core.request import build
from vmferry.hypervisor.vigil import Vigil
from vmferry.jobs import requests
from vmferry.jobs.decision import COMMIT_LIMIT, resolved, suspended
from vmferry.jobs.persist import tried, why
from vmferry.jobs.requests import AddressesRequest, CancelRequest, Listening, RequestTaken, WorkerAnswer, WorkerRequest
from vmferry.net import interfaces
from vmferry.net.localsockets import dial
from vmferry.store.jobs import JournalStep
from vmferry.transfer.disks import newdisks
from vmferry.transfer.disks.comparison import Comparison
from vmferry.transfer.disks.newdisks import Made, NewDisks
from vmferry.transfer.disks.space import SpaceGuard
from vmferry.transfer.relay import Relay
from vmferry.transfer.rpc.guard import Authorised
from vmferry.transfer.rpc.relay import GuardedRelay
from vmferry.transfer.session.connect import SessionListener
from vmferry.transfer.session.stream import Stream
from vmferry.transfer.worker.arrival import Arrival
from vmferry.transfer.worker.commit import digest
from vmferry.transfer.worker.definition import take
from vmferry.transfer.worker.endpoint import Endpoint
from vmferry.transfer.worker.owncopy import OwnCopy
from vmferry.transfer.worker.silence import Silence

# How long a worker waits for the source to connect: after that the source has died or thought better of it.
_CONNECT_LIMIT = 60.0
_ASK_AGAIN = 1.0

log = logging.getLogger("vmferry.transfer")


class Destination(Endpoint):
    """One incoming move."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._listener: SessionListener | None = None
        self._addresses_known = threading.Event()
        self._trouble: VmferryError | None = None
        self._lock = threading.Lock()
        self._finishing = False
        self._given_up = False
        self._ended = threading.Event()
        self._comparison: Comparison | None = None
        self._request = build(self.offer, self.spec.grant, str(self.folder))
        self._copy = OwnCopy(
            self.domains,
            self.offer,
            self.config.name,
            journal=lambda **detail: self.journal(Phase.COPYING, **detail),
            unless_given_up=self._unless_given_up,
        )
        self._vigil = Vigil(
            self.config.libvirt_uri, self.config.name, lambda: self._copy.vm, suspended=self._resumed_by_hand
        )
        self._disks = NewDisks(
            self.offer.artifacts,
            self.spec.grant.artifacts,
            allowed={
                ArtifactType.DISK: self.config.disk_folders,
                ArtifactType.FIRMWARE_VARIABLES: self.config.nvram_folders,
            },
            qemu_user=self.config.qemu_user,
            journal=lambda files: self.journal(Phase.ADMITTED, files=files),
            host=self.config.name,
            vm=self.offer.vm,
            template=firmware.template(self.spec.grant.live_xml),
        )

    # --- from beginning to end --------------------------------------------------------------------------------

    def run(self) -> None:
        """Take part in a move from its beginning."""
        try:
            self._prepare()
            self._receive()
        except VmferryError as error:
            self._trouble = self._trouble or error
        except Exception as error:
            self._trouble = self._trouble or self.unexpected(error)
        self._conclude()

    def recover(self, steps: Sequence[JournalStep]) -> None:
        """Go on after an earlier worker of this job died; core/move/phases.py says how."""
        phases = [step.phase for step in steps]
        self.phase = table.reached(Role.DESTINATION, phases)
        self._trouble = self._trouble or self.died(self.phase)
        self._finishing = self._finishing or table.verdict(Role.DESTINATION, phases) is Verdict.COMMITTING
        self._copy.recall(steps)
        recovery = table.recovery(Role.DESTINATION, phases)
        if recovery in (Recovery.LET_RUN, Recovery.DEFINE):
            self._go(Go(suspended=suspended(steps)))
        elif recovery is Recovery.UNDO:
            self._undo()
        else:
            self._vigil.start()
            if (word := resolved(steps)) is not None:  # it was said while no worker could hear it
                self.events.put(MessageHeard(word))
            self._conclude()

    def answer(self, request: WorkerRequest) -> WorkerAnswer:
        """Answer vmferryd: where this worker listens, or the source's word that came by way of it."""
        match request:
            case AddressesRequest():
                self._addresses_known.wait(20.0)
                if self._listener is None:
                    raise self._trouble or self.failure("the worker ended before it listened")
                return Listening(addresses=[Address(host=host, port=port) for host, port in self._listener.addresses])
            case Go() | Abort():
                self.events.put(MessageHeard(request))
                if self.session is None and self._listener is not None:
                    self._listener.close()  # wakes a worker that still waits for the source to connect
                self._ended.wait(12.0)
                return RequestTaken(ended=self._ended.is_set())
            case CancelRequest(force=True):
                self._give_up(request.caller)
            case CancelRequest():
                self.say(Cancel(caller=request.caller))
            case _:
                raise requests.cannot(request.do)
        return RequestTaken()

    def summary(self) -> Summary:
        """Say how it went."""
        return Summary(
            total_time=time.monotonic() - self.started,
            wire_bytes=self.session.received if self.session else 0,
            connections=self.session.connections if self.session else [],
            interface=self.interface,
            left=self.left,
        )

    # --- before the commit -------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        try:
            self.require_own_folder()
            self._disks.make()
            self._listener = SessionListener(self._places(), self.config.data_ports, self.credentials())
        except VmferryError as error:
            self._trouble = error
            raise
        except Exception as error:
            self._trouble = self.unexpected(error)
            raise
        finally:
            self._addresses_known.set()

    def _places(self) -> list[Local]:
        addresses, config = interfaces.addresses(), self.config
        require_network(self.settings, addresses, config.name)
        return listening(self.settings, addresses, self.offer.networks, config.address)

    def _receive(self) -> None:
        assert self._listener is not None
        self.journal(Phase.CONNECTING)
        session = self._listener.accept(_CONNECT_LIMIT)
        session.on_open(self._take)
        self.adopt(session)
        self.journal(Phase.COPYING)
        self._vigil.start()
        self._comparison = Comparison(
            self.offer,
            self.spec.grant.disks,
            self.spec.grant.job_key,
            self.config.name,
            self.qemu_uid(),
            self._compared,
        )
        silence = Silence(self.config.silence_limit)
        room = SpaceGuard(self.offer, self.spec.grant.disks, self.config.name)
        while True:
            match self.next_event(1.0):
                case MessageHeard(Go() | Abort()) as verdict:
                    self.events.put(verdict)  # taken up in _conclude
                    return
                case MessageHeard(Medium(target=target, digest=claimed)):
                    self._comparison.claim(target, claimed)
                case LinkBroken(error) | SomethingFailed(error):
                    raise error
                case TimePassed():
                    self.report(wire_bytes=session.received)
                    room.check()
                    if silence.too_long(session.arrived) and not self._finishing:
                        raise self.failure(f"{self.spec.peer} has sent nothing for {self.config.silence_limit:g} s")

    def _take(self, kind: str, stream: Stream) -> None:
        """Connect a stream that the source opened to its end here."""
        try:
            if kind in (StreamKind.RPC, StreamKind.MEMORY, StreamKind.DISK):
                self._disks.require_whole()
            match kind:
                case StreamKind.RPC:
                    self._take_rpc(stream)
                case StreamKind.MEMORY:
                    Relay(stream, dial(self.sockets.memory, self.qemu_uid()))
                case StreamKind.DISK:
                    Relay(stream, dial(self.sockets.disk, self.qemu_uid()))
                case StreamKind.FILE:
                    threading.Thread(target=self._take_file, args=(stream,), name="file", daemon=True).start()
                case _:
                    stream.reset(f"there is no kind {kind}")
        except OSError as error:
            stream.reset(str(error))  # QEMU or libvirtd went away, and libvirt's call says why
        except Exception as error:
            self.failed(error)
            stream.reset(why(error))

    def _take_rpc(self, stream: Stream) -> None:
        request = self._request
        authorised = Authorised.of(request, host=self.config.name)
        relay = GuardedRelay(stream, dial(str(self.config.libvirt_socket), os.geteuid()), authorised)
        relay.on_prepare = self._copy.announce
        relay.on_prepared = self._copy.made
        relay.on_finish = self._finish_called
        relay.on_finished = self._finished
        relay.on_failed = self.failed
        relay.start()

    def _take_file(self, stream: Stream) -> None:
        try:
            self.say(FileReady(target=self._disks.receive(stream)))
        except Exception as error:  # whatever it is, the source waits for this file, and must hear of it
            self.failed(error)

    def _compared(self, target: str, error: VmferryError | None) -> None:
        """Tell the source that a medium that is here is the same, or end the move."""
        if error is None:
            self._disks.found(target)
            self.say(FileReady(target=target))
        else:
            self.failed(error)

    def _give_up(self, caller: str) -> None:
        """End the move on this host's own word, as long as the VM cannot be its: the source is not asked.

        Raises:
            UsageError: past-force; only the source can tell now.
        """
        offer = self.offer
        with self._lock:
            if self._finishing:
                raise UsageError(codes.PAST_FORCE, job=self.job, vm=offer.vm, peer=self.spec.peer)
            self._given_up = True
        self._trouble = CancelledError(codes.CANCELLED, job=self.job, caller=caller, vm=offer.vm, host=offer.source)
        self.events.put(SomethingFailed(self._trouble))
        if self.session is None and self._listener is not None:
            self._listener.close()  # wakes a worker that still waits for the source to connect

    def _resumed_by_hand(self) -> None:
        """Tell that somebody resumed the copy before it was this host's, and that it was suspended again."""
        why = (
            f"somebody resumed {self.offer.vm} here before {self.spec.peer} had handed it over; it was suspended again"
        )
        log.warning("job %s: %s", self.job, why)
        # After the fact, for this step cannot wait: meanwhile it runs beside the one at the source.
        self.jobs.note(self.job, COMMIT_LIMIT, resumed=why)
        self.jobs.mark(self.job, self.jobs.get(self.job).state, why)

    def _unless_given_up(self, step: Callable[[], None]) -> None:
        """Take a step that nothing may follow which undoes the move: the two would miss each other."""
        with self._lock:
            if self._given_up:
                raise self.failure("it was given up meanwhile")
            step()

    def _finish_called(self) -> None:
        """Journal that libvirt's Finish is called: from here on only the source can tell whose the VM is."""
        self._unless_given_up(self._note_finishing)

    def _finished(self, reply: bytes) -> None:
        """Tell the source what libvirt replies here: only on this word it lets its own libvirt end its copy."""
        self.say(Finished(reply=digest(reply)))

    def _note_finishing(self) -> None:
        self.journal(Phase.FINISHING, wait=COMMIT_LIMIT)
        self._finishing = True

    # --- the verdict, and what follows from it ------------------------------------------------------------------

    def _conclude(self) -> None:
        if self._comparison is not None:
            self._comparison.stop()
        with self._lock:
            self._given_up = not self._finishing
        go = self._verdict()
        if go is not None:
            self._go(go)
        else:
            self._undo()

    def _verdict(self) -> Go | None:
        """Wait for the source's decision; before Finish was called here there can be only one.

        Returns:
            The source's word `go`; None: the move is given up.
        """
        while True:
            event = self.next_event(_ASK_AGAIN if self._finishing else 0.0)
            match event:
                case MessageHeard(Abort() as message):
                    said = self._given_up_there(message)
                    if self._trouble is None or isinstance(said, CancelledError):
                        self._trouble = said
                    return None
                case MessageHeard(Go() as message) if self._finishing:
                    return message
            to_ask = isinstance(event, TimePassed | LinkBroken)
            if not self._finishing and (to_ask or self.session is None):
                return None
            if not to_ask:
                continue
            try:
                said_there = self.peer().verdict(self.job, self.proof())
            except VmferryError as error:
                self.doubt(f"{self.spec.peer} alone can tell whether the VM may run here: {why(error)}")
                continue
            if said_there.verdict is KnownVerdict.GO:
                return Go(suspended=said_there.suspended)
            if said_there.verdict is KnownVerdict.ABORT:
                return None

    def _given_up_there(self, message: Abort) -> VmferryError:
        """Return why the source gave the move up: it was cancelled, or it failed."""
        if message.cancelled_by:
            who = message.cancelled_by[:200]
            vm, host = self.offer.vm, self.offer.source
            return CancelledError(codes.CANCELLED, job=self.job, caller=who, vm=vm, host=host)
        return self.failure(message.why or "the source gave it up")

    def _go(self, said: Go) -> None:
        """Make the VM this host's own. Idempotent, and never fails: it is done, or waits, or the VM has ended.

        Arguments:
            said: the source's word.
        """
        self._vigil.end()
        self._trouble = None
        settling = self.jobs.last(self.job, Phase.SETTLING)
        ran = None if settling is None else bool(settling.detail.get("ran", True))
        noted = self.jobs.last(self.job, Phase.GOING) is not None
        lost = self._arrival().take(noted=noted, ran=ran, suspended=said.suspended)
        self.end(State.FAILED if lost else State.DONE, lost)
        self.say(Stuck(problem=lost.problem()) if lost else Defined())
        self._ended.set()
        self._linger()

    def _arrival(self) -> Arrival:
        grant = self.spec.grant
        vm = self._copy.vm
        return Arrival(self, self.domains, vm, self.offer, self.config.name, grant.persistent_xml, grant.disks)

    def _undo(self) -> None:
        """Remove what was made here. Idempotent."""
        trouble = self._trouble or self.failure("the source gave it up")
        if self.phase is not Phase.UNDOING:
            self.persistence.take("the journal cannot be written", lambda: self._note_undoing(trouble))
        self.say(Failed(problem=trouble.problem()))
        if self._listener is not None:
            self._listener.close()
        if self.session is not None:
            self.session.abort(trouble.reason)
        self.left += self.persistence.take("the unfinished copy cannot be removed", self._copy.remove)
        self._vigil.end()
        self._disks.close()
        self.left += tried(lambda: newdisks.remove(self._made()))
        self.end(State.CANCELLED if isinstance(trouble, CancelledError) else State.FAILED, trouble)
        self._ended.set()

    def _note_undoing(self, trouble: VmferryError) -> None:
        self.journal(Phase.UNDOING, why=trouble.reason)

    def _made(self) -> list[Made]:
        step = self.jobs.last(self.job, Phase.ADMITTED)
        return newdisks.recorded(step.detail) if step else []

    def _linger(self) -> None:
        """Stay until the source has heard the end, so that nothing it waits for is cut off."""
        limit = time.monotonic() + 5.0
        while self.session is not None and time.monotonic() < limit:
            match self.next_event(0.5):
                case MessageHeard(Define() as message):
                    self.say(take(self.config, self.domains, self.spec, message))
                case LinkBroken() | MessageHeard(Bye()):
                    break
        if self._listener is not None:
            self._listener.close()
