"""What ended jobs left is removed, as this host's own records have it, and nothing of anybody else's."""

import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent.moves.test_resolutions import JOB, UUID, WORK, Host
from tests.preflight.make import DISK

from vmferry import safefiles
from vmferry.agent.moves import nonces
from vmferry.agent.moves.sweep import Sweep
from vmferry.core.job import Phase, Role, State
from vmferry.core.messages.offer import Caller
from vmferry.core.messages.use import By, Surroundings, Use
from vmferry.jobs import control, spec, startlock
from vmferry.store.database import Database
from vmferry.transfer.disks.newdisks import Made

ROOT = Caller(name="root", host="kvm1", method="unix")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with Database(tmp_path / "db") as database:
        yield Host(tmp_path, database)


def sweep(host: Host, *, first: bool = False) -> None:
    made: Any = host
    Sweep(host.config, host.jobs, host.resolutions, lambda: made).run(first=first)


def files(folder: Path) -> list[str]:
    """Return the files below a folder, but for the disk."""
    found = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in found if name != "web01.qcow2")


def proofs(host: Host, images: Path, job: str) -> Path:
    images.mkdir(exist_ok=True)
    (images / "web01.qcow2").touch()
    disk = DISK.model_copy(update={"path": str(images / "web01.qcow2")})
    record = nonces.records(host.config.state_folder) / job
    nonces.write([disk], job, "5a" * 16, record)
    return record


def test_what_an_ended_job_left_goes_and_its_key_stays(host: Host) -> None:
    host.job(Phase.COPYING)
    place = spec.folder(host.config.state_folder, JOB)
    for name in ("lock", "negotiating"):
        (place / name).write_text("")
    sockets = control.folder(host.config.run_folder, JOB)
    (sockets / "qemu").mkdir(parents=True)
    before = files(host.config.state_folder)
    sweep(host)
    assert files(host.config.state_folder) == before, "the job has not ended"
    assert sockets.exists()
    host.jobs.end(JOB, State.FAILED)
    with (place / "lock").open("w") as worker:
        fcntl.flock(worker, fcntl.LOCK_EX)
        sweep(host)
        assert (place / "spec.json").exists(), "its worker lives"
    sweep(host)
    assert files(place) == ["ends", "key"]
    assert not sockets.exists()


def test_a_daemon_that_died_while_an_offer_was_out_leaves_no_nonces(host: Host, tmp_path: Path) -> None:
    images = tmp_path / "images"
    record = proofs(host, images, JOB)
    others = [images / ".vmferry-0123456789ac-vda", images / "notes"]
    for other in others:
        other.write_text("somebody else's")
    assert len(files(images)) == 3
    host.jobs.create(JOB, Role.SOURCE, "web01", "kvm2", ROOT, {})
    sweep(host, first=True)
    assert len(files(images)) == 3, "the job has not ended"
    host.jobs.end(JOB, State.FAILED)
    sweep(host)
    assert files(images) == sorted(other.name for other in others)
    assert not record.exists()
    sweep(host)


def test_what_a_check_left_goes_when_the_daemon_starts_and_not_in_its_midst(host: Host, tmp_path: Path) -> None:
    record = proofs(host, tmp_path / "images", "ffffffffffff")
    sweep(host)
    assert record.exists()
    assert len(files(tmp_path / "images")) == 1
    sweep(host, first=True)
    assert not record.exists()
    assert files(tmp_path / "images") == []


def test_the_record_is_there_before_the_first_file(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    real = safefiles.make

    def make(folder: int, name: str) -> int:
        seen.append(nonces.noted(nonces.records(host.config.state_folder) / JOB))
        return real(folder, name)

    monkeypatch.setattr(safefiles, "make", make)
    proofs(host, tmp_path / "images", JOB)
    assert seen == [[str(tmp_path / "images" / f".vmferry-{JOB}-vda")]]


def made_here(host: Host, images: Path) -> list[Path]:
    """Let a move into this host have made two disks, and have failed to remove them; return their places."""
    images.mkdir()
    places = [images / "vda.qcow2", images / "vdb.qcow2"]
    records = []
    with safefiles.folder(str(images)) as folder:
        for place in places:
            place.write_text("copied")
            records.append(Made(str(place), ".draft", safefiles.identity(folder, place.name)).record())
    host.job(role=Role.DESTINATION)
    host.jobs.step(JOB, Phase.ADMITTED, files=records)
    host.jobs.end(JOB, State.FAILED)
    spec.note_left(host.config.state_folder, JOB)
    return places


def test_what_a_failed_move_made_here_goes_once_it_can(host: Host, tmp_path: Path) -> None:
    """The folder was read-only when the move was undone."""
    places = made_here(host, tmp_path / "images")
    host.surroundings = Surroundings(unknown=["libvirt does not answer"])
    sweep(host, first=True)
    assert all(place.exists() for place in places), "who uses them is not known"
    host.surroundings = Surroundings()
    sweep(host)
    assert not any(place.exists() for place in places)
    assert not spec.is_left(host.config.state_folder, JOB)
    assert files(spec.folder(host.config.state_folder, JOB)) == ["ends", "key"]


def test_what_somebody_uses_or_has_put_in_its_place_stays(host: Host, tmp_path: Path) -> None:
    used, replaced = made_here(host, tmp_path / "images")
    replaced.unlink()
    replaced.write_text("somebody else's")
    use = Use(by=By.VM, name="db01", role="its disk vda")
    host.surroundings = Surroundings(uses={str(used): [use]})
    sweep(host)
    assert (used.read_text(), replaced.read_text()) == ("copied", "somebody else's")
    host.surroundings = Surroundings()
    sweep(host)
    assert used.exists(), "it has become somebody's"


@pytest.mark.parametrize("text", ["", "[", "{}", "[7, null]", '["/etc/passwd"]', '["/tmp/.vmferry-ffffffffffff-vda"]'])
def test_a_record_names_only_files_of_its_own(tmp_path: Path, text: str) -> None:
    record = tmp_path / JOB
    record.write_text(text)
    assert nonces.noted(record) == []


def test_a_nonce_under_a_link_is_not_followed(host: Host, tmp_path: Path) -> None:
    record = proofs(host, tmp_path / "images", JOB)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    nonce = tmp_path / "images" / f".vmferry-{JOB}-vda"
    nonce.unlink()
    nonce.symlink_to(victim)
    sweep(host, first=True)
    assert victim.read_text() == "mine"
    assert not record.exists()


@pytest.mark.parametrize(
    ("phases", "state", "standing", "held"),
    [
        ((Phase.COMMITTING, Phase.UNDOING), State.FAILED, "off", False),
        ((Phase.COMMITTING, Phase.GOING), State.DONE, "absent", False),
        ((Phase.COMMITTING, Phase.GOING), State.DONE, "off", True),  # its definition is among what was left
        ((Phase.COMMITTING, Phase.GOING), State.FAILED, "absent", False),
        ((Phase.COMMITTING, Phase.GOING), State.FAILED, "off", True),
        ((Phase.COMMITTING, Phase.GOING), None, "absent", True),
    ],
)
def test_a_start_lock_holds_until_the_vm_is_this_hosts_or_gone(
    host: Host, phases: tuple[Phase, ...], state: State | None, standing: str, held: bool
) -> None:
    host.job(*phases)
    host.standing = standing
    if state is not None:
        host.jobs.end(JOB, state)
    sweep(host)
    assert host.lock.held == held


def test_a_lock_of_a_job_that_nobody_knows_holds(host: Host) -> None:
    startlock.of(host.config.state_folder, UUID, job="unknown", vm="web01", peer="kvm2").hold()
    sweep(host, first=True)
    assert [lock.uuid for lock in startlock.locks(host.config.state_folder)] == [UUID]
    assert WORK.offer.uuid == UUID


def test_jobs_of_long_ago_are_forgotten_with_their_journals(host: Host) -> None:
    host.job(Phase.COPYING)
    host.jobs.create("b", Role.SOURCE, "db01", "kvm2", ROOT, {})
    host.jobs.end(JOB, State.FAILED)
    ended = host.jobs.get(JOB).ended_at
    assert ended is not None
    assert host.jobs.prune(ended) == 0
    assert host.jobs.prune(ended + 1, [JOB]) == 0
    assert host.jobs.prune(ended + 1) == 1
    assert [row.id for row in host.jobs.list()] == ["b"]
    assert host.jobs.steps(JOB) == []
