"""What the two ends of a move share: the job's journal, its control socket, its unix sockets' folder, its events."""

import logging
import os
import pwd
import queue
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from vmferry.config import Config
from vmferry.core import codes, jobkey
from vmferry.core.errors import AccessError, InternalError, PreflightError, UsageError, VmferryError
from vmferry.core.job import Phase, Progress, Role, State, Summary
from vmferry.core.move import messages
from vmferry.core.move.events import LinkBroken, MessageHeard, SomethingFailed, TimePassed, WorkerEvent
from vmferry.core.move.messages import FromDestination, FromSource, WorkerMessage
from vmferry.core.request import Sockets
from vmferry.hypervisor.domains import Domains
from vmferry.hypervisor.storage import pools
from vmferry.identity.peer import PeerClient
from vmferry.jobs import control, spec
from vmferry.jobs.persist import Persistence, why
from vmferry.jobs.requests import WorkerAnswer, WorkerReport, WorkerRequest
from vmferry.jobs.spec import Spec
from vmferry.net import interfaces
from vmferry.store.database import BUSY, Database
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peers
from vmferry.store.settings import Settings
from vmferry.transfer.session.session import Credentials, Session

log = logging.getLogger("vmferry.transfer")
_MARK_LIMIT = 2.0


class Endpoint:
    """One end of one move.

    Arguments:
        config: this host's configuration.
        work: the job, as the daemon wrote it down.
        database: this process's connection to this host's records; whoever made it closes it.

    Nobody can reach it before `listen`: each end has fields of its own, made after these.
    """

    def __init__(self, config: Config, work: Spec, database: Database) -> None:
        self.config = config
        self.spec = work
        self.offer = work.offer
        self.job = work.job
        self.database = database
        self.jobs = Jobs(self.database, config.name)
        self.settings = Settings(self.database).host()
        self.domains = Domains(config.libvirt_uri, config.name, work.offer.vm)
        self.events: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
        self.session: Session | None = None
        self.interface: str | None = None  # that carries the session
        self.started = time.monotonic()
        self.phase = Phase.ADMITTED
        self.folder = control.folder(config.run_folder, self.job)
        self.sockets = Sockets(str(self.folder))
        self.left: list[str] = []  # what stays here though it should not, and why
        self.persistence = Persistence(self.doubt)
        self.control: control.ControlServer | None = None
        self._doubted = ""
        self._make_folder()

    def listen(self) -> None:
        """Serve the control socket from now on."""
        self.control = control.ControlServer(control.path(self.config.run_folder, self.job), self.answer)

    def answer(self, request: WorkerRequest) -> WorkerAnswer:
        """Answer a request on the control socket; each end knows its own."""
        raise NotImplementedError

    def journal(self, phase: Phase, wait: float = BUSY, **detail: Any) -> None:
        """Write a step down, durably, before it is taken.

        Arguments:
            wait: seconds to wait for others who write to the database.

        Raises:
            UsageError: job-ended; somebody else ended the job.
            InternalError: database-failed.
        """
        self.jobs.step(self.job, phase, wait, **detail)
        self.phase = phase
        carried = max(self.session.sent, self.session.received) if self.session else 0
        log.info("%s: %s, %d bytes carried", self._label(), phase.value, carried)
        self._publish(phase)

    def report(self, **numbers: Any) -> None:
        """Publish progress."""
        progress = Progress(phase=self.phase, elapsed=round(time.monotonic() - self.started, 1), **numbers)
        self._publish(progress)

    def doubt(self, reason: str) -> None:
        """Record what has to be waited for; nothing is guessed meanwhile.

        Raises:
            UsageError: job-ended; somebody else ended the job.
        """
        if reason != self._doubted:
            log.warning("%s: in doubt: %s", self._label(), reason)
        self._doubted = reason
        try:
            active = self.jobs.mark(self.job, State.IN_DOUBT, reason, wait=_MARK_LIMIT)
        except VmferryError as error:
            log.warning("%s: %s", self._label(), error.reason)  # what is waited for may be the database itself
            return
        if not active:
            raise UsageError(codes.JOB_ENDED, job=self.job, state=self.jobs.get(self.job).state.value)

    def summary(self) -> Summary:
        """Say how it went, as far as it came; each end knows its own."""
        raise NotImplementedError

    def end(self, state: State, error: VmferryError | None) -> None:
        """Record the end, however long that takes, and remove what was only this job's: sockets and secrets."""
        problem, summary = error.problem() if error else None, self.summary()
        self.persistence.take(
            "the end of the job cannot be written down", lambda: self.jobs.end(self.job, state, problem, summary)
        )
        log.info("%s: ended, %s%s", self._label(), state.value, f": {error.reason}" if error else "")
        if self.left and self.spec.role is Role.DESTINATION and state is not State.DONE:
            with suppress(OSError):  # the summary has it; vmferryd tries again
                spec.note_left(self.config.state_folder, self.job)
        self._publish(Phase.ENDED)
        if self.control is not None:
            self.control.close()
        clear(self.config, self.job)

    def close(self) -> None:
        """Let go of what this process holds; what is on record stays."""
        if self.session is not None:
            self.session.close(linger=2.0)
        files = {disk.path for disk in (self.offer if self.spec.role is Role.SOURCE else self.spec.grant).disks}
        pools.refresh(self.config.libvirt_uri, self.config.name, files)
        self.domains.close()

    def _publish(self, report: WorkerReport) -> None:
        if self.control is not None:
            self.control.publish(report)

    def _label(self) -> str:
        """Name the job in the log."""
        way = "to" if self.spec.role is Role.SOURCE else "from"
        return f"job {self.job}, {self.offer.vm} {way} {self.spec.peer}"

    def next_event(self, timeout: float) -> WorkerEvent:
        """Wait for what happens next, at most `timeout` seconds."""
        try:
            return self.events.get(timeout=timeout)
        except queue.Empty:
            return TimePassed()

    def say(self, message: WorkerMessage) -> bool:
        """Send the peer's worker a message; False when it cannot be reached over the session.

        Raises:
            ValueError: the message is longer than one can be.
        """
        if self.session is None:
            return False
        try:
            self.session.send(messages.write(message))
        except (OSError, VmferryError):
            return False
        return True

    def credentials(self) -> Credentials:
        """Give what the session authenticates with."""
        mine, theirs = self.offer.certificate, self.spec.grant.certificate
        if self.spec.role is Role.DESTINATION:
            mine, theirs = theirs, mine
        return Credentials(
            job=self.job,
            key=self.spec.grant.job_key,
            source_fingerprint=self.spec.source_fingerprint,
            destination_fingerprint=self.spec.destination_fingerprint,
            certificate=mine,
            private_key=self.spec.private_key,
            peer_certificate=theirs,
            encryption=self.offer.options.encryption.value == "required",
        )

    def adopt(self, session: Session) -> None:
        """Take a session into use: its end and its messages become events."""
        self.session = session
        self.interface = interfaces.of(session.address)
        session.on_message(self._receive_message)
        session.on_broken(lambda reason: self.events.put(LinkBroken(self.lost(reason))))

    def _receive_message(self, said: dict[str, Any]) -> None:
        """Read a message of the peer's worker.

        Raises:
            VmferryError: release-older or protocol; the session ends.
        """
        sender = Role.DESTINATION if self.spec.role is Role.SOURCE else Role.SOURCE
        message = messages.read(said, sender, self.config.name)
        if message is None:
            log.info("%s: a message of a later release is passed over", self._label())
        else:
            self.hear(message)

    def hear(self, message: FromSource | FromDestination) -> None:
        """Take a message of the peer's worker: it becomes an event."""
        self.events.put(MessageHeard(message))

    def proof(self) -> str:
        """Give the proof of the job key that the peer's daemon wants to see."""
        return jobkey.proof(
            self.spec.grant.job_key,
            self.job,
            self.spec.source_fingerprint,
            self.spec.destination_fingerprint,
            "control",
        )

    def failure(self, why: str) -> VmferryError:
        """Return the error of a move that failed before the commit."""
        return VmferryError(
            codes.MOVE_FAILED,
            vm=self.offer.vm,
            phase=self.phase.value,
            why=why,
            host=self.offer.source,
            advice="mend the cause, then move it again",
        )

    def failed(self, error: Exception) -> None:
        """Have whatever ended a thread end the copying, with its reason."""
        self.events.put(SomethingFailed(error if isinstance(error, VmferryError) else self.unexpected(error)))

    def unexpected(self, error: Exception) -> VmferryError:
        """Return the error of a move that failed before the commit by an exception of any kind."""
        if not isinstance(error, OSError):
            log.error("%s: failed", self._label(), exc_info=error)
        return self.failure(why(error))

    def lost(self, why: str) -> VmferryError:
        """Return the error of a connection that broke before the commit."""
        return VmferryError(
            codes.LINK_LOST,
            peer=self.spec.peer,
            phase=self.phase.value,
            why=why,
            vm=self.offer.vm,
            host=self.offer.source,
        )

    def died(self, phase: Phase) -> VmferryError:
        """Return the error of a job whose worker died before the commit."""
        return VmferryError(
            codes.WORKER_DIED,
            job=self.job,
            host=self.config.name,
            phase=phase.value,
            vm=self.offer.vm,
            owner=self.offer.source,
        )

    def peer(self) -> PeerClient:
        """Give a client for the peer's daemon, for when the session is gone.

        Raises:
            AccessError: the hosts are not paired any more.
        """
        found = Peers(self.database).get(self.spec.peer)
        if found is None:
            raise AccessError(codes.NOT_PAIRED, host=self.spec.peer)
        return PeerClient(self.config, found)

    def require_own_folder(self) -> None:
        """Check that the other host has the job's sockets at the same path.

        Raises:
            PreflightError: run-folder-differs.
        """
        if self.spec.grant.socket_folder != str(self.folder):
            names = {"host": self.spec.peer, "local": self.config.name}
            theirs = self.spec.grant.socket_folder
            raise PreflightError(codes.RUN_FOLDER_DIFFERS, theirs=theirs, ours=str(self.folder), **names)

    def qemu_uid(self) -> int:
        """Give the uid that QEMU runs as here."""
        try:
            return pwd.getpwnam(self.config.qemu_user).pw_uid
        except KeyError as error:
            raise InternalError(codes.INTERNAL, why=f"there is no user {self.config.qemu_user}") from error

    def _make_folder(self) -> None:
        """Make the folders of the job's sockets.

        Where QEMU makes sockets itself, at the destination, one folder is its user's. At the source all are root's:
        nobody else puts a name where root binds, and gives a socket to QEMU's user.
        """
        for place in (self.folder.parent, self.folder):
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o711)
        inner = Path(self.sockets.qemu)
        inner.mkdir(exist_ok=True)
        handle = os.open(inner, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            is_qemus = self.spec.role is Role.DESTINATION
            os.fchown(handle, self.qemu_uid() if is_qemus else os.geteuid(), os.getegid())
            os.fchmod(handle, 0o700 if is_qemus else 0o711)
        finally:
            os.close(handle)


def clear(config: Config, job: str) -> None:
    """Remove the sockets and secrets of a job that has ended; what cannot be removed now goes at vmferryd's start."""
    control.remove_folder(config.run_folder, job)
    try:
        spec.forget(config.state_folder, job)
    except OSError as error:
        log.warning("job %s: %s", job, why(error))
