"""What the source of a move knows: the state of its reducer (source.py)."""

from collections.abc import Sequence
from dataclasses import dataclass

from vmferry.core.errors import VmferryError
from vmferry.core.job import Phase, Role
from vmferry.core.messages.vm import Presence
from vmferry.core.move import actions as do
from vmferry.core.move import phases
from vmferry.core.move.phases import Verdict


@dataclass(frozen=True, slots=True)
class SourceState:
    """What the source knows.

    Arguments:
        phase: the last step on record.
        files: whether there are disks that nobody writes, which the worker copies.
        error: why the move is given up, or is to be.
        suspended: whether a person has suspended the VM; `noted`: as the journal has it.
        writing, doing: the urgent action and the work under way.
        tries: how often the work was tried.
        unsure: `committing` may be on record, though the database said that it is not.
        passed: libvirt was given the reply; `read`: it has read it.
        found: what became of the VM, and why that is concluded.
        said: whether `go` was sent over the session; None: not yet.
        ended: the destination's job has ended; `lost`: why the VM does not run there.
        settled: an earlier worker had come to take the definition away.
        gone: whether the definition is gone; None: not tried.
        told: whether the destination has heard that the move is given up; None: not tried.
        stands: how the VM stands after that.
    """

    phase: Phase = Phase.OFFERED
    verdict: Verdict = Verdict.OPEN
    files: bool = False
    error: VmferryError | None = None
    suspended: bool = False
    noted: bool = False
    writing: do.Action | None = None
    doing: do.Action | None = None
    tries: int = 0
    connected: bool = False
    copied: bool = False
    migrating: bool = False
    finish_called: bool = False
    marked: bool = False
    unsure: bool = False
    locked: bool = False
    reply: bool = False
    replied: bool = False
    passed: bool = False
    read: bool = False
    found: tuple[Verdict, str] | None = None
    said: bool | None = None
    off: bool = False
    ticks: int = 0
    insisting: bool = False
    may_bar: bool = False
    starts: bool | None = None
    started: bool = False
    barred: bool = False
    ended: bool = False
    lost: VmferryError | None = None
    settled: bool = False
    defined: bool = False
    refusals: int = 0
    gone: bool | None = None
    unlocked: bool = False
    removed: bool = False
    stopped: bool = False
    told: bool | None = None
    closed: bool = False
    resumes: int = 0
    looks: int = 0
    seen: Presence | None = None
    stands: Presence | None = None
    reached: bool = False
    proofs: bool = False
    bye: bool = False
    over: bool = False

    @property
    def committed(self) -> bool:
        """Whether libvirt may have the reply that ends the VM here, if it is the destination's."""
        return self.verdict in (Verdict.COMMITTING, Verdict.GO) and self.locked


def begin(phase: Phase = Phase.OFFERED, *, files: bool = False, suspended: bool = False) -> SourceState:
    """Return the state of a move that begins."""
    return SourceState(phase=phase, files=files, suspended=suspended, noted=suspended)


def recover(
    told: Sequence[Phase], died: VmferryError, *, suspended: bool = False, started: bool = False
) -> SourceState:
    """Return the state of a worker that goes on from the journal; core/move/phases.py says how.

    Arguments:
        told: the phases of the journal.
        died: that an earlier worker died.
        suspended: whether a person has suspended the VM, by the journal.
        started: whether an earlier worker has found that the VM starts with its host.
    """
    verdict = phases.verdict(Role.SOURCE, told)
    return SourceState(
        phase=phases.reached(Role.SOURCE, told),
        verdict=verdict,
        error=None if verdict is Verdict.GO else died,
        suspended=suspended,
        noted=suspended,
        started=started,
        settled=Phase.SETTLING in told,
    )
