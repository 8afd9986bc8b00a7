"""Which VM a job may end, let run or take away: its own, by UUID, name and libvirt's id, and no other.

At the destination that is the copy that this job's Prepare made where there was none before; at the source the VM
that ran as the copying began.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from vmferry.core import codes
from vmferry.core.errors import AccessError, PreflightError, UsageError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.job import Phase
from vmferry.core.messages.offer import Offer
from vmferry.core.messages.vm import Presence
from vmferry.jobs.persist import why
from vmferry.store.jobs import JournalStep

_LIBVIRT_LIMIT = 20.0
_LOOK_AGAIN = 0.05


class Here(Protocol):
    """What is asked and done about the VMs of this host (hypervisor/domains.py)."""

    def alike(self, uuid: str, name: str) -> list[VmIdentity]:
        """Return the VMs with that UUID or that name."""

    def presence(self, uuid: str, name: str | None = None) -> Presence:
        """Return how one stands."""

    def destroy(self, vm: VmIdentity) -> None:
        """End it."""


class OwnCopy:
    """The copy at the destination.

    Arguments:
        domains: the VMs of this host.
        offer: of the move.
        host: this host's name.
        journal: writes details of the copying down, durably.
        unless_given_up: takes a step beside which the move is not given up; raises when it has been.

    `vm` is what identifies it; None: this job made none, so there is nothing here that it may touch.
    """

    def __init__(
        self,
        domains: Here,
        offer: Offer,
        host: str,
        journal: Callable[..., None],
        unless_given_up: Callable[[Callable[[], None]], None],
    ) -> None:
        self._domains = domains
        self._offer = offer
        self._host = host
        self._journal = journal
        self._unless_given_up = unless_given_up
        self.vm: VmIdentity | None = None

    def recall(self, steps: Sequence[JournalStep]) -> None:
        """Read back what an earlier worker of the job had written down."""
        noted = [step.detail["copy"] for step in steps if "copy" in step.detail]
        self.vm = self._named(noted[-1]["id"]) if noted and noted[-1] is not None else None

    def announce(self) -> None:
        """Write down that libvirt is about to make the copy, and that no such VM was here before.

        Raises:
            PreflightError: uuid-taken or name-taken; that one is not this job's.
            AccessError: rpc-refused; it was made already.
            VmferryError: libvirt or the journal is away.
        """
        offer = self._offer
        for found in self._domains.alike(offer.uuid, offer.vm) if self.vm is None else ():
            if found.uuid == offer.uuid:
                raise PreflightError(codes.UUID_TAKEN, host=self._host, uuid=offer.uuid, vm=found.name)
            raise PreflightError(codes.NAME_TAKEN, host=self._host, vm=offer.vm)

        def note() -> None:
            if self.vm is not None:
                raise AccessError(codes.RPC_REFUSED, host=self._host, why="a second Prepare")
            self._journal(copy={"id": None})
            self.vm = self._named(None)

        self._unless_given_up(note)

    def made(self, succeeded: bool) -> None:
        """Write down what came of it: the copy's id, or that there is none.

        Raises:
            PreflightError: not-this-vm; another one is here instead, or none.
            VmferryError: libvirt or the journal is away.
        """
        offer = self._offer
        if not succeeded:
            self.vm = None  # whoever is here now is somebody else's
            self._unless_given_up(lambda: self._journal(copy=None))
            return
        found = self._domains.alike(offer.uuid, offer.vm)
        if len(found) != 1 or found[0].id is None or found[0] != self._named(found[0].id):
            raise PreflightError(codes.NOT_THIS_VM, uuid=offer.uuid, host=self._host, why="the copy is not there")

        def note() -> None:
            self._journal(copy={"id": found[0].id})
            self.vm = found[0]

        self._unless_given_up(note)

    def remove(self) -> list[str]:
        """End the copy, which is paused or not complete; returns what stays since it is not this job's.

        Raises:
            VmferryError: libvirt is away, or at work on it.
        """
        if self.vm is None:
            return []
        limit = time.monotonic() + _LIBVIRT_LIMIT
        while self._domains.presence(self.vm.uuid, self.vm.name) not in (Presence.ABSENT, Presence.OFF):
            try:
                self._domains.destroy(self.vm)
            except PreflightError as error:  # libvirt removes it itself at the same time, or it is another one
                if error.code is codes.NOT_THIS_VM:
                    return [f"{self.vm.name}: {why(error)}"]
                if time.monotonic() > limit:
                    raise
            time.sleep(_LOOK_AGAIN)
        return []

    def _named(self, number: int | None) -> VmIdentity:
        return VmIdentity(self._offer.uuid, self._offer.vm, number)


def leaving(domains: Here, offer: Offer, host: str) -> VmIdentity:
    """Return what identifies the VM at the source, which runs as the copying begins.

    Raises:
        UsageError: vm-unknown; it has ended since.
        VmferryError: libvirt is away.
    """
    for found in domains.alike(offer.uuid, offer.vm):
        if (found.uuid, found.name) == (offer.uuid, offer.vm) and found.id is not None:
            return found
    raise UsageError(codes.VM_UNKNOWN, vm=offer.vm, host=host)


def left(steps: Sequence[JournalStep], uuid: str, name: str) -> VmIdentity:
    """Return what identifies the VM at the source, as the journal has it: without an id before the copying began."""
    details: list[dict[str, Any]] = [step.detail for step in steps if step.phase is Phase.COPYING]
    number = details[-1].get("id") if details else None
    return VmIdentity(uuid, name, number)
