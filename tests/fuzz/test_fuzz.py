"""Every parser of what another host sends takes its seeds, and answers everything else in its proper way."""

from pathlib import Path

import pytest

pytest.importorskip("libvirt")
from tests.fuzz.mutations import mutations
from tests.fuzz.run import run
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_seed_is_taken(name: str) -> None:
    TARGETS[name].run(TARGETS[name].seeds[0])  # past every refusal
    for seed in TARGETS[name].seeds:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_seed_does_no_harm(name: str) -> None:
    target = TARGETS[name]
    for data in mutations(target.seeds, 1000, number=20):
        target(data)


@pytest.mark.campaign
@pytest.mark.parametrize("name", TARGETS)
def test_what_the_fuzzer_finds(tmp_path: Path, name: str) -> None:
    pytest.importorskip("atheris")
    result = run(name, 60, tmp_path)
    assert result.executions > 100
    assert not result.said, result.said[-4000:]
