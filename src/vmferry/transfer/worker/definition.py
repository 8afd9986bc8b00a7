"""A VM's definition that was changed while the VM was copied: what is granted was read before the copy began.

The source reads it once more when the VM is the destination's, before it takes it away. The destination judges the
newer one as it judged the first. What it does not take over is kept in a file at the source, and the job says so.
"""

import base64
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from vmferry import safefiles
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import UsageError, VmferryError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.libvirt import domainxml, hostpolicy
from vmferry.core.libvirt.xmldiff import differences
from vmferry.core.messages.offer import Offer
from vmferry.core.messages.snapshot import DiskTarget
from vmferry.core.move.events import LinkBroken, MessageHeard, WorkerEvent
from vmferry.core.move.messages import Define, NotRedefined, Redefined, WorkerMessage
from vmferry.hypervisor.domains import Domains
from vmferry.hypervisor.snapshot import Snapshots
from vmferry.jobs.spec import Spec
from vmferry.preflight import plan

_ANSWER_LIMIT = 10.0
_TICK = 0.5
_PART = 2000  # characters
_TIMES = 3  # that a definition may change anew while the destination is told of it


class Definitions(Protocol):
    """What is asked of the VMs of this host (hypervisor/domains.py)."""

    def definition(self, uuid: str) -> tuple[str, bool] | None:
        """Return a VM's inactive XML and its autostart; None: it has no definition."""


@dataclass(frozen=True, slots=True)
class Definition:
    """How a VM is defined.

    Arguments:
        xml: the inactive XML; None: the VM has no definition.
        autostart: whether it starts with its host.
    """

    xml: str | None
    autostart: bool = False

    @classmethod
    def offered(cls, offer: Offer) -> "Definition":
        """Return the definition that was offered."""
        return cls(offer.persistent_xml, offer.autostart) if offer.persistent else cls(None)

    @classmethod
    def read(cls, domains: Definitions, uuid: str) -> "Definition":
        """Read the definition as it is now.

        Raises:
            VmferryError: libvirt does not answer, or says no.
        """
        found = domains.definition(uuid)
        return cls(*found) if found is not None else cls(None)

    def same(self, other: "Definition") -> bool:
        """Return whether two definitions mean the same."""
        if self.xml is None or other.xml is None:
            return self.xml is other.xml
        return self.autostart == other.autostart and (self.xml == other.xml or not differences(self.xml, other.xml))

    def message(self) -> Define:
        """Return what the source tells the destination's worker."""
        return Define(xml=None if self.xml is None else _packed(self.xml), autostart=self.autostart)


def _packed(text: str) -> tuple[str, ...]:
    """Return a text so that it passes a message as it is: what is shown to people is one printable line there."""
    raw = base64.b64encode(text.encode()).decode()
    return tuple(raw[start : start + _PART] for start in range(0, len(raw), _PART))


def _unpacked(parts: tuple[str, ...]) -> str:
    try:
        return base64.b64decode("".join(parts), validate=True).decode()
    except ValueError as error:
        raise UsageError(codes.BAD_REQUEST, detail="a definition is no text") from error


def take(config: Config, domains: Domains, work: Spec, message: Define) -> Redefined | NotRedefined:
    """Take a newer definition over at the destination, if this host accepts it; returns the answer for the source."""
    try:
        _take(config, domains, work, message)
    except VmferryError as error:
        return NotRedefined(problem=error.problem())
    return Redefined()


def _take(config: Config, domains: Domains, work: Spec, message: Define) -> None:
    if message.xml is None:
        domains.forget(VmIdentity(work.offer.uuid, work.offer.vm))
        return
    xml = _unpacked(message.xml)
    paths = [disk.path for disk in domainxml.disks(xml)]
    kept = [one for one in work.offer.artifacts if not one.idle or one.path in paths]
    newer = {"persistent_xml": xml, "persistent": True, "definition": None, "artifacts": kept}
    offer = work.offer.model_copy(update=newer)
    snapshots = Snapshots(config)
    here = snapshots.destination(offer, plan.paths(offer))
    granted = [DiskTarget(target=one.target, path=one.path, shared=one.shared) for one in work.grant.disks]
    planned = plan.make(offer, here.model_copy(update={"places": granted}))
    reasons = [
        *hostpolicy.violations(planned.persistent_xml, here.policy),
        *hostpolicy.strays(planned.persistent_xml, planned.defined),
    ]
    names = {"host": config.name, "vm": offer.vm}
    if reasons:
        raise VmferryError(codes.DEFINITION_REFUSED, why="; ".join(reasons), **names)
    refusal = snapshots.refusal(planned.persistent_xml)
    if refusal is not None:
        raise VmferryError(codes.DEFINITION_REFUSED, why=refusal, **names)
    domains.define(planned.persistent_xml, autostart=message.autostart)


class Teller:
    """Tells the destination of a definition that was changed while the VM was copied.

    Arguments:
        state_folder: where what the destination does not take over is kept.
        work: the job.
        domains: the VMs of this host.
        say: sends a message to the destination's worker, and returns whether it could.
        next_event: waits for what comes next, at most so many seconds.
    """

    def __init__(
        self,
        state_folder: Path,
        work: Spec,
        domains: Definitions,
        say: Callable[[WorkerMessage], bool],
        next_event: Callable[[float], WorkerEvent],
    ) -> None:
        self._state_folder = state_folder
        self._work = work
        self._domains = domains
        self._say = say
        self._next_event = next_event
        self._seen = Definition.offered(work.offer)  # last: told, or kept

    def tell(self, started: bool) -> list[str]:
        """Tell the destination of the definition as it is now; returns what it has not taken over, in words.

        Arguments:
            started: whether the VM was started with its host until that was taken away here.

        Raises:
            VmferryError: libvirt does not answer, or says no.
        """
        for _ in range(_TIMES):
            now = Definition.read(self._domains, self._work.offer.uuid)
            now = replace(now, autostart=now.autostart or started)
            if now.same(self._seen):
                return []
            left = self._tell(now)
            if left:
                return left
        return [_keep(self._state_folder, self._work, self._seen, "it was changed again and again")]

    def tell_last(self, taken: tuple[str, bool] | None, started: bool) -> list[str]:
        """Tell the destination of a definition that was changed after `tell`, just before it was taken away here.

        Arguments:
            taken: the definition that was taken away, and its autostart; None: somebody else had done so.
            started: as for `tell`.
        """
        last = Definition(None) if taken is None else Definition(*taken)
        last = replace(last, autostart=last.autostart or started)
        return [] if last.same(self._seen) else self._tell(last)

    def _tell(self, newer: Definition) -> list[str]:
        self._seen = newer
        answer = _ask(self._say, self._next_event, newer.message())
        if answer is None:
            return [_keep(self._state_folder, self._work, newer, "it did not answer")]
        if isinstance(answer, NotRedefined):
            why = VmferryError.from_problem(answer.problem).reason
            return [_keep(self._state_folder, self._work, newer, why)]
        return []


def _ask(
    say: Callable[[WorkerMessage], bool], next_event: Callable[[float], WorkerEvent], message: Define
) -> Redefined | NotRedefined | None:
    """Send the destination's worker a definition and wait for its answer; None: there is none."""
    limit = time.monotonic() + _ANSWER_LIMIT
    try:
        said = say(message)
    except ValueError:
        return None  # longer than a message can be
    while said and time.monotonic() < limit:
        match next_event(_TICK):
            case LinkBroken():
                return None
            case MessageHeard(Redefined() | NotRedefined() as answer):
                return answer
    return None


def _keep(state_folder: Path, work: Spec, newer: Definition, why: str) -> str:
    """Keep a definition that the destination has not taken; returns what to tell of it."""
    vm, peer = work.offer.vm, work.peer
    if newer.xml is None:
        command = shlex.join(["virsh", "undefine", vm, "--keep-nvram"])
        return f"{vm} was undefined here while it was copied, and {peer} has it defined ({why}): `{command}` there"
    folder = state_folder / "definitions"
    path = folder / f"{work.job}.xml"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        safefiles.write(path, newer.xml)
    except OSError as error:
        where = f"it could not be kept ({error.strerror})"
    else:
        where = f"it is kept in {path}"
    start = f"; autostart was {'on' if newer.autostart else 'off'}" if newer.autostart != work.offer.autostart else ""
    return (
        f"the definition of {vm} was changed while it was copied, and {peer} has the older one ({why}): {where}{start}"
    )
