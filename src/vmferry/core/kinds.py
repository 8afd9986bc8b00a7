"""Kinds of moves: what each one carries and by whom, and what it asks of libvirt.

How a kind commits is in its two ends (transfer/worker/main.py, ENDS). Everything else that differs is read from
`KINDS`. A host of another release need not know each kind: it refuses an offer whose `kind` it does not know.
"""

from dataclasses import dataclass
from enum import StrEnum

from vmferry.core.libvirt.flags import Flag


class MoveKind(StrEnum):
    """What moves, and how."""

    LIVE = "live"


class ArtifactType(StrEnum):
    """What a VM consists of besides its memory and its definition."""

    DISK = "disk"
    FIRMWARE_VARIABLES = "firmware-variables"


class CopiedBy(StrEnum):
    """Who brings an artifact to the destination."""

    MIRROR = "mirror"
    """QEMU's NBD mirror, while the VM runs and writes."""
    FILE = "file"
    """The workers: nobody writes it meanwhile."""
    PRESENT = "present"
    """Nobody: the destination has such a file. The workers compare the two."""
    MEMORY = "memory"
    """QEMU, with the VM's memory; the destination makes the file for it."""
    NONE = "none"
    """Nobody: both hosts see the same file."""

    @property
    def made(self) -> bool:
        """Whether the destination makes a file for it, and removes that file when the move is given up."""
        return self in (CopiedBy.MIRROR, CopiedBy.FILE, CopiedBy.MEMORY)


@dataclass(frozen=True, slots=True)
class KindRow:
    """One kind of move.

    Arguments:
        states: libvirt's states (and reasons, where only one of them will do) in which the VM may be.
        flags: that every such migration has.
        carriers: who may bring each type of artifact.
    """

    states: frozenset[tuple[str, str | None]]
    flags: Flag
    carriers: dict[ArtifactType, frozenset[CopiedBy]]

    def allows(self, state: str, reason: str) -> bool:
        """Return whether a VM in such a state can be moved so."""
        return (state, None) in self.states or (state, reason) in self.states


SUSPENDED = "suspended by somebody"
"""Why a VM is paused that a person has suspended, e.g. with `virsh suspend`."""

KINDS = {
    MoveKind.LIVE: KindRow(
        states=frozenset({("running", None), ("paused", SUSPENDED)}),
        # Never PERSIST_DEST: the destination's worker defines the VM, so no cookie is trusted with that. Never
        # UNDEFINE_SOURCE: the source's definition goes last of all. Always PAUSED: docs/design.md, The commit.
        flags=Flag.LIVE | Flag.PEER2PEER | Flag.PAUSED | Flag.ABORT_ON_ERROR,
        carriers={
            ArtifactType.DISK: frozenset({CopiedBy.MIRROR, CopiedBy.FILE, CopiedBy.PRESENT, CopiedBy.NONE}),
            ArtifactType.FIRMWARE_VARIABLES: frozenset({CopiedBy.MEMORY}),
        },
    )
}
