"""The disks that a move makes at its destination: each under a name of vmferry's own until it is what it is to be.

A disk's file begins as `.vmferry-RANDOM` in the disk's folder, and only root can use it. It gets its final name when it
is an empty image that QEMU's mirror may fill, or when a read-only one was received whole and looked at. The journal
has its identity before that; what is undone is what has that identity, and nothing else.
"""

import errno
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vmferry import safefiles
from vmferry.core import codes, paths
from vmferry.core.errors import InternalError, PreflightError, UsageError
from vmferry.core.kinds import ArtifactType, CopiedBy
from vmferry.core.messages.offer import Artifact, ArtifactPlan
from vmferry.core.paths import RESERVED
from vmferry.hypervisor.storage import folders, images
from vmferry.safefiles import Identity
from vmferry.transfer.disks import files
from vmferry.transfer.disks.files import ByteStream

_ADVICE = "convert it (`qemu-img convert`)"
_METADATA = 64 << 20  # bytes that an image's file may have more than an eighth beyond what the guest sees


@dataclass(frozen=True, slots=True)
class Made:
    """One file that a job makes.

    Arguments:
        path: its final path.
        draft: its name until it has that; drawn at random, so that nothing else has it.
        identity: None until it is there.
    """

    path: str
    draft: str
    identity: Identity | None = None

    def record(self) -> dict[str, Any]:
        """Return what the journal keeps."""
        known = self.identity
        numbers = [known.device, known.inode, known.born] if known else None
        return {"path": self.path, "draft": self.draft, "identity": numbers}


def recorded(detail: dict[str, Any]) -> list[Made]:
    """Return the files of a journal's step; records in an unknown form of another release are left out."""
    found = []
    for record in detail.get("files", []):
        if isinstance(record, dict):
            numbers = record.get("identity")
            found.append(Made(record["path"], record["draft"], Identity(*numbers) if numbers else None))
    return found


def remove(made: Iterable[Made]) -> list[str]:
    """Remove the files that a job has created, under either of their names; may be repeated. Never raises.

    Returns:
        The files that could not be removed, each with the reason.
    """
    left = []
    for one in made:
        try:
            folder, name = safefiles.split(one.path)
            with safefiles.folder(folder) as inside:
                # Made, and not on record yet: nothing but this job knew the name.
                identity = one.identity or safefiles.identity(inside, one.draft)
                if identity is not None:
                    safefiles.remove(inside, one.draft, identity)
                    safefiles.remove(inside, name, identity)
        except FileNotFoundError:
            continue
        except OSError as error:
            if one.identity is not None:  # else nothing could be made there either
                left.append(f"{one.path}: {error.strerror}")
    return left


def occupied(made: Iterable[Made]) -> dict[str, int]:
    """Return the bytes that a job's files occupy now, by file system."""
    found: dict[str, int] = {}
    for one in made:
        try:
            folder, name = safefiles.split(one.path)
            with safefiles.folder(folder) as inside:
                there = [known for known in (one.draft, name) if safefiles.identity(inside, known) == one.identity]
                status = os.stat(there[0], dir_fd=inside, follow_symlinks=False) if there and one.identity else None
        except OSError:
            continue  # not made yet, or gone
        if status is not None:
            device = str(status.st_dev)
            found[device] = found.get(device, 0) + status.st_blocks * 512
    return found


class NewDisks:
    """The files that one incoming move makes.

    Arguments:
        artifacts: disks and the file of UEFI variables, as the source describes them.
        plans: what becomes of each, as this host has planned it.
        allowed: folders in or below which files of each type may be.
        template: the file of this host's that has the variables of a new VM; empty: there is none.
        qemu_user: the user that QEMU runs as.
        journal: writes the records of all files down, durably.
        host, vm: for errors.
    """

    def __init__(
        self,
        artifacts: Sequence[Artifact],
        plans: Sequence[ArtifactPlan],
        *,
        allowed: Mapping[ArtifactType, Sequence[Path]],
        qemu_user: str,
        journal: Callable[[list[dict[str, Any]]], None],
        host: str,
        vm: str,
        template: str = "",
    ) -> None:
        self._disks = {artifact.target: artifact for artifact in artifacts}
        self._plans = {plan.target: plan for plan in plans if plan.made}
        self._allowed = {target: allowed[plan.type] for target, plan in self._plans.items()}
        self._qemu_user = qemu_user
        self._journal = journal
        self._template = template
        self._host = host
        self._vm = vm
        self._made: dict[str, Made] = {}
        self._handles: dict[str, int] = {}
        self._missing = {plan.target for plan in plans if plan.copied_by in (CopiedBy.FILE, CopiedBy.PRESENT)}
        self._lock = threading.Lock()

    def make(self) -> None:
        """Make all files; those that QEMU's mirror fills get their final names.

        Raises:
            VmferryError: why one cannot be made. What was made by then is on record.
        """
        for target, plan in self._plans.items():
            self._made[target] = Made(plan.path, f"{RESERVED}{secrets.token_hex(8)}")
        self._record()
        for target in self._plans:
            self._begin(target)
        self._record()
        for target, plan in self._plans.items():
            if plan.copied_by in (CopiedBy.MIRROR, CopiedBy.MEMORY):
                self._complete(target)

    def require_whole(self) -> None:
        """Check that every file that the source sends, or shows the content of, is there: QEMU may open them then.

        Raises:
            InternalError: protocol; one is missing.
        """
        with self._lock:
            missing = ", ".join(sorted(self._missing))
        if missing:
            raise InternalError(codes.PROTOCOL, why=f"the migration began before the disks {missing} were whole")

    def receive(self, stream: ByteStream) -> str:
        """Receive one read-only disk whole, look at it, and give it its final name; returns its target.

        Raises:
            VmferryError: it is not one that was granted, or it comes again; or why it cannot be taken.
        """
        incoming = files.begin(stream)
        target = incoming.target
        handle = self._claim(target)
        disk = self._disks[target]
        try:
            incoming.save(handle, self._size_limit(disk))
            self._check(disk, handle)
            images.hand_over(handle, disk, self._qemu_user)
            self._name(target, handle)
        except OSError as error:
            raise self._trouble(error, target) from error
        finally:
            os.close(handle)
        self.found(target)
        return target

    def found(self, target: str) -> None:
        """Note that a file that existed here already is the one of the VM."""
        with self._lock:
            self._missing.discard(target)

    def close(self) -> None:
        """Close files that are not complete."""
        with self._lock:
            handles, self._handles = self._handles, {}
        for handle in handles.values():
            os.close(handle)

    # --- parts ----------------------------------------------------------------------------------------------------

    def _record(self) -> None:
        self._journal([made.record() for made in self._made.values()])

    def _begin(self, target: str) -> None:
        made = self._made[target]
        why = paths.problem(made.path)
        if why is not None:
            names = {"path": made.path, "disk": target, "host": self._host}
            raise PreflightError(codes.DISK_PATH_UNUSABLE, why=why, **names)
        try:
            with self._folder(target) as (inside, name):
                if safefiles.exists(inside, name):
                    raise self._taken(target)
                handle = safefiles.make(inside, made.draft)
        except OSError as error:
            raise self._trouble(error, target) from error
        self._handles[target] = handle
        self._made[target] = replace(made, identity=Identity.of(handle))

    def _complete(self, target: str) -> None:
        handle, disk = self._handles.pop(target), self._disks[target]
        try:
            images.complete(handle, disk, self._plans[target].path, host=self._host, vm=self._vm)
            if disk.type is ArtifactType.FIRMWARE_VARIABLES and disk.format == "raw":
                self._fill(handle)
            images.hand_over(handle, disk, self._qemu_user)
            self._name(target, handle)
        except OSError as error:
            raise self._trouble(error, target) from error
        finally:
            os.close(handle)

    def _fill(self, handle: int) -> None:
        """Begin with the variables of a new VM, where they fit: QEMU writes its own only when the VM is resumed."""
        try:
            template = safefiles.open_regular(self._template) if self._template else None
        except OSError:
            return  # a VM whose switch goes well does not need it
        if template is None:
            return
        try:
            size = os.fstat(handle).st_size
            if os.fstat(template).st_size == size:
                os.pwrite(handle, os.pread(template, size, 0), 0)
        finally:
            os.close(template)

    def _name(self, target: str, handle: int) -> None:
        """Give a file its final name, durably."""
        with self._folder(target) as (inside, name):
            try:
                safefiles.rename(inside, handle, self._made[target].draft, name)
            except FileExistsError as error:
                raise self._taken(target) from error
            safefiles.sync(inside)

    @contextmanager
    def _folder(self, target: str) -> Iterator[tuple[int, str]]:
        """Open the folder of a disk, and check it against this host's policy by its real path."""
        path = self._plans[target].path
        folder, name = safefiles.split(path)
        with safefiles.folder(folder) as inside:
            if not folders.inside(inside, self._allowed[target]):
                allowed = ", ".join(str(place) for place in self._allowed[target])
                names = {"path": folder, "host": self._host, "disk": target}
                raise PreflightError(codes.STORAGE_PATH_FORBIDDEN, allowed=allowed, **names)
            yield inside, name

    def _claim(self, target: str) -> int:
        with self._lock:
            if target not in self._plans or self._plans[target].copied_by is not CopiedBy.FILE:
                names = ", ".join(sorted(self._missing)) or "none"
                raise UsageError(codes.DISK_UNKNOWN, vm=self._vm, disk=target, disks=names)
            handle = self._handles.pop(target, None)
        if handle is None:
            raise InternalError(codes.PROTOCOL, why=f"the disk {target} comes a second time")
        return handle

    def _size_limit(self, disk: Artifact) -> int:
        most = disk.virtual_size if disk.format == "raw" else disk.virtual_size + disk.virtual_size // 8 + _METADATA
        return most if disk.size is None else min(most, disk.size)

    def _check(self, disk: Artifact, handle: int) -> None:
        """Check that an image received byte by byte is what was offered: the source wrote its header."""
        image = images.describe(handle, disk.format, self._plans[disk.target].path)
        why = None
        if image.backing:
            why = f"it names another file ({image.backing})"
        elif image.encrypted:
            why = "it is encrypted"
        elif image.virtual_size != disk.virtual_size:
            why = f"it came with {image.virtual_size} bytes, and {disk.virtual_size} were offered"
        if why is not None:
            raise PreflightError(codes.DISK_UNSUPPORTED, vm=self._vm, disk=disk.target, why=why, advice=_ADVICE)

    def _taken(self, target: str) -> PreflightError:
        names = {"path": self._plans[target].path, "host": self._host, "disk": target, "vm": self._vm}
        if self._plans[target].type is ArtifactType.FIRMWARE_VARIABLES:
            return PreflightError(codes.VARIABLES_EXIST, **names)
        return PreflightError(codes.DISK_EXISTS, **names)

    def _trouble(self, error: OSError, target: str) -> PreflightError:
        path = self._plans[target].path
        if error.errno == errno.ENOENT:
            folder = path.rpartition("/")[0] or "/"
            return PreflightError(codes.STORAGE_PATH_MISSING, path=folder, disk=target, host=self._host)
        return images.trouble(error, self._disks[target], path, host=self._host, vm=self._vm)
