"""What the two ends of a move share: the job's journal, its control socket, its unix sockets' folder, its events."""

import logging
import os
import pwd
import queue
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from vmferry.config import Config
from vmferry.core import codes, jobkey
from vmferry.core.errors import AccessError, InternalError, PreflightError, UnreachableError, VmferryError
from vmferry.core.job import Phase, Progress, Role, State, Summary
from vmferry.core.request import Sockets
from vmferry.hypervisor import pools, safefiles
from vmferry.hypervisor.domains import Domains
from vmferry.identity.peer import PeerClient
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peers
from vmferry.store.settings import Settings
from vmferry.transfer import control, interfaces, spec
from vmferry.transfer.session import Credentials, Session
from vmferry.transfer.spec import Spec

log = logging.getLogger("vmferry.transfer")


class Endpoint:
    """One end of one move.

    Arguments:
        config: this host's configuration.
        work: the job, as the daemon wrote it down.
    """

    def __init__(self, config: Config, work: Spec) -> None:
        self.config = config
        self.spec = work
        self.offer = work.offer
        self.job = work.job
        self.database = Database(config.database)
        self.jobs = Jobs(self.database, config.name)
        self.settings = Settings(self.database).host()
        self.domains = Domains(config.libvirt_uri, config.name)
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.session: Session | None = None
        self.interface: str | None = None  # that carries the session
        self.started = time.monotonic()
        self.phase = Phase.ADMITTED
        self.folder = control.folder(config.run_folder, self.job)
        self.sockets = Sockets(str(self.folder))
        self._make_folder()
        self.control = control.ControlServer(control.path(config.run_folder, self.job), self.answer)

    def answer(self, request: control.Message) -> control.Message:
        """Answer a request on the control socket; each end knows its own."""
        raise NotImplementedError

    def journal(self, phase: Phase, **detail: Any) -> None:
        """Write a step down, durably, before it is taken."""
        self.jobs.step(self.job, phase, **detail)
        self.phase = phase
        carried = max(self.session.sent, self.session.received) if self.session else 0
        log.info("%s: %s, %d bytes carried", self._label(), phase.value, carried)
        self.control.publish("phase", phase.value)

    def report(self, **numbers: Any) -> None:
        """Publish progress."""
        progress = Progress(phase=self.phase, elapsed=round(time.monotonic() - self.started, 1), **numbers)
        self.control.publish("progress", progress.model_dump(mode="json"))

    def doubt(self, reason: str) -> None:
        """Record that nobody can tell yet where the VM is; nothing is guessed meanwhile."""
        log.warning("%s: in doubt: %s", self._label(), reason)
        self.jobs.mark(self.job, State.IN_DOUBT, reason)

    def summary(self) -> Summary:
        """Say how it went, as far as it came; each end knows its own."""
        raise NotImplementedError

    def end(self, state: State, error: VmferryError | None) -> None:
        """Record the end, and remove what was only this job's: sockets and secrets."""
        self.jobs.end(self.job, state, error.problem() if error else None, self.summary())
        log.info("%s: ended, %s%s", self._label(), state.value, f": {error.reason}" if error else "")
        self.control.publish("phase", Phase.ENDED.value)
        self.control.close()
        self._remove_folder()
        spec.forget(self.config.state_folder, self.job)

    def close(self) -> None:
        """Let go of what this process holds; what is on record stays."""
        if self.session is not None:
            self.session.close(linger=2.0)
        files = {disk.path for disk in (self.offer if self.spec.role is Role.SOURCE else self.spec.grant).disks}
        pools.refresh(self.config.libvirt_uri, self.config.name, files)
        self.domains.close()
        self.database.close()

    def _label(self) -> str:
        """Name the job in the log."""
        way = "to" if self.spec.role is Role.SOURCE else "from"
        return f"job {self.job}, {self.offer.vm} {way} {self.spec.peer}"

    def next_event(self, timeout: float) -> tuple[str, Any]:
        """Wait for what happens next; `("tick", None)` after `timeout` seconds of nothing."""
        try:
            return self.events.get(timeout=timeout)
        except queue.Empty:
            return "tick", None

    def say(self, **message: Any) -> bool:
        """Send a control message; False when the peer cannot be reached over the session."""
        if self.session is None:
            return False
        try:
            self.session.send(message)
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
        session.on_message(lambda message: self.events.put(("message", message)))
        session.on_broken(lambda reason: self.events.put(("broken", reason)))

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
        """Give the error of a move that failed before the commit."""
        source = self.offer.source
        return VmferryError(
            codes.MOVE_FAILED,
            vm=self.offer.vm,
            phase=self.phase.value,
            why=why,
            host=source,
            advice="mend the cause, then move it again",
        )

    def lost(self, why: str) -> VmferryError:
        """Give the error of a connection that broke before the commit."""
        return VmferryError(
            codes.LINK_LOST,
            peer=self.spec.peer,
            phase=self.phase.value,
            why=why,
            vm=self.offer.vm,
            host=self.offer.source,
        )

    def died(self, phase: Phase) -> VmferryError:
        """Give the error of a job whose worker died before the commit."""
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

    def _remove_folder(self) -> None:
        with suppress(OSError), safefiles.folder(str(self.folder.parent)) as jobs:
            shutil.rmtree(self.folder.name, ignore_errors=True, dir_fd=jobs)


def wait_for_libvirt(domains: Domains, uuid: str, seconds: float) -> bool:
    """Wait until libvirt answers again; False when it does not within `seconds`."""
    limit = time.monotonic() + seconds
    while True:
        try:
            domains.presence(uuid)
        except UnreachableError:
            if time.monotonic() > limit:
                return False
            time.sleep(0.2)  # libvirtd gives no sign when it is back
        else:
            return True
