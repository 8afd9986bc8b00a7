"""An administrator ends a move, whatever the other host does; real control sockets, a worker in a few lines."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.store.steps import walk

from vmferry.agent.moves.endings import Endings
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import CancelledError, InternalError, UsageError
from vmferry.core.job import Phase, Role, State
from vmferry.core.messages.offer import Caller
from vmferry.jobs.control import ControlServer, path
from vmferry.jobs.requests import CancelRequest, RequestTaken, WorkerAnswer, WorkerRequest
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs

ROOT = Caller(name="root", host="kvm2", method="unix")


class Worker:
    """A worker that gives the move up when it is told to."""

    def __init__(self, config: Config, jobs: Jobs, job: str) -> None:
        self.heard: list[WorkerRequest] = []
        self.refuses: UsageError | None = None
        self.ends = True
        self._jobs, self._job = jobs, job
        place = path(config.run_folder, job)
        place.parent.mkdir(parents=True)
        self.server = ControlServer(place, self.answer)

    def answer(self, request: WorkerRequest) -> WorkerAnswer:
        self.heard.append(request)
        if self.refuses is not None:
            raise self.refuses
        if self.ends:
            error = CancelledError(codes.CANCELLED, job=self._job, caller="root", vm="web01", host="kvm1")
            self._jobs.end(self._job, State.CANCELLED, error.problem(), None)
        return RequestTaken()


class Launcher:
    """Starts no worker."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def start(self, job: str) -> None:
        self.started.append(job)
        raise InternalError(codes.INTERNAL, why="its folder is gone")


class World:
    """A host with jobs."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.config = Config(name="kvm2", state_folder=folder / "state", run_folder=folder / "run")
        self.jobs = Jobs(database, "kvm2")
        self.launcher = Launcher()
        self.cancelled: list[str] = []
        outgoing: Any = self
        made: Any = self.launcher
        self.endings = Endings(self.config, self.jobs, outgoing, made, patience=0.3)

    def cancel(self, job: str, caller: Caller) -> None:
        if self.jobs.get(job).state.ended:
            raise UsageError(codes.JOB_ENDED, job=job, state="done")
        self.cancelled.append(job)
        self.jobs.end(job, State.CANCELLED, None, None)

    def job(self, job: str, *phases: Phase, role: Role = Role.DESTINATION, waits: bool = False) -> None:
        state = State.WAITING if waits else State.RUNNING
        self.jobs.create(job, role, f"vm-{job}", "kvm1", ROOT, {}, state)
        for phase in phases:
            walk(self.jobs, job, phase)


@pytest.fixture
def world() -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    with Database(folder / "db") as database:
        yield World(folder, database)
    shutil.rmtree(folder)


@pytest.mark.parametrize("role", list(Role))
def test_a_worker_gives_the_move_up_by_itself(world: World, role: Role) -> None:
    world.job("1", Phase.ADMITTED, Phase.COPYING, role=role)
    worker = Worker(world.config, world.jobs, "1")
    world.endings.force("1", ROOT)
    assert worker.heard == [CancelRequest(caller="root", force=True)]
    assert world.jobs.get("1").state is State.CANCELLED
    worker.server.close()


@pytest.mark.parametrize(
    ("role", "phase"),
    [
        (Role.SOURCE, Phase.COMMITTING),
        (Role.SOURCE, Phase.GOING),
        (Role.DESTINATION, Phase.FINISHING),
        (Role.DESTINATION, Phase.GOING),
    ],
)
def test_past_the_verdict_the_way_out_is_named(world: World, role: Role, phase: Phase) -> None:
    world.job("1", Phase.COPYING, phase, role=role)
    with pytest.raises(UsageError, match="vmferry job resolve 1") as refused:
        world.endings.force("1", ROOT)
    assert refused.value.code is codes.PAST_FORCE
    assert world.jobs.get("1").state is State.RUNNING


def test_the_worker_has_the_last_word(world: World) -> None:
    """It may have reached its last step between the look at the journal and the word."""
    world.job("1", Phase.COPYING)
    worker = Worker(world.config, world.jobs, "1")
    worker.refuses = UsageError(codes.PAST_FORCE, job="1", vm="web01", peer="kvm1")
    with pytest.raises(UsageError, match="by force"):
        world.endings.force("1", ROOT)
    assert world.jobs.get("1").state is State.RUNNING
    worker.server.close()


def test_a_job_whose_worker_does_not_start_ends_too(world: World) -> None:
    world.job("1", Phase.COPYING)
    world.endings.force("1", ROOT)
    row = world.jobs.get("1")
    assert (row.state, row.error and row.error["code"]) == (State.CANCELLED, "cancelled")
    assert world.launcher.started
    with pytest.raises(UsageError, match="has already ended"):  # a worker that comes back takes no further step
        world.jobs.step("1", Phase.FINISHING)


def test_what_waits_or_has_ended_is_cancelled_as_ever(world: World) -> None:
    world.job("1", waits=True)
    world.endings.force("1", ROOT)
    assert world.cancelled == ["1"]
    with pytest.raises(UsageError, match="has already ended"):
        world.endings.force("1", ROOT)


def test_all_jobs_with_a_host(world: World) -> None:
    world.job("1", Phase.COPYING)
    world.job("2", waits=True)
    world.job("3", Phase.COPYING, role=Role.SOURCE)
    world.endings.force_all("kvm1", ROOT)
    assert world.jobs.active_with("kvm1") is None
    world.endings.force_all("kvm1", ROOT)


def test_unpairing_waits_for_the_end_but_not_for_ever(world: World) -> None:
    world.job("1", Phase.COPYING)
    worker = Worker(world.config, world.jobs, "1")
    worker.ends = False
    with pytest.raises(InternalError, match="job 1 with kvm1 does not end"):
        world.endings.force_all("kvm1", ROOT)
    worker.server.close()
