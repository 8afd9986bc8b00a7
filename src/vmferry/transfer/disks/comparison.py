"""The destination's half of using a medium that is here already: its own digest, compared with the source's."""

import threading
from collections.abc import Callable, Sequence

from vmferry.core import codes
from vmferry.core.errors import PreflightError, VmferryError
from vmferry.core.kinds import CopiedBy
from vmferry.core.messages.offer import ArtifactPlan, Offer
from vmferry.hypervisor.storage import media

Heard = Callable[[str, VmferryError | None], None]


class Comparison:
    """Digests the media that are to be used here, one after the other, while the source does the same.

    Arguments:
        offer, plans: of the move.
        key: of the job.
        host: this host's name, for errors.
        trusted: uid of the user that QEMU runs as.
        on_result: gets each disk's target, and what is wrong with its file; None: it is the same. Another thread calls.
    """

    def __init__(
        self, offer: Offer, plans: Sequence[ArtifactPlan], key: str, host: str, trusted: int, on_result: Heard
    ) -> None:
        self._disks = {disk.target: disk for disk in offer.disks}
        self._plans = [plan for plan in plans if plan.copied_by is CopiedBy.PRESENT]
        self._vm, self._host, self._key, self._trusted = offer.vm, host, key, trusted
        self._heard = on_result
        self._claims: dict[str, str] = {}
        self._stopped = False
        self._changed = threading.Condition()
        if self._plans:
            threading.Thread(target=self._run, name="comparison", daemon=True).start()

    def claim(self, target: str, digest: str) -> None:
        """Take the source's digest of a disk's file, once; a digest of another disk is ignored."""
        with self._changed:
            if any(plan.target == target for plan in self._plans):
                self._claims.setdefault(target, digest)
                self._changed.notify_all()

    def stop(self) -> None:
        """Stop what is not done yet."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _run(self) -> None:
        for plan in self._plans:
            why = self._why(plan)
            if self._stopped:
                return
            error = None
            if why is not None:
                names = {"path": plan.path, "there": self._host, "vm": self._vm, "disk": plan.target}
                error = PreflightError(codes.MEDIA_DIFFERS, why=why, **names)
            self._heard(plan.target, error)

    def _why(self, plan: ArtifactPlan) -> str | None:
        """Return why a file is not the one of the VM."""
        disk = self._disks[plan.target]
        why = media.trouble(plan.path, disk.size or 0, self._trusted)
        if why is not None:
            return why
        try:
            own = media.digest(plan.path, self._key, lambda _done: not self._stopped, format_=disk.format)
        except OSError as error:
            return error.strerror or str(error)
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or plan.target in self._claims)
            if own is None or self._stopped:
                return None
            claimed = self._claims[plan.target]
        return None if media.agree(own, claimed) else "it has another content"
