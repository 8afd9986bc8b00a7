"""Keeps the source's copy of a VM from being started once it may be the destination's.

A lock is a file of the VM's UUID in the state folder, so that it holds across a reboot. libvirt's hook (`hook`) looks
for it before each start, autostart included, and refuses (https://libvirt.org/hooks.html: qemu, `prepare begin`).
"""

import logging
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from vmferry import safefiles
from vmferry.core import codes
from vmferry.core.errors import InternalError
from vmferry.core.text import printable

HOOK = Path("/etc/libvirt/hooks/qemu.d/vmferry")  # since libvirt 6.5 beside hooks of others

log = logging.getLogger("vmferry.transfer")


@dataclass(frozen=True, slots=True)
class StartLock:
    """The lock of one VM.

    Arguments:
        folder: holds the locks of this host (see `folder`).
        uuid: of the VM.
        job: that hands the VM over; empty, as is `why`, where a lock is only looked at.
        why: what whoever starts the VM is told.
    """

    folder: Path
    uuid: str
    job: str = ""
    why: str = ""

    @property
    def path(self) -> Path:
        """The file, while the lock holds."""
        return self.folder / str(UUID(self.uuid))

    @property
    def _draft(self) -> Path:
        return self.folder / f".{UUID(self.uuid)}.new"

    @property
    def held(self) -> bool:
        """Whether the lock holds."""
        return os.path.lexists(self.path)

    def prepare(self) -> None:
        """Write the lock down without effect, so that `hold` is quick and needs no space.

        Raises:
            InternalError: start-lock-failed.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(f"{self.why}\n{self.job}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def hold(self) -> None:
        """Put the lock into force; on disk when this returns. Nothing happens when it holds already.

        Raises:
            InternalError: start-lock-failed.
        """
        if self.held:
            return
        try:
            if not self._draft.exists():
                self.prepare()
            self._draft.rename(self.path)
            safefiles.sync_path(self.folder)
        except OSError as error:
            raise self._failed(error) from error

    def lift(self) -> None:
        """Remove the lock; vmferryd removes later what cannot be removed now (agent/moves/sweep.py)."""
        try:
            self._draft.unlink(missing_ok=True)
            if self.held:
                self.path.unlink()
                safefiles.sync_path(self.folder)
        except OSError as error:
            log.warning("%s cannot be removed yet, so libvirt refuses to start the VM: %s", self.path, error)

    def holder(self) -> str | None:
        """Return the job that locked the VM; None: that cannot be read."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(handle, errors="replace") as file:
                lines = file.read(8192).splitlines()
        except OSError:
            return None
        return lines[1] if len(lines) == 2 else None

    def _failed(self, error: OSError) -> InternalError:
        why = error.strerror or str(error)
        return InternalError(codes.START_LOCK_FAILED, path=str(self.path), why=why)


def folder(state_folder: Path) -> Path:
    """Return the folder of the locks."""
    return state_folder / "away"


def of(state_folder: Path, uuid: str, *, job: str = "", vm: str = "", peer: str = "") -> StartLock:
    """Return the lock of a VM.

    Arguments:
        job, vm, peer: for a lock that is to hold: the job that hands the VM over, the VM's name, the destination.
    """
    why = printable(
        f"vmferry handed {vm} to {peer} (job {job}), and it may run there: a second copy must not start here. "
        f"See `vmferry job show {job}`; if {peer} is gone for good, `vmferry job resolve {job}`."
    )
    return StartLock(folder(state_folder), uuid, job, why)


def locks(state_folder: Path) -> Iterator[StartLock]:
    """Return the locks that hold."""
    try:
        names = sorted(place.name for place in folder(state_folder).iterdir())
    except FileNotFoundError:
        return
    for name in names:
        try:
            lock = of(state_folder, name)
            known = lock.path.name == name
        except ValueError:
            continue  # a draft, or nothing of ours
        if known:
            yield lock


def asked(state_folder: Path) -> Path:
    """Return the file that the hook touches when libvirt asks it."""
    return folder(state_folder) / ".asked"


def hook(state_folder: Path) -> str:
    """Return libvirt's hook for a host with that state folder, a script of POSIX sh that starts no program."""
    return _HOOK.replace("@FOLDER@", shlex.quote(str(folder(state_folder))))


_HOOK = """\
#!/bin/sh
# libvirt's hook of vmferry: refuses to start a VM that was handed to another host and is not removed here yet.
# `vmferryd --print-hook` prints it for the host's state folder. libvirt runs it as qemu.d/vmferry with the name of the
# VM, the operation and its part, and the VM's XML on standard input (https://libvirt.org/hooks.html).
# It starts no program and asks nothing of libvirt, which waits for it.
locks=@FOLDER@
{ true >"$locks/.asked"; } 2>/dev/null # so that `vmferry doctor` knows that libvirt asks
[ "$2 $3" = 'prepare begin' ] || exit 0
uuid='' why=''
while IFS= read -r line; do
    case $line in
    *'<uuid>'*'</uuid>'*) # the first one is the VM's own
        uuid=${line#*'<uuid>'}
        uuid=${uuid%%'</uuid>'*}
        break
        ;;
    esac
done
case $uuid in
'' | *[!0-9a-f-]*) exit 0 ;; # no lock has such a name
esac
[ -e "$locks/$uuid" ] || [ -L "$locks/$uuid" ] || exit 0
IFS= read -r why <"$locks/$uuid"
printf '%s\\n' "${why:-vmferry handed $1 to another host.}" >&2
exit 1
"""
