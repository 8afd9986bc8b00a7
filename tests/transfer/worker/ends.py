"""One VM on two hosts, and a record of one job, in which any call can fail: for the tests of the two ends of a move."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.preflight.make import proposal

from vmferry.core import codes
from vmferry.core.errors import InternalError, PreflightError, UnreachableError, UsageError, VmferryError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.job import Phase, Role
from vmferry.core.messages.api import Outcome
from vmferry.core.messages.offer import Offer
from vmferry.core.messages.vm import Presence
from vmferry.core.move.events import LinkBroken, MessageHeard, WorkerEvent
from vmferry.core.move.messages import FromDestination, WorkerMessage
from vmferry.core.move.phases import may_follow

AWAY, AWAY_DONE = "libvirt or database away", "the same, after the step was taken"
REFUSED = "refused"
DIED, DIED_DONE = "the worker dies", "the worker dies after the step was taken"
ENDS = "the VM ends"
FAULTS = (AWAY, AWAY_DONE, REFUSED, DIED, DIED_DONE)


CUT = VmferryError(codes.LINK_LOST, peer="kvm2", phase="going", why="cut", vm="web01", host="kvm1")


class Died(BaseException):
    """The worker was killed."""


class Failing:
    """Steps that fail as they are told to, one fault for a step in their order; None: it goes well."""

    def __init__(self, faults: list[str | None]) -> None:
        self.faults = faults
        self.on_end: Callable[[], None] = lambda: None

    def step(self, what: str, effect: Callable[[], Any], away: Callable[[], Exception]) -> Any:
        fault = self.faults.pop(0) if self.faults else None
        if fault == ENDS:
            self.on_end()
        if fault == DIED:
            raise Died(what)
        if fault == AWAY:
            raise away()
        if fault == REFUSED:
            raise PreflightError(codes.LIBVIRT_REFUSED, host="kvm2", vm="web01", detail="not now")
        found = effect()
        if fault == DIED_DONE:
            raise Died(what)
        if fault == AWAY_DONE:
            raise away()
        return found


class Record:
    """The journal of one end."""

    def __init__(self, failing: Failing) -> None:
        self._failing = failing
        self.steps: list[tuple[Phase, dict[str, Any]]] = []
        self.said: list[WorkerMessage] = []
        self.doubts: list[str] = []
        self.closed = False
        self.hears = True

    def journal(self, phase: Phase, wait: float = 10.0, **detail: Any) -> None:
        if self.closed:
            raise UsageError(codes.JOB_ENDED, job="0123456789ab", state="failed")
        self._failing.step(f"journal {phase}", lambda: self._append(phase, detail), locked)

    def _append(self, phase: Phase, detail: dict[str, Any]) -> None:
        before = [step for step, _ in self.steps]
        decided = [[Phase.COMMITTING, *before], [Phase.FINISHING, *before]]
        ends = zip(Role, decided, strict=True)
        assert any(may_follow(role, told, phase) for role, told in ends), (before, phase)
        self.steps.append((phase, detail))

    def doubt(self, reason: str) -> None:
        self.doubts.append(reason)
        if self.closed:
            raise UsageError(codes.JOB_ENDED, job="0123456789ab", state="failed")

    def say(self, message: WorkerMessage) -> bool:
        self.said.append(message)
        return self.hears

    def has(self, phase: Phase) -> bool:
        return any(step == phase for step, _ in self.steps)

    def detail(self, phase: Phase) -> dict[str, Any] | None:
        return next((detail for step, detail in reversed(self.steps) if step == phase), None)


class Host:
    """The VM on one host, and its lock there."""

    def __init__(self, failing: Failing, presence: Presence, *, defined: bool, autostart: bool = False) -> None:
        self._failing = failing
        self._presence = presence
        self.defined = defined
        self.starts = autostart
        self.barred = False
        self.ran = False
        self.by_person = False  # whether the last to suspend or resume it was a person, after the move's end
        self.calls: list[str] = []
        failing.on_end = self.end

    def end(self) -> None:
        self._presence = Presence.OFF if self.defined else Presence.ABSENT

    def _step(self, what: str, effect: Callable[[], Any]) -> Any:
        self.calls.append(what)
        return self._failing.step(what, effect, away)

    def now(self) -> Presence:
        if self._presence in (Presence.OFF, Presence.ABSENT):
            self.end()
        return self._presence

    def presence(self, uuid: str, name: str | None = None) -> Presence:
        found: Presence = self._step("presence", self.now)
        return found

    def resume(self, vm: VmIdentity) -> None:
        def effect() -> None:
            if self._presence in (Presence.OFF, Presence.ABSENT):
                raise PreflightError(codes.LIBVIRT_REFUSED, host="kvm2", vm="web01", detail="domain is not running")
            self._presence, self.ran = Presence.RUNNING, True

        self._step("resume", effect)

    def settle(self, uuid: str) -> None:
        self._step("settle", lambda: None)

    def resume_after(self, vm: VmIdentity) -> bool:
        if self.by_person:
            return False
        self.resume(vm)
        return True

    def suspend_after(self, vm: VmIdentity) -> bool:
        def effect() -> bool:
            if self.by_person:
                return False
            self._presence = Presence.PAUSED
            return True

        suspended: bool = self._step("suspend", effect)
        return suspended

    def destroy(self, vm: VmIdentity) -> None:
        self._step("destroy", self.end)

    def define(self, xml: str, *, autostart: bool) -> None:
        def effect() -> None:
            self.defined, self.starts = True, autostart

        self._step("define", effect)

    def hold(self) -> None:
        def effect() -> None:
            self.barred = True

        self._step("hold", effect)

    def lift(self) -> None:
        self.barred = False

    def autostart(self, vm: VmIdentity, *, on: bool) -> None:
        def effect() -> None:
            self.starts = on

        self._step("autostart", effect)

    def starts_with_host(self, vm: VmIdentity) -> bool:
        starts: bool = self._step("starts with host", lambda: self.defined and self.starts)
        return starts

    def forget(self, vm: VmIdentity) -> tuple[str, bool] | None:
        taken = ("<domain/>", self.starts) if self.defined else None

        def effect() -> None:
            self.defined = self.starts = False

        self._step("forget", effect)
        return taken


def away() -> Exception:
    return UnreachableError(codes.LIBVIRT_UNREACHABLE, host="kvm2", why="Connection refused")


def locked() -> Exception:
    return InternalError(codes.DATABASE_FAILED, path="/var/lib/vmferry/vmferry.db", host="kvm2", why="locked")


def offer(*, persistent: bool = True, autostart: bool = True) -> Offer:
    """Return the offer of the VM."""
    told = proposal(autostart=autostart).model_copy(update={"persistent": persistent})
    return Offer(**dict(told), job="0123456789ab", certificate="PEM")


def events(*messages: FromDestination) -> Callable[[float], WorkerEvent]:
    """Return what waits for an event: these messages, and then the end of the session."""
    left: Iterator[FromDestination] = iter(messages)

    def following(_timeout: float) -> WorkerEvent:
        message = next(left, None)
        return LinkBroken(CUT) if message is None else MessageHeard(message)

    return following


def outcome(*, ended: bool = True, problem: dict[str, Any] | None = None) -> Outcome:
    return Outcome(ended=ended, problem=problem)
