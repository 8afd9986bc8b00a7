"""A move into this host, as far as vmferryd takes it: authorise, plan, grant, start the worker, pass words on."""

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vmferry.agent.moves import workers
from vmferry.agent.moves.nonces import Challenges
from vmferry.agent.moves.offers import Offers
from vmferry.agent.services import LauncherService
from vmferry.config import Config
from vmferry.core import codes, jobkey
from vmferry.core.errors import (
    InternalError,
    PreflightError,
    UsageError,
    VmferryError,
)
from vmferry.core.job import Phase, Role, State
from vmferry.core.messages.api import Outcome
from vmferry.core.messages.finding import blocker, ordered, require_none
from vmferry.core.messages.offer import (
    Admission,
    Challenge,
    ChallengeRequest,
    Grant,
    Hold,
    Offer,
    Proposal,
    Report,
)
from vmferry.core.messages.snapshot import DestinationSnapshot
from vmferry.core.move.messages import Abort, Go
from vmferry.core.policy.admission import booked_memory, booked_space
from vmferry.core.policy.settings import HostSettings, listening, require_enabled, require_encryption
from vmferry.hypervisor.snapshot import Snapshots
from vmferry.identity import certificates, site
from vmferry.identity.peer import PeerClient
from vmferry.jobs import control, spec
from vmferry.jobs.spec import Spec
from vmferry.net import interfaces
from vmferry.preflight import case, checks, plan
from vmferry.preflight.case import Case, End, FreeSlot
from vmferry.store.admissions import Admissions
from vmferry.store.jobs import JobRow, Jobs
from vmferry.store.peers import Peer, Peers
from vmferry.store.settings import Settings
from vmferry.transfer.disks import newdisks

_JOB = re.compile(r"[0-9a-f]{12}")
_WORKER_LIMIT = 12.0  # less than the source's patience with this call
_FIXED = ("job", "vm", "uuid", "caller", "source", "options", "kind", "certificate")  # of an offer that is made anew

log = logging.getLogger("vmferry.agent")


@dataclass(frozen=True, slots=True)
class IncomingMoves:
    """Takes VMs in from paired hosts (agent/services.py: Incoming)."""

    config: Config
    jobs: Jobs
    admissions: Admissions
    peers: Peers
    settings: Settings
    snapshots: Snapshots
    launcher: LauncherService
    fingerprint: str
    client: Callable[[Config, Peer], PeerClient] = PeerClient
    challenges: Challenges = field(default_factory=Challenges)
    booking: threading.Lock = field(default_factory=threading.Lock)

    def challenge(self, request: ChallengeRequest, peer: Peer) -> Challenge:
        """Draw what a source is to write beside a VM's disks, so that this host can look whether it sees them."""
        return Challenge(nonce=self.challenges.draw(peer.name, request.uuid))

    def check(self, vm: Proposal, peer: Peer) -> Report:
        """Say whether and how a VM could come here; nothing is made.

        Raises:
            VmferryError: the proposal itself is wrong, or libvirt does not answer.
        """
        if vm.source != peer.name:
            raise UsageError(codes.BAD_REQUEST, detail="the proposal is not from the host that sends it")
        report, _ = self._judge(vm, peer.name)
        storage = any(disk.made for disk in report.disks)
        refusal = self.admissions.refusal("", storage=storage, limits=self.settings.host().limits)
        room = case.run(checks.OF_SLOT, FreeSlot(self.config.name, source=False, refusal=refusal))
        return report.model_copy(update={"findings": ordered(report.findings + room)})

    def offer(self, offer: Offer, peer: Peer) -> Grant:
        """Authorise an offer, or say why not; nothing is made yet but the job's record.

        Raises:
            VmferryError: why the VM cannot come here.
        """
        if offer.source != peer.name or not _JOB.fullmatch(offer.job) or self.jobs.find(offer.job):
            raise UsageError(codes.BAD_REQUEST, detail="the offer is not from the host that sends it, or not new")
        certificate, private_key = certificates.create(f"{self.config.name} job {offer.job}")
        with self.booking:  # until its memory and space are booked, nobody else may count on them
            return self._take(offer, peer, certificate, private_key)

    def _take(self, offer: Offer, peer: Peer, certificate: str, private_key: str) -> Grant:
        report, here = self._judge(offer, peer.name)
        require_none(report.findings)
        grant = Grant(
            job_key=jobkey.new(),
            live_xml=report.live_xml,
            persistent_xml=report.persistent_xml,
            artifacts=plan.artifacts(offer, report.disks),
            findings=report.findings,
            certificate=certificate,
            addresses=report.addresses,
            socket_folder=str(control.folder(self.config.run_folder, offer.job)),
        )
        options = offer.options.model_dump(mode="json", exclude_defaults=True)
        with self.settings.held() as settings:  # whoever disables migration now sees the job, or the job sees it
            require_enabled(settings, self.config.name)
            self._offers.make_room(offer, peer)
            asked = (Role.DESTINATION, offer.vm, peer.name, offer.caller, options, State.WAITING)
            self.jobs.create(offer.job, *asked, kind=offer.kind)
            if offer.place:
                storage = any(disk.made for disk in report.disks)
                refusal = self.admissions.ask(offer.job, storage=storage, limits=settings.limits)
                self._book(offer, here)
                grant = grant.model_copy(update={"refusal": refusal})
        spec.save(
            self.config.state_folder,
            Spec(
                role=Role.DESTINATION,
                offer=offer,
                grant=grant,
                private_key=private_key,
                peer=peer.name,
                source_fingerprint=peer.fingerprint,
                destination_fingerprint=site.known_as(self.config, self.fingerprint, peer)[1],
                requested_at=time.time(),
            ),
        )
        return grant

    def key(self, job: str) -> str:
        """Give the job's key, to check a proof with.

        Raises:
            AccessError: job-key-wrong; there is no such job, or it has ended.
        """
        return spec.key(self.config.state_folder, job)

    def hold(self, job: str) -> Hold:
        """Keep a place for a move that waits.

        Raises:
            VmferryError: it can come no more: how the job ended, or migration-disabled.
        """
        with self.settings.held() as settings:
            row = self._not_ended(job)
            require_enabled(settings, self.config.name)
            return Hold(refusal=self._place(row, settings), admitted=row.state is not State.WAITING)

    def release(self, job: str) -> None:
        """Take a place back that was kept."""
        if self.jobs.get(job).state is State.WAITING:
            self.admissions.release(job)

    def renew(self, job: str, offer: Offer) -> Grant:
        """Plan anew for a move that waited, and book what it needs now.

        Raises:
            VmferryError: why the VM cannot come any more, or that this is not the VM that was offered.
        """
        row = self._not_ended(job)
        work = spec.load(self.config.state_folder, job)
        if any(getattr(offer, name) != getattr(work.offer, name) for name in _FIXED):
            raise UsageError(codes.BAD_REQUEST, detail=f"the offer is not that of job {job}")
        self._require_waiting(row)
        with self.booking:
            report, here = self._judge(offer, row.peer, job)
            require_none(report.findings)
            told = {"live_xml", "persistent_xml", "addresses", "findings"}
            anew = {name: getattr(report, name) for name in told}
            anew |= {"artifacts": plan.artifacts(offer, report.disks), "refusal": None}
            grant = work.grant.model_copy(update=anew)
            with self.settings.held():  # whoever admits the job now has done so, or finds what is planned here
                self._require_waiting(self._not_ended(job))
                spec.save(self.config.state_folder, work.model_copy(update={"offer": offer, "grant": grant}))
                self._book(offer, here)
        return grant

    def admit(self, job: str) -> Admission:
        """Start the worker, which makes the disks and listens; returns where.

        Raises:
            PreflightError: limit-reached: the place that was kept for it has gone to another.
            VmferryError: what the worker could not do.
        """
        with self.settings.held() as settings:
            row = self._not_ended(job)
            if row.state is State.WAITING:  # the settings count as they are now, and not when it was offered
                require_enabled(settings, self.config.name)
                asked = spec.load(self.config.state_folder, job).offer.options
                require_encryption(settings, asked.encryption, self.config.name)
            self._require_alone(row)
            refusal = self._place(row, settings) or self._unprovided(row)
            if refusal is not None:
                raise PreflightError(codes.LIMIT_REACHED, reason=refusal, host=self.config.name)
            self.admissions.keep(job)
            self.jobs.mark(job, State.RUNNING, None)
        self.launcher.start(job)
        limit = time.monotonic() + _WORKER_LIMIT
        while True:
            try:
                addresses = control.addresses(self.config.run_folder, job, timeout=_WORKER_LIMIT)
            except OSError as error:
                row = self.jobs.get(job)
                if row.error is not None:
                    raise VmferryError.from_problem(row.error) from error
                if time.monotonic() > limit:
                    raise InternalError(codes.INTERNAL, why=f"the worker of job {job} did not start") from error
                time.sleep(0.01)  # until its socket is there
            else:
                return Admission(addresses=addresses)

    def abort(self, job: str, reason: str, cancelled_by: str = "") -> None:
        """Pass on that the source gave the move up, and who cancelled it there, if anybody did."""
        row = self.jobs.get(job)
        if row.state is State.WAITING and self._offers.drop(row, reason, cancelled_by):
            return  # never admitted: there is no worker, and nothing was made
        row, said = self.jobs.get(job), Abort(why=reason, cancelled_by=cancelled_by)
        if row.state.ended:
            return
        if row.phase is Phase.OFFERED:  # it has just been admitted, and its worker has yet to listen
            workers.tell(self.config, self.jobs, self.launcher, job, said, patience=_WORKER_LIMIT)
        else:
            self._tell(job, said)

    def tidy(self) -> None:
        """End offers that wait here and that nobody will take up any more."""
        self._offers.tidy()

    def go(self, job: str, *, suspended: bool = False) -> Outcome:
        """Pass on that the VM is this host's; returns whether it runs here and is defined, or why not.

        Arguments:
            suspended: whether a person had suspended it, so that it stays so.
        """
        row = self.jobs.get(job)
        if not row.state.ended:
            self._tell(job, Go(suspended=suspended))
            row = self.jobs.get(job)
        return Outcome(ended=row.state.ended, problem=row.error, reason=row.reason)

    @property
    def _offers(self) -> Offers:
        return Offers(self.config, self.jobs, self.admissions, self.peers, self.client)

    # --- parts ------------------------------------------------------------------------------------------------

    def _tell(self, job: str, said: Go | Abort) -> bool:
        try:
            control.call(self.config.run_folder, job, said, timeout=14.0)
        except OSError:
            if self.jobs.get(job).phase is not Phase.OFFERED:
                self.launcher.start(job)  # it died; started again, it asks the source itself
            return False
        return True

    def _not_ended(self, job: str) -> JobRow:
        row = self.jobs.get(job)
        if row.state.ended:
            raise VmferryError.from_problem(row.error) if row.error else UsageError(codes.TOO_LATE, job=job)
        return row

    def _require_waiting(self, row: JobRow) -> None:
        if row.state is not State.WAITING:
            raise UsageError(codes.BAD_REQUEST, detail=f"the offer for job {row.id} comes too late")

    def _place(self, row: JobRow, settings: HostSettings) -> str | None:
        """Ask for a job's place; gives why it has none."""
        if row.state is not State.WAITING:
            return None  # it was admitted, and the answer was lost
        storage = spec.load(self.config.state_folder, row.id).copies_storage
        return self.admissions.ask(row.id, storage=storage, limits=settings.limits)

    def _unprovided(self, row: JobRow) -> str | None:
        """Return why a job may not begin with the place that it has: what it needs is not booked with it."""
        booked = any(entry.memory for entry in self.admissions.entries() if entry.job == row.id)
        if booked or row.state is not State.WAITING:
            return None
        return f"its place on {self.config.name} had lapsed, and what it needs has to be looked at again"

    def _require_alone(self, row: JobRow) -> None:
        """See that no other job moves a VM of that name or UUID here: others may have offered one too, and been first.

        Raises:
            PreflightError: vm-busy.
        """
        uuid = spec.load(self.config.state_folder, row.id).offer.uuid
        for other in self.jobs.active():
            if other.id == row.id or other.state is State.WAITING:
                continue
            if other.vm == row.vm or uuid == _uuid(self.config.state_folder, other.id):
                raise PreflightError(codes.VM_BUSY, vm=row.vm, job=other.id)

    def _book(self, offer: Offer, here: DestinationSnapshot) -> None:
        """Book the memory and space of a job that has a place."""
        space: dict[str, int] = {}
        for disk, place in zip(offer.disks, here.places, strict=True):
            if not place.shared and not place.present:
                device = str(place.device)
                space[device] = space.get(device, 0) + disk.space(full=offer.options.full_space)
        self.admissions.book(offer.job, offer.memory, space)

    def _judge(self, vm: Proposal, peer: str, job: str | None = None) -> tuple[Report, DestinationSnapshot]:
        """Plan how a VM would be here, and check whether it can.

        Arguments:
            peer: the source.
            job: whose own booking does not count; None: it has none.
        """
        config, settings, addresses = self.config, self.settings.host(), interfaces.addresses()
        end = End(config.name, settings, addresses, vm.options.encryption, source=False)
        nonce = self.challenges.take(peer, vm.uuid, {disk.nonce for disk in vm.disks if disk.nonce})
        here = self._unbooked(self.snapshots.destination(vm, plan.paths(vm), nonce, self._files(job)), job)
        planned = plan.make(vm, here)
        findings = case.run(checks.OF_MOVE, Case(vm, here, planned))
        if blocker(findings) is None:
            # Only what this host's own policy takes is shown to libvirt.
            refusal = self.snapshots.refusal(planned.live_xml, planned.persistent_xml)
            findings = case.run(checks.OF_MOVE, Case(vm, here, planned, refusal)) if refusal else findings
        report = Report(
            vm=vm.vm,
            source=vm.source,
            destination=config.name,
            findings=ordered(case.run(checks.OF_HOST, end) + findings),
            disks=planned.disks,
            addresses=[local.address for local in listening(settings, addresses, vm.networks, config.address)],
            live_xml=planned.live_xml,
            persistent_xml=planned.persistent_xml,
        )
        return report, here

    def _unbooked(self, here: DestinationSnapshot, job: str | None) -> DestinationSnapshot:
        """Leave of what is free only what no other move has booked."""
        now = time.time()
        others = [entry for entry in self.admissions.entries() if entry.job != job and entry.has_slot(now)]
        incoming = [entry for entry in others if entry.memory or entry.space]
        memory = {entry.job: self.snapshots.resident(self.jobs.get(entry.job).vm) for entry in incoming}
        space = {entry.job: self._occupied(entry.job) for entry in incoming}
        taken = booked_space(others, space, now)
        return here.model_copy(
            update={
                "memory": here.memory - booked_memory(others, memory, now),
                "places": [
                    place.model_copy(update={"free": place.free - taken.get(str(place.device), 0)})
                    for place in here.places
                ],
            }
        )

    def _files(self, job: str | None) -> dict[tuple[int, int], str]:
        """Return the files that other moves have made here: device and inode -> whose."""
        found = {}
        for row in self.jobs.active():
            step = self.jobs.last(row.id, Phase.ADMITTED) if row.id != job else None
            for made in newdisks.recorded(step.detail) if step else []:
                if made.identity:
                    found[made.identity.device, made.identity.inode] = f"a disk of {row.vm}, which job {row.id} moves"
        return found

    def _occupied(self, job: str) -> dict[str, int]:
        """Return the bytes that the files which a job has made take already, by file system."""
        step = self.jobs.last(job, Phase.ADMITTED)
        return newdisks.occupied(newdisks.recorded(step.detail)) if step else {}


def _uuid(state_folder: Path, job: str) -> str | None:
    try:
        return spec.load(state_folder, job).offer.uuid
    except FileNotFoundError:
        return None  # a job of this host's own that is not agreed on yet: its VM is here, and so is its UUID
