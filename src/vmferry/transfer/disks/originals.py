"""The source's own disk files: which ones they are when a move begins, and removing them when the VM has gone.

A path is only where a file was found. What is removed is the very file that the VM's QEMU had open when the move
began, by device and inode, and only when nobody else uses it then: found out again right before it is removed. What
cannot be found out stays.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from vmferry import safefiles
from vmferry.core import codes
from vmferry.core.errors import PreflightError, UnreachableError, VmferryError
from vmferry.core.kinds import ArtifactType
from vmferry.core.libvirt import domainxml
from vmferry.core.messages.offer import ArtifactPlan, Offer
from vmferry.core.messages.use import Surroundings
from vmferry.hypervisor.storage import holders
from vmferry.jobs.persist import pauses
from vmferry.safefiles import Identity

_AWAY = 30.0  # seconds for which libvirt may be away
_TRIES = 18  # of a file system that refuses: some 35 s
_PATIENCE = 3.0  # seconds for others to close a file that they look at for a moment: a pool's refresh, `qemu-img info`


@dataclass(frozen=True, slots=True)
class Original:
    """A disk's file as it was when the move began.

    Arguments:
        path: by which the VM names it; a symbolic link, perhaps.
        file: where it really is.
        device, inode, born: of the file (safefiles.py).
        link: inode of the symbolic link at `path`; 0 where it is not one.
        with_memory: whether its content went with the VM's memory, and is lost with it.
    """

    path: str
    file: str
    device: int
    inode: int
    born: int = 0
    link: int = 0
    with_memory: bool = False

    @property
    def identity(self) -> Identity:
        """The identity of the file."""
        return Identity(self.device, self.inode, self.born)


def note(offer: Offer, plans: Sequence[ArtifactPlan]) -> dict[str, Any]:
    """Look at the VM's files while its QEMU still has them open; returns what the journal keeps for `remove`.

    Raises:
        PreflightError: disk-replaced; the VM has another file open than the one that would be copied.
    """
    going = set(_candidates(offer, plans))
    copied = {plan.target for plan in plans if not plan.shared}
    found, left = [], []
    for disk in offer.artifacts:
        if disk.idle:
            if disk.target in copied:
                left.append(f"{disk.path}: only the definition of the VM had it, and a copy went along")
            continue
        try:
            seen = holders.has_open(offer.vm, disk.path)
            which, own = _identity(disk.path), os.lstat(disk.path)
        except OSError as error:
            left.append(f"{disk.path}: {error.strerror}")
            continue
        if seen is False:
            names = {"vm": offer.vm, "disk": disk.target, "path": disk.path, "host": offer.source}
            raise PreflightError(codes.DISK_REPLACED, advice=f"Check it again: `vmferry vm check {offer.vm}`", **names)
        if disk.target not in going:
            continue
        if seen is None:
            left.append(f"{disk.path}: whether it is the file that the VM has open is not known")
            continue
        flash = disk.type is ArtifactType.FIRMWARE_VARIABLES
        link = own.st_ino if stat.S_ISLNK(own.st_mode) else 0
        found.append(
            Original(disk.path, os.path.realpath(disk.path), which.device, which.inode, which.born, link, flash)
        )
    left += [f"{path}: it is a medium (--remove-source-media)" for path in _media(offer, plans)]
    return {"originals": [asdict(original) for original in found], "left": left}


def remove(noted: Mapping[str, Any], ask: Callable[[list[str]], Surroundings], *, lost: bool = False) -> list[str]:
    """Remove what the VM has left; may be called again after it was cut off. Never raises.

    Arguments:
        noted: what `note` returned.
        ask: looks who uses files now; a VmferryError says why that cannot be found out.
        lost: whether the VM's memory was lost at the switch.

    Returns:
        What stays, each with the reason.
    """
    left = [str(line) for line in noted.get("left", [])]
    there = [Original(**record) for record in noted.get("originals", [])]
    there = [original for original in there if os.path.lexists(original.file)]
    if lost:
        said = "it has the UEFI variables, which were lost with the VM's memory; the destination has those of a new VM"
        left += [f"{original.path}: {said}" for original in there if original.with_memory]
        there = [original for original in there if not original.with_memory]
    if not there:
        return left
    try:
        around = _answer(lambda: ask([original.file for original in there]))
    except VmferryError as error:
        return left + [f"{original.path}: {error.reason}" for original in there]
    for original in there:
        uses = around.uses.get(original.file, [])
        if uses:
            left.append(f"{original.path}: it is {' and '.join(str(use) for use in uses)}")
        elif around.unknown:
            left.append(f"{original.path}: whether somebody else uses it is not known ({around.unknown[0]})")
        else:
            why = _remove(original)
            if why is not None:
                left.append(f"{original.path}: {why}")
    return left


def _answer(ask: Callable[[], Surroundings]) -> Surroundings:
    """Ask until libvirt answers, for some time: it may just be restarting."""
    limit = time.monotonic() + _AWAY
    while True:
        try:
            return ask()
        except UnreachableError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.2)  # libvirtd gives no sign when it is back


def _remove(original: Original) -> str | None:
    """Remove one file and the link that led to it, with some tries; returns why it stays.

    A folder may be read-only for a moment, and the VM runs elsewhere by now: nobody waits for this.
    """
    said = None
    for pause in islice(pauses(), _TRIES):
        try:
            return _remove_now(original)
        except FileNotFoundError:
            return None
        except OSError as error:
            said = error.strerror or str(error)
        time.sleep(pause)
    return said


def _remove_now(original: Original) -> str | None:
    """Remove one file and the link that led to it; return why it has to stay.

    Raises:
        OSError: the file system refuses.
    """
    replaced = "it is not the file that the VM had; that one was replaced"
    place, name = safefiles.split(original.file)
    with safefiles.folder(place) as folder:
        handle = safefiles.open_in(folder, name)
        try:
            if Identity.of(handle) != original.identity:
                return replaced
            alone = _wait_alone(handle)
        finally:
            os.close(handle)
        if alone is None:
            return "whether somebody has it open cannot be found out on its file system"
        if not alone:
            who = ", ".join(holders.openers((original.device, original.inode))) or "some process"
            return f"{who} has it open"
        if not safefiles.remove(folder, name, original.identity):
            return replaced
    if original.link:
        _remove_link(original)
    return None


def _remove_link(original: Original) -> None:
    place, name = safefiles.split(original.path)
    with safefiles.folder(place) as folder:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        same = stat.S_ISLNK(status.st_mode) and status.st_ino == original.link
        if same and os.path.realpath(original.path) == original.file:
            os.unlink(name, dir_fd=folder)


def _identity(path: str) -> Identity:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return Identity.of(handle)
    finally:
        os.close(handle)


def _wait_alone(handle: int) -> bool | None:
    limit = time.monotonic() + _PATIENCE
    while True:
        alone = holders.is_alone(handle)
        if alone is not False or time.monotonic() > limit:
            return alone
        time.sleep(0.1)  # the kernel tells nobody when a file is closed


def _candidates(offer: Offer, plans: Sequence[ArtifactPlan]) -> Iterator[str]:
    """Return the disks whose files are removed here when the VM has gone."""
    if offer.options.keep_source_disks:
        return
    copied = {plan.target for plan in plans if not plan.shared}
    if offer.variables is not None:
        yield offer.variables.target  # libvirt keeps it when it takes the definition away
    for entry in domainxml.disks(offer.live_xml):
        if entry.target in copied and not entry.shareable and (not entry.medium or offer.options.remove_source_media):
            yield entry.target


def _media(offer: Offer, plans: Sequence[ArtifactPlan]) -> Iterator[str]:
    """Return the paths of the media that stay here although the VM has a copy there."""
    if offer.options.keep_source_disks or offer.options.remove_source_media:
        return
    copied = {plan.target for plan in plans if not plan.shared}
    media = {entry.target for entry in domainxml.disks(offer.live_xml) if entry.medium}
    for disk in offer.disks:
        if disk.target in copied & media:
            yield disk.path
