"""An administrator settles a move whose other host is gone: real database, files and locks; libvirt in a few lines."""

import fcntl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.jobs import test_spec
from tests.store.steps import walk

from vmferry.agent.moves.resolutions import Resolutions, settled
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import InternalError, PreflightError, UnreachableError, UsageError, VmferryError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.job import Phase, Role, State
from vmferry.core.messages.offer import Caller
from vmferry.core.messages.use import Surroundings
from vmferry.core.move.messages import Abort, Go
from vmferry.core.resolution import Owner
from vmferry.jobs import decision, spec, startlock
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs

ROOT = Caller(name="root", host="kvm1", method="unix")
WORK = test_spec.make().model_copy(update={"offer": test_spec.make().offer.model_copy(update={"autostart": True})})
JOB, UUID = WORK.job, WORK.offer.uuid


class Host:
    """A host with one job; its libvirt, its peer and its worker."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.config = Config(name="kvm1", state_folder=folder / "state", run_folder=folder / "run")
        self.jobs = Jobs(database, "kvm1")
        self.standing = "off"
        self.surroundings = Surroundings()
        self.away = False
        self.answers = False
        self.done: list[Any] = []
        made: Any = self
        self.resolutions = Resolutions(
            self.config, database, self.jobs, made, made, lambda: made, lambda _config, _peer: made, patience=0.3
        )
        self.lock = startlock.of(self.config.state_folder, UUID, job=JOB, vm="web01", peer="kvm2")

    def job(self, *phases: Phase, role: Role = Role.SOURCE) -> None:
        self.jobs.create(JOB, role, "web01", "kvm2", ROOT, {})
        for phase in phases:
            walk(self.jobs, JOB, phase, **({"id": 7} if phase is Phase.COPYING else {}))
        spec.save(self.config.state_folder, WORK.model_copy(update={"role": role}))
        if role is Role.SOURCE:
            self.lock.hold()

    # libvirt
    def presence(self, uuid: str) -> str:
        assert uuid == UUID
        if self.away:
            raise UnreachableError(codes.LIBVIRT_UNREACHABLE, host="kvm1", why="Connection refused")
        return self.standing

    def resume(self, vm: VmIdentity) -> None:
        assert vm == VmIdentity(UUID, "web01")
        self.done.append("resume")

    def destroy(self, vm: VmIdentity) -> None:
        assert vm == VmIdentity(UUID, "web01", 7)
        self.done.append("destroy")

    def forget(self, _vm: VmIdentity) -> None:
        self.done.append("forget")

    def autostart(self, _vm: VmIdentity, *, on: bool) -> None:
        self.done.append(("autostart", on))

    def around(self, paths: list[str], uuid: str) -> Surroundings:
        return self.surroundings

    def close(self) -> None:
        pass

    # the peer
    def get(self, name: str) -> str:
        return name

    def hello(self) -> None:
        if not self.answers:
            raise UnreachableError(codes.HOST_UNREACHABLE, host="kvm2", address="10.92.0.2", why="no route")

    # the worker of the destination
    def go(self, job: str) -> None:
        self.done.append("go")
        walk(self.jobs, job, Phase.SETTLING)
        self.jobs.end(job, State.DONE)

    def abort(self, job: str, _reason: str, by: str) -> None:
        self.done.append(f"abort by {by}")
        walk(self.jobs, job, Phase.UNDOING)
        self.jobs.end(job, State.CANCELLED)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with Database(tmp_path / "db") as database:
        yield Host(tmp_path, database)


def code(host: Host) -> str | None:
    error = host.jobs.get(JOB).error
    return str(error["code"]) if error else None


def test_the_source_keeps_the_vm(host: Host) -> None:
    host.job(Phase.COMMITTING, Phase.GOING)
    host.resolutions.resolve(JOB, Owner.HERE, ROOT)
    assert host.done == [("autostart", True)]
    assert not host.lock.held
    assert (host.jobs.get(JOB).state, code(host)) == (State.FAILED, "settled-by-hand")
    assert settled(host.jobs, JOB) is Owner.HERE
    assert spec.key(host.config.state_folder, JOB)  # the other host may come back and ask
    with pytest.raises(FileNotFoundError):
        spec.load(host.config.state_folder, JOB)
    with pytest.raises(UsageError, match="has already ended"):
        host.resolutions.look(JOB)


def test_the_source_gives_the_vm_up(host: Host) -> None:
    host.job(Phase.COPYING, Phase.COMMITTING, Phase.GOING)
    host.standing = "paused"
    host.resolutions.resolve(JOB, Owner.THERE, ROOT)
    assert host.done == ["destroy", "forget"]
    assert not host.lock.held
    assert settled(host.jobs, JOB) is Owner.THERE


def test_what_is_not_safe_is_refused_and_changes_nothing(host: Host) -> None:
    host.job(Phase.COMMITTING, Phase.GOING)
    host.answers = True
    with pytest.raises(PreflightError, match="kvm2 answers") as caught:
        host.resolutions.resolve(JOB, Owner.HERE, ROOT)
    assert caught.value.code is codes.RESOLVE_REFUSED
    assert host.done == []
    assert host.lock.held
    assert host.jobs.get(JOB).state is State.RUNNING
    host.resolutions.resolve(JOB, Owner.THERE, ROOT)  # what the journal says: whatever the other host does


def test_the_journal_is_closed_before_anything_is_done_and_the_rest_follows(host: Host) -> None:
    """libvirt is away: the job has ended all the same, and the next look does what was settled."""
    host.job(Phase.COMMITTING, Phase.GOING)
    host.away = True
    with pytest.raises(InternalError, match="as soon as libvirt"):
        host.resolutions.resolve(JOB, Owner.THERE, ROOT)
    row = host.jobs.get(JOB)
    assert row.state is State.FAILED
    assert host.lock.held
    with pytest.raises(VmferryError):
        host.jobs.step(JOB, Phase.SETTLING)
    assert not host.resolutions.carry_out(row)
    host.away = False
    assert host.resolutions.carry_out(row)
    assert host.done == ["forget"]
    assert not host.lock.held
    assert host.resolutions.carry_out(row)


def test_nothing_is_done_beside_a_worker_that_lives(host: Host) -> None:
    host.job(Phase.COMMITTING, Phase.GOING)
    place = spec.folder(host.config.state_folder, JOB) / "lock"
    with place.open("w") as worker:
        fcntl.flock(worker, fcntl.LOCK_EX)
        with pytest.raises(InternalError, match="its worker"):
            host.resolutions.resolve(JOB, Owner.THERE, ROOT)
        assert host.done == []
    assert host.resolutions.carry_out(host.jobs.get(JOB))
    assert host.done == ["forget"]


def test_a_lock_that_an_ended_job_left_can_be_lifted(host: Host) -> None:
    """The destination came back and said that it could not run the VM."""
    host.job(Phase.COMMITTING, Phase.GOING)
    host.jobs.end(JOB, State.FAILED)
    spec.forget(host.config.state_folder, JOB)
    host.resolutions.resolve(JOB, Owner.HERE, ROOT)
    assert not host.lock.held


@pytest.mark.parametrize(("owner", "said"), [(Owner.HERE, "go"), (Owner.THERE, "abort by root")])
def test_the_destinations_worker_hears_the_verdict(host: Host, owner: Owner, said: str) -> None:
    host.job(Phase.FINISHING, role=Role.DESTINATION)
    host.standing = "paused"
    host.resolutions.resolve(JOB, owner, ROOT)
    assert host.done == [said]


@pytest.mark.parametrize("owner", list(Owner))
def test_a_worker_that_does_not_start_is_stood_in_for(
    host: Host, monkeypatch: pytest.MonkeyPatch, owner: Owner
) -> None:
    """Its unit is gone, say. The journal has the word before anybody acts on it, and the word does not change."""
    host.job(Phase.FINISHING, role=Role.DESTINATION)
    host.standing = "paused"

    def dead(*_said: object) -> None:
        raise InternalError(codes.INTERNAL, why="the transfer process cannot be started")

    def work(config: Config, job: str) -> int:
        assert config is host.config
        host.done.append(decision.resolved(host.jobs.steps(job)))
        walk(host.jobs, job, Phase.SETTLING)
        host.jobs.end(job, State.DONE)
        return 0

    monkeypatch.setattr(host, "go", dead)
    monkeypatch.setattr(host, "abort", dead)
    resolutions = replace(host.resolutions, work=lambda _config, _job: 1)
    with pytest.raises(InternalError, match="has not ended"):
        resolutions.resolve(JOB, owner, ROOT)
    found = host.resolutions.look(JOB)
    assert "settled already" in ((found.give_up if owner is Owner.HERE else found.keep).refusal or "")
    replace(host.resolutions, work=work).resolve(JOB, owner, ROOT)
    assert host.done == [Go() if owner is Owner.HERE else Abort(cancelled_by="root")]
    assert host.resolutions.carry_out(host.jobs.get(JOB))
    assert len(host.done) == 1, "what is done at a source was done"


def test_a_job_that_has_decided_nothing_is_for_another_command(host: Host) -> None:
    host.job(Phase.COPYING)
    found = host.resolutions.look(JOB)
    assert "job cancel --force" in (found.keep.refusal or "")
    assert "job cancel --force" in (found.give_up.refusal or "")
