"""Nonces beside a VM's disks: a host that can read one back sees the very same storage."""

import json
import os
import secrets
from pathlib import Path

from vmferry.core.offer import Disk


def write(disks: list[Disk], job: str, record: Path) -> list[Disk]:
    """Write a nonce file beside each disk; gives the disks with what was written where.

    Arguments:
        record: where the names of the files are written down first, so that they are found if this process ends.
    """
    places = {disk.target: Path(disk.path).parent / f"{_prefix(job)}{disk.target}" for disk in disks}
    _note(record, [str(place) for place in places.values()])
    marked = []
    for disk in disks:
        nonce, place = secrets.token_hex(16), places[disk.target]
        try:
            place.write_text(nonce)
        except OSError:
            marked.append(disk)  # a folder that cannot be written holds no disk that could be shared for writing
        else:
            marked.append(disk.model_copy(update={"nonce_file": str(place), "nonce": nonce}))
    return marked


def remove(disks: list[Disk], record: Path | None = None) -> None:
    """Remove what write() wrote.

    Arguments:
        record: as for write(); None: it stays, until the job has ended and `agent/sweep.py` comes by.
    """
    for disk in disks:
        if disk.nonce_file:
            Path(disk.nonce_file).unlink(missing_ok=True)
    if record is not None:
        record.unlink(missing_ok=True)


def records(state_folder: Path) -> Path:
    """Return the folder of the records; each has the identifier of a job, or of a check, for its name."""
    return state_folder / "proofs"


def noted(record: Path) -> list[str]:
    """Return the files that a record names, as far as they have the names that write() gives."""
    try:
        found = json.loads(record.read_text())
    except (OSError, ValueError):  # it was not written to its end, and then nothing else was
        return []
    prefix = _prefix(record.name)
    return [place for place in found if isinstance(place, str) and Path(place).name.startswith(prefix)]


def _prefix(job: str) -> str:
    return f".vmferry-{job}-"


def _note(record: Path, places: list[str]) -> None:
    record.parent.mkdir(mode=0o700, exist_ok=True, parents=True)
    handle = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(places, file)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(record.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
