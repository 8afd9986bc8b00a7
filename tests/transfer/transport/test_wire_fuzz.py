import pytest
from tests.transfer import fuzz_wire


def test_malformed_inputs_are_refused() -> None:
    assert fuzz_wire.run(3_000, seed=20) == []


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_malformed_inputs_are_refused() -> None:
    assert fuzz_wire.run(100_000, seed=21) == []
