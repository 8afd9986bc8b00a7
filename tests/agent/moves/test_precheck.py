"""What both hosts say of a move before it begins."""

from pathlib import Path

from tests.agent.world import ANN, LATE, MISSING, ONLY, World, another, found
from tests.preflight.make import THERE

from vmferry.agent.moves.outgoing import OutgoingMoves
from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import MoveOptions


def test_both_halves_make_one_report(moves: OutgoingMoves, world: World) -> None:
    assert found(moves) == []
    world.findings = [MISSING, LATE]
    world.vm = world.vm.model_copy(update={"snapshots": 1})
    assert found(moves) == ["vm-has-snapshots", "network-missing", "clock-differs"]
    assert world.proposed[-1].host == THERE
    assert world.proposed[-1].caller == ANN


def test_a_check_leaves_nothing(moves: OutgoingMoves, world: World, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    found(moves)
    assert world.nonces == [world.proposed[0].disks[0].nonce]
    assert {file for file in tmp_path.iterdir() if file.name.startswith(".vmferry")} == set()
    assert before <= set(tmp_path.iterdir())
    assert moves.jobs.list() == []
    assert world.asked == ["check"]


def test_a_destination_without_a_network_is_not_told_of_twice(moves: OutgoingMoves, world: World) -> None:
    moves.settings.save(ONLY)
    world.addresses = []
    world.findings = [
        Finding.blocks(codes.MIGRATION_NETWORK_MISSING, ("", "no address"), host="kvm2", networks="10.95.0.0/24")
    ]
    assert found(moves) == ["migration-network-missing"]


def test_a_check_foretells_when_it_is_asked_to_or_has_to(moves: OutgoingMoves, world: World) -> None:
    for predict, options, asked in (
        (False, MoveOptions(), ["check"]),
        (True, MoveOptions(), ["check", "foretell"]),
        (False, MoveOptions(deadline=60.0), ["check", "foretell"]),
        (False, MoveOptions(max_downtime=0.1), ["check", "foretell"]),
    ):
        world.asked.clear()
        moves.prospects.check("web01", "kvm2", options, ANN, predict=predict)
        assert world.asked == asked


def test_a_check_warns_of_a_host_that_is_full(moves: OutgoingMoves) -> None:
    assert found(moves) == []
    for number in (1, 2):
        another(moves, str(number) * 12)
    assert found(moves) == ["limit-reached"]
