"""Removes what jobs that have ended left behind: files that this host's own records name, and nothing else."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vmferry.agent.moves import nonces
from vmferry.agent.moves.resolutions import Resolutions, settled
from vmferry.agent.services import DomainsService
from vmferry.config import Config
from vmferry.core.errors import VmferryError
from vmferry.core.job import Phase
from vmferry.core.move import phases
from vmferry.core.resolution import Owner
from vmferry.hypervisor.storage import proofs
from vmferry.jobs import control, spec, startlock
from vmferry.store.jobs import JobRow, Jobs
from vmferry.transfer.disks import newdisks

_KEPT = ("key", "ends")  # outlive a job: the other host may ask how it ended

log = logging.getLogger("vmferry.agent")


@dataclass(frozen=True, slots=True)
class Sweep:
    """Removes leftovers. What cannot be removed now is tried again the next time."""

    config: Config
    jobs: Jobs
    resolutions: Resolutions
    domains: Callable[[], DomainsService]

    def run(self, *, first: bool = False) -> None:
        """Remove what is left of jobs that have ended.

        Arguments:
            first: vmferryd has just started: no check of its own is under way, so that what checks left goes, too.
        """
        if first:
            with contextlib.suppress(OSError):  # libvirt's hook notes there that it was asked
                startlock.folder(self.config.state_folder).mkdir(mode=0o700, exist_ok=True)
        for row in self._ended():
            self._finish(row)
        for lock in startlock.locks(self.config.state_folder):
            self._release(lock)
        for record in _entries(nonces.records(self.config.state_folder)):
            job = self.jobs.find(record.name)
            if job.state.ended if job is not None else first:
                self._remove_proofs(record)

    def _ended(self) -> list[JobRow]:
        """Return the jobs that have ended and of which more is left than the key."""
        found = []
        for place in _entries(self.config.state_folder / "jobs"):
            row = self.jobs.find(place.name)
            socket_folder = control.folder(self.config.run_folder, place.name)
            if (
                row
                and row.state.ended
                and (socket_folder.exists() or any(file.name not in _KEPT for file in _entries(place)))
            ):
                found.append(row)
        return found

    def _finish(self, row: JobRow) -> None:
        place = spec.folder(self.config.state_folder, row.id)
        if not spec.is_negotiated(self.config.state_folder, row.id) or not _free(place / "lock"):
            return  # somebody is at the end of it at this moment
        if not self.resolutions.carry_out(row) or not self._remove_made(row):
            return
        try:
            control.remove_folder(self.config.run_folder, row.id)
            spec.forget(self.config.state_folder, row.id)
        except OSError as error:
            log.warning("what job %s left cannot be removed yet: %s", row.id, error)

    def _remove_made(self, row: JobRow) -> bool:
        """Remove the files that a move into this host made and could not remove; returns whether that is settled."""
        if not spec.is_left(self.config.state_folder, row.id):
            return True
        step = self.jobs.last(row.id, Phase.ADMITTED)
        made = newdisks.recorded(step.detail) if step else []
        users = self._users([one.path for one in made])
        if users is None:
            return False
        for one in made:
            if one.path in users:
                log.warning("job %s: %s stays: it is %s by now", row.id, one.path, users[one.path])
        if newdisks.remove(one for one in made if one.path not in users):
            return False
        log.info("job %s: what it had left here is removed", row.id)
        spec.forget_left(self.config.state_folder, row.id)
        return True

    def _users(self, paths: list[str]) -> dict[str, str] | None:
        """Return the files that somebody uses, and who; None: that cannot be found out now."""
        domains = self.domains()
        try:
            around = domains.around(paths, "")
        except VmferryError:
            return None
        finally:
            domains.close()
        return None if around.unknown else {path: str(used[0]) for path, used in around.uses.items() if used}

    def _release(self, lock: startlock.StartLock) -> None:
        """Lift a lock whose VM is this host's after all, or is not defined here any more.

        That a move is done is no reason: what libvirt would not undefine is defined here still, with old disks.
        """
        row = self.jobs.find(lock.holder() or "")
        if row is None or not row.state.ended:
            return
        said = phases.verdict(row.role, [step.phase for step in self.jobs.steps(row.id)])
        if said is not phases.Verdict.GO or settled(self.jobs, row.id) is Owner.HERE or self._absent(lock.uuid):
            log.info("job %s has ended: its VM may be started here again", row.id)
            lock.lift()

    def _absent(self, uuid: str) -> bool:
        domains = self.domains()
        try:
            return str(domains.presence(uuid)) == "absent"
        except VmferryError:
            return False  # libvirt is away, and starts nothing either
        finally:
            domains.close()

    def _remove_proofs(self, record: Path) -> None:
        try:
            left = proofs.remove(nonces.noted(record))
            if left:
                log.warning("%s cannot be removed yet", left[0])
            else:
                record.unlink()
        except OSError as error:
            log.warning("%s cannot be removed yet: %s", record, error)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _free(place: Path) -> bool:
    """Return whether no worker holds its lock."""
    try:
        handle = os.open(place, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
