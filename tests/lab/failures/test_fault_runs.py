"""Some runs of the campaign of faults, always the same ones; `make faults` makes as many as one wants."""

from collections.abc import Iterator

import pytest
from tests.faults import plan
from tests.faults.run import Campaign
from tests.lab.harness import Pair

pytestmark = pytest.mark.lab


def _chosen() -> list[int]:
    """Return 25 seeds whose runs are short: the first with each kind of fault, and the first with two faults."""
    short = [seed for seed in range(400) if sum(fault.seconds for fault in plan.of(seed).faults) <= 5]
    first = {kind: next(seed for seed in short if plan.of(seed).faults[0].kind == kind) for kind in plan.KINDS}
    double = [seed for seed in short if len(plan.of(seed).faults) > 1 and seed not in first.values()]
    return sorted([*first.values(), *double[: 25 - len(first)]])


@pytest.fixture(scope="module")
def campaign(paired: Pair) -> Iterator[Campaign]:
    yield Campaign(paired)
    with paired.observing():
        paired.clean()


@pytest.mark.parametrize("seed", _chosen(), ids=lambda seed: f"{seed}: {plan.of(seed).faults[0].kind}")
def test_a_fault_breaks_no_promise(paired: Pair, campaign: Campaign, seed: int) -> None:
    with paired.observing():
        result = campaign.run(plan.of(seed))
    assert result.violations == [], result
