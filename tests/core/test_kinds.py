"""Kinds of moves: each is whole, and today's is what it was."""

import pytest

from vmferry.core.kinds import KINDS, SUSPENDED, ArtifactType, CopiedBy, MoveKind
from vmferry.core.libvirt.flags import Flag


def test_every_kind_says_what_it_carries_and_how() -> None:
    assert set(KINDS) == set(MoveKind)
    for kind, row in KINDS.items():
        assert set(row.carriers) == set(ArtifactType), kind
        assert all(row.carriers.values()), kind


@pytest.mark.parametrize(
    ("state", "reason", "allowed"),
    [("running", "booted", True), ("paused", SUSPENDED, True), ("paused", "I/O error", False), ("shut off", "", False)],
)
def test_a_live_move_takes_a_vm_that_runs_or_that_a_person_suspended(state: str, reason: str, allowed: bool) -> None:
    assert KINDS[MoveKind.LIVE].allows(state, reason) is allowed


def test_a_live_move_arrives_paused_and_leaves_both_definitions_to_the_workers() -> None:
    persist_dest, undefine_source = 8, 16  # VIR_MIGRATE_PERSIST_DEST, VIR_MIGRATE_UNDEFINE_SOURCE
    assert Flag.PAUSED in KINDS[MoveKind.LIVE].flags
    assert not int(KINDS[MoveKind.LIVE].flags) & (persist_dest | undefine_source)


def test_what_is_made_at_the_destination_is_what_somebody_fills_there() -> None:
    assert [one for one in CopiedBy if one.made] == [CopiedBy.MIRROR, CopiedBy.FILE, CopiedBy.MEMORY]
