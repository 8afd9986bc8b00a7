"""What is told to workers, over real control sockets."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vmferry.agent.moves import workers
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import InternalError, UsageError
from vmferry.core.job import Role, State
from vmferry.core.messages.offer import Caller
from vmferry.jobs.control import ControlServer, path
from vmferry.jobs.requests import CancelRequest, RequestTaken, WorkerAnswer, WorkerRequest
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs

ANN = Caller(name="ann", host="kvm1", method="unix")


class Host:
    """A host with one job, whose worker listens once it was asked for often enough."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.config = Config(name="kvm1", state_folder=folder / "state", run_folder=folder / "run")
        self.jobs = Jobs(database, "kvm1")
        self.jobs.create("1", Role.SOURCE, "web01", "kvm2", ANN, {})
        self.on_start: Callable[[int], object] = lambda _times: None
        self.started = 0
        self.heard: list[WorkerRequest] = []
        self.server: ControlServer | None = None

    def start(self, job: str) -> None:
        self.started += 1
        self.on_start(self.started)

    def listen(self, answer: Callable[[WorkerRequest], WorkerAnswer]) -> None:
        place = path(self.config.run_folder, "1")
        place.parent.mkdir(parents=True)
        self.server = ControlServer(place, answer)

    def hear(self, request: WorkerRequest) -> WorkerAnswer:
        self.heard.append(request)
        return RequestTaken()

    def trouble(self) -> str | None:
        return None

    def neglect(self) -> str | None:
        return None

    def tell(self, patience: float = 30.0) -> bool:
        return workers.tell(self.config, self.jobs, self, "1", CancelRequest(caller="ann"), patience=patience)


@pytest.fixture
def host() -> Iterator[Host]:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    with Database(folder / "db") as database:
        made = Host(folder, database)
        yield made
        if made.server is not None:
            made.server.close()
    shutil.rmtree(folder)


def test_a_worker_that_starts_hears_it_once_it_listens(host: Host) -> None:
    """A cancel just after a move began was answered with an internal error."""
    host.on_start = lambda times: host.listen(host.hear) if times == 2 else None
    assert host.tell()
    assert host.heard == [CancelRequest(caller="ann")]
    assert host.started == 2


def test_one_that_does_not_start_hears_nothing(host: Host) -> None:
    def fail(_times: int) -> None:
        raise InternalError(codes.INTERNAL, why="no room")

    host.on_start = fail
    assert not host.tell(patience=0.1)
    assert host.started


def test_a_job_that_has_ended_meanwhile_is_told_nothing(host: Host) -> None:
    host.on_start = lambda _times: host.jobs.end("1", State.DONE)
    assert not host.tell()
    assert host.started == 1


def test_what_a_worker_refuses_is_said(host: Host) -> None:
    def refuse(_request: WorkerRequest) -> WorkerAnswer:
        raise UsageError(codes.TOO_LATE, job="1")

    host.listen(refuse)
    with pytest.raises(UsageError) as refused:
        host.tell()
    assert refused.value.code is codes.TOO_LATE
    assert not host.started
