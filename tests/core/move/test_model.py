"""Both ends of a move, interleaved in any way with everything that may go wrong: the specification of the commit.

At no moment are two copies allowed to run; what is allowed to run is the newest; one copy is left unless the VM itself
ended; and every run ends.
"""

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.move.faults import Faulty
from tests.core.move.model import World

from vmferry.core.job import State

LIMIT = 3000
SEEN: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def counted() -> Iterator[None]:
    """Print how many interleavings there were, and how they ended (`pytest -s`)."""
    yield
    print(f"\n{SEEN.total()} interleavings:", ", ".join(f"{how} {number}" for how, number in SEEN.most_common()))


def carry(choose: random.Random, length: int, failing: float) -> World:
    """Let a move go its way, with faults for some steps, and then to its end."""

    def chance(_what: str) -> str:
        if choose.random() > failing:
            return "well"
        return choose.choice(["dies", "dies after", "fails", "fails after"])

    world = Faulty(chance, files=choose.random() < 0.3, autostart=choose.random() < 0.5)
    trace: list[str] = []
    try:
        for number in range(LIMIT):
            world.calm = number >= length
            moves = world.moves()
            ordinary = len(moves) - (0 if world.calm else len(world.faults()))
            if not moves or (world.s.over and world.d.over and world.calm):
                break
            rare = choose.random() < failing or not ordinary
            name, move = choose.choice(moves if rare else moves[:ordinary])
            trace.append(name)
            move()
            world.check()
        assert world.s.over, "the source does not end"
        assert world.d.over, "the destination does not end"
        world.settled()
    except AssertionError as error:
        raise AssertionError("\n".join([*trace, f"{world.s.told()}\n{world.d.told()}", str(error)])) from error
    return world


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 80), st.sampled_from([0.0, 0.05, 0.15, 0.4]))
def test_one_host_has_the_vm_whatever_happens(seed: int, length: int, failing: float) -> None:
    world = carry(random.Random(seed), length, failing)
    SEEN[f"{world.s.over}/{world.d.over}"] += 1


def test_a_move_without_a_fault_is_done() -> None:
    world = carry(random.Random(1), 0, 0.0)
    assert (world.s.over, world.d.over) == (State.DONE, State.DONE)


@pytest.mark.campaign
@pytest.mark.timeout(7200)
def test_many_interleavings() -> None:
    """Some 200,000, of which the outcomes are printed."""
    for seed in range(200_000):
        choose = random.Random(seed)
        world = carry(choose, choose.randrange(100), choose.choice([0.02, 0.05, 0.1, 0.2, 0.4]))
        SEEN[f"{world.s.over}/{world.d.over}"] += 1
