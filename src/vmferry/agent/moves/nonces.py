"""Nonces by which a source shows that both hosts see the same storage: drawn here, each for one time."""

import json
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vmferry import safefiles
from vmferry.core.messages.offer import Artifact
from vmferry.hypervisor.storage import proofs

_LIFE = 60.0  # seconds from drawing one until the source's proposal comes
_MOST = 32  # of one host at a time


class Challenges:
    """Draws nonces for other hosts and remembers them for a moment.

    Arguments:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._drawn: dict[str, tuple[str, str, float]] = {}

    def draw(self, peer: str, uuid: str) -> str:
        """Return a new nonce for a host and a VM; the host's oldest gives way where it has too many."""
        nonce = secrets.token_hex(16)
        with self._lock:
            now = self._clock()
            self._drawn = {key: value for key, value in self._drawn.items() if now - value[2] < _LIFE}
            own = [key for key, (host, _, _) in self._drawn.items() if host == peer]
            for key in own[: max(0, len(own) - _MOST + 1)]:
                del self._drawn[key]
            self._drawn[nonce] = (peer, uuid, now)
        return nonce

    def take(self, peer: str, uuid: str, nonces: set[str]) -> str | None:
        """Return the one of some nonces that was drawn for a host and a VM, and forget it; None when none was."""
        with self._lock:
            for nonce in nonces:
                drawn = self._drawn.get(nonce)
                if drawn is not None and drawn[:2] == (peer, uuid):
                    del self._drawn[nonce]
                    return nonce if self._clock() - drawn[2] < _LIFE else None
        return None


def write(disks: list[Artifact], job: str, nonce: str, record: Path) -> list[Artifact]:
    """Write a proof beside each disk (hypervisor/storage/proofs.py); returns the disks with what was written where.

    Arguments:
        record: where the names of the files are written down first, so that they are found if this process ends.
    """
    _note(record, [str(Path(disk.path).parent / f"{_prefix(job)}{disk.target}") for disk in disks])
    return proofs.write(disks, job, nonce)


def remove(disks: list[Artifact], record: Path | None = None) -> None:
    """Remove what write() wrote.

    Arguments:
        record: as for write(); None: it stays, until the job has ended and `agent/moves/sweep.py` comes by.
    """
    proofs.remove(disk.nonce_file for disk in disks)
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
    safefiles.write(record, json.dumps(places))
