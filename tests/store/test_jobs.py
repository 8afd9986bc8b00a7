"""Jobs and their journal."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store.steps import walk

from vmferry.core import codes
from vmferry.core.errors import InternalError, UsageError, VmferryError
from vmferry.core.job import Phase, Role, State, Summary
from vmferry.core.kinds import MoveKind
from vmferry.core.messages.offer import Caller
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs

ROOT = Caller(name="root", host="kvm1", method="unix")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    with Database(tmp_path / "vmferry.db") as database:
        yield Jobs(database, "kvm1")


def add(jobs: Jobs, id: str = "0001", vm: str = "web01") -> None:  # noqa: A002
    jobs.create(id, Role.SOURCE, vm, "kvm2", ROOT, {"include_storage": True})


def test_new_job_is_running_and_offered(jobs: Jobs) -> None:
    add(jobs)
    job = jobs.get("0001")
    assert (job.state, job.phase, job.caller, job.options) == (
        State.RUNNING,
        Phase.OFFERED,
        ROOT,
        {"include_storage": True},
    )
    assert job.kind is MoveKind.LIVE
    assert [step.phase for step in jobs.steps("0001")] == [Phase.OFFERED]


def test_a_job_of_a_release_that_knew_one_kind_is_of_that_kind(tmp_path: Path) -> None:
    with Database(tmp_path / "old.db") as database:
        add(Jobs(database, "kvm1"))
        with database.transaction() as connection:
            connection.execute("ALTER TABLE jobs DROP COLUMN kind")
            connection.execute("PRAGMA user_version = 5")
    with Database(tmp_path / "old.db") as database:
        assert Jobs(database, "kvm1").get("0001").kind is MoveKind.LIVE


def test_step_changes_row_and_journal(jobs: Jobs) -> None:
    add(jobs)
    jobs.step("0001", Phase.ADMITTED, disks=["vda"])
    jobs.step("0001", Phase.ADMITTED, disks=["vdb"])
    jobs.step("0001", Phase.CONNECTING)
    assert jobs.get("0001").phase is Phase.CONNECTING
    assert [step.seq for step in jobs.steps("0001", after=2)] == [3, 4]
    last = jobs.last("0001", Phase.ADMITTED)
    assert last is not None
    assert last.detail == {"disks": ["vdb"]}
    assert jobs.last("0001", Phase.GOING) is None


def test_one_move_of_a_vm_at_a_time(jobs: Jobs) -> None:
    add(jobs)
    with pytest.raises(VmferryError) as caught:
        add(jobs, "0002")
    assert caught.value.code is codes.VM_BUSY
    assert caught.value.fields == {"vm": "web01", "job": "0001"}
    assert jobs.find("0002") is None
    add(jobs, "0003", "web02")
    jobs.end("0001", State.DONE)
    add(jobs, "0002")
    busy = jobs.active_for("web01")
    assert busy is not None
    assert busy.id == "0002"
    assert [job.id for job in jobs.active()] == ["0003", "0002"]
    assert [job.id for job in jobs.list()] == ["0001", "0003", "0002"]


def test_end_closes_the_journal_once(jobs: Jobs) -> None:
    add(jobs)
    walk(jobs, "0001", Phase.COPYING)
    problem = VmferryError(codes.LINK_LOST, peer="kvm2", phase="copying", why="x", vm="v", host="h").problem()
    assert jobs.end("0001", State.FAILED, problem, Summary(total_time=1.5))
    assert not jobs.end("0001", State.DONE)
    assert not jobs.mark("0001", State.IN_DOUBT, "too late")
    job = jobs.get("0001")
    assert (job.state, job.phase, job.error) == (State.FAILED, Phase.COPYING, problem)
    assert job.reason == problem["detail"]
    assert job.summary == Summary(total_time=1.5)
    assert job.ended_at is not None
    assert jobs.steps("0001")[-1].phase is Phase.ENDED
    with pytest.raises(UsageError, match="has already ended"):
        jobs.step("0001", Phase.SETTLING)
    assert jobs.active() == []


def test_a_step_out_of_order_is_refused_and_leaves_the_journal_as_it_was(jobs: Jobs) -> None:
    add(jobs)
    walk(jobs, "0001", Phase.COMMITTING)
    before = jobs.steps("0001"), jobs.get("0001")
    for then in (Phase.COPYING, Phase.SETTLING, Phase.FINISHING, Phase.OFFERED):
        with pytest.raises(InternalError, match=f"cannot go from phase committing to {then}") as caught:
            jobs.step("0001", then)
        assert caught.value.code is codes.PHASE_REFUSED
    with pytest.raises(InternalError) as caught:
        jobs.end("0001", State.FAILED)
    assert caught.value.code is codes.PHASE_REFUSED
    assert (jobs.steps("0001"), jobs.get("0001")) == before


def test_detail_is_added_to_the_phase_that_the_job_is_in(jobs: Jobs) -> None:
    add(jobs)
    walk(jobs, "0001", Phase.COPYING, id=7)
    jobs.note("0001", resumed="by hand")
    last = jobs.last("0001", Phase.COPYING)
    assert last is not None
    assert (last.detail, jobs.get("0001").phase) == ({"id": 7, "resumed": "by hand"}, Phase.COPYING)
    jobs.end("0001", State.FAILED)
    for job, code in (("0001", codes.JOB_ENDED), ("0009", codes.JOB_UNKNOWN)):
        with pytest.raises(UsageError) as caught:
            jobs.note(job, resumed="by hand")
        assert caught.value.code is code


def test_doubt_blocks_the_vm_and_the_peer(jobs: Jobs) -> None:
    add(jobs)
    assert jobs.mark("0001", State.IN_DOUBT, "libvirt does not answer")
    job = jobs.active_with("kvm2")
    assert job is not None
    assert (job.state, job.reason) == (State.IN_DOUBT, "libvirt does not answer")
    assert jobs.active_with("kvm3") is None
    with pytest.raises(VmferryError):
        add(jobs, "0002")


def test_unknown_job(jobs: Jobs) -> None:
    with pytest.raises(VmferryError) as caught:
        jobs.get("0009")
    assert caught.value.code is codes.JOB_UNKNOWN
    with pytest.raises(UsageError):
        jobs.step("0009", Phase.GOING)
