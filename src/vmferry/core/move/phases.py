"""The phases of a job: which may follow which on each end, and what a worker does that finds itself in one.

This is the only place that orders them. The journal refuses any other step (store/jobs.py), a worker that is started
again reads from here how to go on (transfer/), and docs/design.md is drawn from here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from vmferry.core.job import Phase, Role


class Verdict(StrEnum):
    """Whether a move goes or is given up, as far as one end knows; the destination acts on `go` and `abort` alone."""

    OPEN = "open"
    COMMITTING = "committing"
    GO = "go"
    ABORT = "abort"

    @property
    def final(self) -> bool:
        """Whether it never changes."""
        return self in (Verdict.GO, Verdict.ABORT)


class Recovery(StrEnum):
    """What a worker does that finds its job in a phase which an earlier worker had reached."""

    BEGIN = "begins: nothing has been done yet"
    GIVE_UP = "gives the move up"
    FIND_OUT = "finds out what libvirt made of the VM"
    HAND_OVER = "tells the destination `go` until it has it, then takes the VM away here"
    ASK = "asks the source for its verdict"
    LET_RUN = "lets the VM run, then defines it"
    DEFINE = "defines the VM, and resumes it no more"
    UNDO = "goes on with the undoing"
    OBEY = "does what the administrator said"
    NOTHING = "does nothing: the journal is closed"


@dataclass(frozen=True, slots=True)
class Row:
    """One phase on one end.

    Arguments:
        meaning: what the end does in it, or what is on record with it.
        following: the phases that may follow; the same one may always follow, with more detail.
        recovery: what a worker does that finds itself in it.
        verdict: how far the decision has come with it.
    """

    meaning: str
    following: frozenset[Phase]
    recovery: Recovery
    verdict: Verdict = Verdict.OPEN


def _row(meaning: str, recovery: Recovery, verdict: Verdict, *following: Phase) -> Row:
    return Row(meaning, frozenset(following), recovery, verdict)


_OPEN, _COMMITTING, _GO, _ABORT = Verdict

TABLE: dict[Role, dict[Phase, Row]] = {
    Role.SOURCE: {
        Phase.OFFERED: _row(
            "both hosts have agreed, and nothing is made",
            *(Recovery.BEGIN, _OPEN),
            *(Phase.ADMITTED, Phase.CONNECTING, Phase.UNDOING, Phase.ENDED),
        ),
        Phase.ADMITTED: _row(
            "both hosts have a place for the move",
            *(Recovery.BEGIN, _OPEN),
            *(Phase.CONNECTING, Phase.UNDOING, Phase.ENDED),
        ),
        Phase.CONNECTING: _row(
            "the workers find each other; the VM's files are on record",
            *(Recovery.GIVE_UP, _OPEN),
            *(Phase.COPYING_FILES, Phase.COPYING, Phase.UNDOING, Phase.ENDED),
        ),
        Phase.COPYING_FILES: _row(
            "the worker copies read-only disks",
            *(Recovery.GIVE_UP, _OPEN),
            *(Phase.COPYING, Phase.UNDOING, Phase.ENDED),
        ),
        Phase.COPYING: _row(
            "libvirt mirrors the disks, then sends the memory; the VM's id is on record, and who suspended it",
            *(Recovery.GIVE_UP, _OPEN),
            *(Phase.COMMITTING, Phase.UNDOING, Phase.ENDED),
        ),
        Phase.COMMITTING: _row(
            "the reply that ends the VM here may reach libvirt",
            *(Recovery.FIND_OUT, _COMMITTING),
            *(Phase.GOING, Phase.UNDOING, Phase.RESOLVING),
        ),
        Phase.GOING: _row(
            "the VM is the destination's: `go` may be sent",
            *(Recovery.HAND_OVER, _GO),
            *(Phase.SETTLING, Phase.RESOLVING, Phase.ENDED),
        ),
        Phase.SETTLING: _row(
            "the destination has it: definition and disks go here",
            *(Recovery.HAND_OVER, _GO),
            *(Phase.GOING, Phase.RESOLVING, Phase.ENDED),  # `going` again: somebody let it start with its host anew
        ),
        Phase.UNDOING: _row(
            "the move is given up: the VM runs on here",
            *(Recovery.UNDO, _ABORT),
            *(Phase.RESOLVING, Phase.ENDED),
        ),
        Phase.RESOLVING: _row(
            "an administrator has said whose the VM is; the job ends with it, and vmferryd does the rest",
            *(Recovery.NOTHING, _COMMITTING),
            *(Phase.ENDED,),
        ),
        Phase.ENDED: _row("nothing more happens", Recovery.NOTHING, _OPEN),
    },
    Role.DESTINATION: {
        Phase.OFFERED: _row(
            "both hosts have agreed, and nothing is made",
            *(Recovery.BEGIN, _OPEN),
            *(Phase.ADMITTED, Phase.UNDOING, Phase.ENDED),
        ),
        Phase.ADMITTED: _row(
            "the disks are made; their files are on record",
            *(Recovery.GIVE_UP, _OPEN),
            *(Phase.CONNECTING, Phase.UNDOING, Phase.ENDED),
        ),
        Phase.CONNECTING: _row(
            "the worker listens for the source's",
            *(Recovery.GIVE_UP, _OPEN),
            *(Phase.COPYING, Phase.UNDOING, Phase.ENDED),
        ),
        Phase.COPYING: _row(
            "disks and memory come in; what identifies the copy is on record",
            *(Recovery.GIVE_UP, _OPEN),
            *(Phase.FINISHING, Phase.UNDOING, Phase.ENDED),
        ),
        Phase.FINISHING: _row(
            "libvirt's Finish is called: the copy may be complete, and is paused",
            *(Recovery.ASK, _COMMITTING),
            *(Phase.GOING, Phase.UNDOING, Phase.RESOLVING),
        ),
        Phase.GOING: _row(
            "the VM is this host's, and may run",
            *(Recovery.LET_RUN, _GO),
            *(Phase.SETTLING, Phase.RESOLVING),
        ),
        Phase.SETTLING: _row(
            "the VM has run here, or has ended; it is defined",
            *(Recovery.DEFINE, _GO),
            *(Phase.RESOLVING, Phase.ENDED),
        ),
        Phase.UNDOING: _row(
            "the move is given up: the copy and its disks are removed",
            *(Recovery.UNDO, _ABORT),
            *(Phase.RESOLVING, Phase.ENDED),
        ),
        Phase.RESOLVING: _row(
            "an administrator has said whose the VM is",
            *(Recovery.OBEY, _COMMITTING),
            *(Phase.GOING, Phase.SETTLING, Phase.UNDOING),
        ),
        Phase.ENDED: _row("nothing more happens", Recovery.NOTHING, _OPEN),
    },
}


def may_follow(role: Role, phases: Sequence[Phase], then: Phase) -> bool:
    """Return whether a journal may have a step of a phase next.

    Arguments:
        phases: of the journal, in its order.
    """
    if Phase.ENDED in phases:
        return False
    phase = reached(role, phases)
    if role is Role.SOURCE and Phase.RESOLVING in phases:
        phase = Phase.RESOLVING  # the worker takes no further step
    return then in TABLE[role] and (then is phase or then in TABLE[role][phase].following)


def reached(role: Role, phases: Sequence[Phase]) -> Phase:
    """Return the phase that a journal has reached, by which a worker goes on.

    That is the last one, but what an administrator says changes no verdict that is on record, and at the source it
    never is the worker's.

    Arguments:
        phases: of the journal, in its order.
    """
    rows = TABLE[role]
    told = [phase for phase in phases if phase in rows and phase is not Phase.ENDED]
    if role is Role.SOURCE:
        told = [phase for phase in told if phase is not Phase.RESOLVING]
    final = [phase for phase in told if rows[phase].verdict.final]
    if final:
        return [phase for phase in final if rows[phase].verdict is rows[final[0]].verdict][-1]
    return told[-1] if told else Phase.OFFERED


def recovery(role: Role, phases: Sequence[Phase]) -> Recovery:
    """Return what a worker does that finds this journal."""
    return TABLE[role][reached(role, phases)].recovery


def verdict(role: Role, phases: Sequence[Phase]) -> Verdict:
    """Return how far the decision has come by this journal."""
    return TABLE[role][reached(role, phases)].verdict


def drawing() -> str:
    """Return the tables and the drawings of docs/design.md, in Markdown; the drawings are Mermaid's state diagrams."""
    parts = []
    for role, rows in TABLE.items():
        parts += [f"### The {role}'s phases\n", "```mermaid", "stateDiagram-v2", *_arrows(rows), "```\n"]
        parts.append("| phase | what it says | verdict | a worker that finds it |\n|---|---|---|---|")
        told = ((phase, row) for phase, row in rows.items() if phase is not Phase.ENDED)
        parts += [f"| `{phase}` | {row.meaning} | {row.verdict} | {row.recovery} |" for phase, row in told]
        parts.append("")
    return "\n".join(parts)


def _arrows(rows: dict[Phase, Row]) -> Iterator[str]:
    yield f"    [*] --> {_name(Phase.OFFERED)}"
    for phase, row in rows.items():
        for then in _ordered(row.following):
            yield f"    {_name(phase)} --> {_name(then)}"


def _ordered(phases: Iterable[Phase]) -> list[Phase]:
    return sorted(phases, key=list(Phase).index)


def _name(phase: Phase) -> str:
    return "[*]" if phase is Phase.ENDED else phase.value.replace("-", "_")
