"""What a worker is started with: one file in the job's folder, written by the daemon, mode 0600."""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from vmferry.core.job import Role
from vmferry.core.offer import Address, Grant, Offer


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


def folder(state_folder: Path, job: str) -> Path:
    """Name the folder that holds a job's secrets."""
    return state_folder / "jobs" / job


def save(state_folder: Path, spec: Spec) -> None:
    """Write the spec, whole or not at all."""
    place = folder(state_folder, spec.job)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = place / "spec.json.new"
    handle = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(spec.model_dump_json())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(place / "spec.json")


def load(state_folder: Path, job: str) -> Spec:
    """Read the spec.

    Raises:
        FileNotFoundError: there is no such job, or it ended and its secrets are gone.
    """
    return Spec.model_validate_json((folder(state_folder, job) / "spec.json").read_text())


def forget(state_folder: Path, job: str) -> None:
    """Remove a job's secrets once it has ended."""
    place = folder(state_folder, job)
    for file in place.glob("*"):
        file.unlink(missing_ok=True)
    if place.exists():
        place.rmdir()
