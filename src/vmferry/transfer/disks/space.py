"""Watches the space that an incoming move uses: the sizes that the source reports are not trusted."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from vmferry.core import codes
from vmferry.core.errors import PreflightError
from vmferry.core.messages.offer import ArtifactPlan, Offer
from vmferry.core.paths import RESERVED

_FLOOR = 1 << 30  # bytes that a move leaves free if it takes more than it booked,
_SHARE = 20  # or the file system's size divided by this, whichever is less


class SpaceGuard:
    """The space of one move's new disks.

    Arguments:
        offer: with the sizes that the source reports, which were booked.
        plans: the paths of the disks.
        host: this host's name, for the error.
    """

    def __init__(self, offer: Offer, plans: Sequence[ArtifactPlan], host: str) -> None:
        self._host = host
        self._folders: dict[int, str] = {}
        self._files: dict[int, list[str]] = {}
        self._booked: dict[int, int] = {}
        self._names: dict[int, str] = {}
        disks = {disk.target: disk for disk in offer.disks}
        for plan in plans:
            if not plan.made:
                continue
            folder = str(Path(plan.path).parent)
            device = Path(folder).stat().st_dev
            self._folders.setdefault(device, folder)
            self._names.setdefault(device, plan.target)
            self._files.setdefault(device, []).append(plan.path)
            space = disks[plan.target].space(full=offer.options.full_space)
            self._booked[device] = self._booked.get(device, 0) + space

    def check(self) -> None:
        """Check that the move has not used so much more than it booked that others would run short.

        Raises:
            PreflightError: storage-full.
        """
        for device, folder in self._folders.items():
            taken = sum(_taken(path) for path in self._files[device])
            taken += sum(_taken(path) for path in self._drafts(device))
            if taken <= self._booked[device]:
                continue
            usage = shutil.disk_usage(folder)
            if usage.free < min(_FLOOR, usage.total // _SHARE):
                raise PreflightError(
                    codes.STORAGE_FULL,
                    path=folder,
                    host=self._host,
                    free=usage.free,
                    needed=taken,
                    disk=self._names[device],
                )

    def _drafts(self, device: int) -> list[str]:
        """Return files that are being received beside the final ones; those of other moves do no harm here."""
        folders = {str(Path(path).parent) for path in self._files[device]}
        return [str(draft) for folder in folders for draft in Path(folder).glob(f"{RESERVED}*")]


def _taken(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0  # not made yet
