"""What a worker is started with: one file in the job's folder, written by the daemon, mode 0600."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict

from vmferry import safefiles
from vmferry.core import codes
from vmferry.core.errors import AccessError, VmferryError
from vmferry.core.job import Role, folder_name
from vmferry.core.messages.offer import Address, Grant, Offer

_LEFT = "left"  # beside the key of a job that has ended


class Spec(BaseModel):
    """One job as its worker on one host needs it.

    It holds the job key and the worker's private key, so it is a secret file and nothing of it is ever logged.
    """

    model_config = ConfigDict(frozen=True)

    role: Role
    offer: Offer
    grant: Grant
    private_key: str
    peer: str
    source_fingerprint: str
    destination_fingerprint: str
    addresses: list[Address] = []
    requested_at: float = 0.0

    @property
    def job(self) -> str:
        """The job's identifier."""
        return self.offer.job

    @property
    def deadline(self) -> float | None:
        """The Unix time at which the source gives the move up, unless it is decided by then."""
        seconds = self.offer.options.deadline
        return None if seconds is None else self.requested_at + seconds

    @property
    def late(self) -> bool:
        """Whether its deadline has passed."""
        return self.deadline is not None and time.time() > self.deadline

    def deadline_error(self) -> VmferryError:
        """Give the error of a move that is given up at its deadline."""
        offer = self.offer
        return VmferryError(
            codes.DEADLINE_PASSED, vm=offer.vm, host=offer.source, peer=self.peer, seconds=f"{offer.options.deadline:g}"
        )

    @property
    def copies_storage(self) -> bool:
        """Whether the move counts among those of storage."""
        return any(plan.made for plan in self.grant.disks)


def folder(state_folder: Path, job: str) -> Path:
    """Name the folder that holds a job's secrets."""
    return state_folder / "jobs" / folder_name(job)


def save(state_folder: Path, spec: Spec) -> None:
    """Write the spec and the job key, each whole or not at all."""
    place = folder(state_folder, spec.job)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    safefiles.write(place / "key", spec.grant.job_key)
    safefiles.write(place / "ends", f"{spec.source_fingerprint} {spec.destination_fingerprint}")
    safefiles.write(place / "spec.json", spec.model_dump_json())


def size(state_folder: Path, job: str) -> int:
    """Return the bytes of a job's spec on disk; 0 if there is none."""
    try:
        return (folder(state_folder, job) / "spec.json").stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def negotiating(state_folder: Path, job: str) -> Iterator[None]:
    """Hold the sign that this process is still agreeing with the other host on what the job's spec will be."""
    place = folder(state_folder, job)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    sign = place / "negotiating"
    with _locked(sign):  # gone with this process, however it ends
        try:
            yield
        finally:
            sign.unlink(missing_ok=True)
            with suppress(OSError):  # not empty: there is a spec
                place.rmdir()


def is_negotiated(state_folder: Path, job: str) -> bool:
    """Return whether nobody is at work on a job's spec any more: what is not there by now will not come."""
    sign = folder(state_folder, job) / "negotiating"
    while True:
        try:
            with sign.open() as found:
                fcntl.flock(found, fcntl.LOCK_SH | fcntl.LOCK_NB)
                if _is_at(found, sign):
                    return True
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False


@contextmanager
def _locked(sign: Path) -> Iterator[None]:
    """Make a file and hold its lock: of the file that has the name, not of one that its last holder has removed."""
    while True:
        with sign.open("w") as made:
            fcntl.flock(made, fcntl.LOCK_EX)
            if _is_at(made, sign):
                yield
                return


def _is_at(file: IO[str], place: Path) -> bool:
    """Return whether a name still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), place.stat())
    except FileNotFoundError:
        return False


def load(state_folder: Path, job: str) -> Spec:
    """Read the spec.

    Raises:
        FileNotFoundError: there is no such job, or it has ended.
    """
    return Spec.model_validate_json((folder(state_folder, job) / "spec.json").read_text())


def key(state_folder: Path, job: str) -> str:
    """Give a job's key, hex; it outlives the job, since the peer may ask how it ended long after.

    Raises:
        AccessError: job-key-wrong; there is no such job.
    """
    try:
        return (folder(state_folder, job) / "key").read_text()
    except (FileNotFoundError, ValueError) as error:
        raise AccessError(codes.JOB_KEY_WRONG, job=job) from error


def ends(state_folder: Path, job: str) -> tuple[str, str] | None:
    """Return the fingerprints that source and destination showed when the job was agreed on; None: not known.

    Its key is bound to them, even where a host shows another certificate of its site by now.
    """
    try:
        source, destination = (folder(state_folder, job) / "ends").read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return source, destination


def forget(state_folder: Path, job: str, *, key: bool = False) -> None:
    """Remove a job's secrets once it has ended.

    Arguments:
        key: the key too: nobody will ask how the job ended.
    """
    place = folder(state_folder, job)
    (place / "spec.json").unlink(missing_ok=True)
    (place / "lock").unlink(missing_ok=True)
    (place / "negotiating").unlink(missing_ok=True)
    if key:
        (place / "key").unlink(missing_ok=True)
        (place / "ends").unlink(missing_ok=True)
        if place.exists():
            place.rmdir()


def note_left(state_folder: Path, job: str) -> None:
    """Note that files which the job made could not be removed, so that vmferryd goes on trying."""
    place = folder(state_folder, job)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    (place / _LEFT).touch(0o600)


def is_left(state_folder: Path, job: str) -> bool:
    """Return whether files which the job made are still to be removed."""
    return (folder(state_folder, job) / _LEFT).exists()


def forget_left(state_folder: Path, job: str) -> None:
    """Forget the note: nothing that the job made is left, or it has become somebody's."""
    (folder(state_folder, job) / _LEFT).unlink(missing_ok=True)


def prune(state_folder: Path, before: float) -> None:
    """Remove the keys of jobs that ended long ago.

    Arguments:
        before: Unix time; a younger key is kept, since the peer may have been away since then and ask.
    """
    for place in (state_folder / "jobs").glob("*/key"):
        kept = any((place.parent / name).exists() for name in ("spec.json", _LEFT))
        if not kept and place.stat().st_mtime < before:
            forget(state_folder, place.parent.name, key=True)
