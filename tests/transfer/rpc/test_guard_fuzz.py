import pytest
from tests.transfer.rpc import fuzz_guard


def test_malformed_inputs_are_refused() -> None:
    report = fuzz_guard.run(3_000, seed=20)
    assert report.failures == []
    assert len(report.inputs) == 11  # every kind had its turn


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_malformed_inputs_are_refused() -> None:
    assert fuzz_guard.run(100_000, seed=21).failures == []
