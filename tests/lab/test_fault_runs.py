"""Some runs of the campaign of faults, always the same ones; `make faults` makes as many as one wants."""

from collections.abc import Iterator

import pytest

from tests.faults import plan
from tests.faults.run import Campaign
from tests.lab.harness import Pair

pytestmark = pytest.mark.lab

RUNS = 25


@pytest.fixture(scope="module")
def campaign(paired: Pair) -> Iterator[Campaign]:
    yield Campaign(paired)
    with paired.observing():
        paired.clean()


@pytest.mark.parametrize("seed", range(RUNS), ids=lambda seed: f"{seed}: {plan.of(seed).faults[0].kind}")
def test_a_fault_breaks_no_promise(paired: Pair, campaign: Campaign, seed: int) -> None:
    with paired.observing():
        result = campaign.run(plan.of(seed))
    assert result.violations == [], result
