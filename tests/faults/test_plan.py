from pathlib import Path

from tests.faults import plan
from tests.faults.campaign import read, table
from tests.faults.run import Result


def test_a_seed_gives_the_same_run_each_time() -> None:
    assert [plan.of(seed) for seed in range(50)] == [plan.of(seed) for seed in range(50)]


def test_a_hundred_runs_have_every_kind_and_every_step_several_times() -> None:
    faults = [fault for seed in range(100) for fault in plan.of(seed).faults]
    for kind in plan.KINDS:
        assert sum(fault.kind == kind for fault in faults) >= 3, kind
    for step in plan.STEPS:
        assert any(fault.at == step for fault in faults), step
    assert {fault.side for fault in faults} == {plan.SOURCE, plan.DESTINATION}


def test_only_what_lasts_has_a_duration() -> None:
    for fault in (fault for seed in range(100) for fault in plan.of(seed).faults):
        assert (fault.seconds > 0) == (fault.kind in plan.LASTING)


def test_the_table_counts_a_run_under_each_of_its_kinds_and_once_in_all() -> None:
    two = Result(1, [], ["worker killed", "QEMU killed"], "kvm1", "bookworm", hit=True, outcome="done", recovery=2.0)
    one = Result(2, [], ["QEMU killed"], "kvm2", "trixie", hit=False, violations=["two copies ran"], recovery=4.0)
    lines = table([two, one]).splitlines()
    assert "| worker killed | 1 | 1 | 1 | 0 | 0 | 2.0, 2.0 |" in lines
    assert "| QEMU killed | 2 | 1 | 1 | 1 | 1 | 3.0, 4.0 |" in lines
    assert "| **all runs** | 2 | 1 | 1 | 1 | 1 | 3.0, 4.0 |" in lines
    assert lines[-1] == "Sources: 1 runs from bookworm, 1 runs from trixie."


def test_a_campaign_that_has_not_begun_has_no_results(tmp_path: Path) -> None:
    assert read(tmp_path / "results.jsonl") == []
