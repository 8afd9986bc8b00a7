import fcntl
import threading
import time
from pathlib import Path
from typing import IO

import pytest

from vmferry.core import codes
from vmferry.core.errors import AccessError
from vmferry.core.job import Role
from vmferry.core.messages.offer import Caller, Grant, MoveOptions, Offer
from vmferry.core.messages.snapshot import HostSnapshot
from vmferry.jobs import spec


def make(role: Role = Role.SOURCE) -> spec.Spec:
    offer = Offer(
        job="0123456789ab",
        vm="web01",
        uuid="5f0d4a2e-0000-4000-8000-000000000001",
        caller=Caller(name="root", host="kvm1", method="unix"),
        source="kvm1",
        host=HostSnapshot(uuid="5f0d4a2e-0000-4000-8000-000000000002"),
        live_xml="<domain/>",
        persistent_xml="<domain/>",
        autostart=False,
        memory=1 << 30,
        artifacts=[],
        options=MoveOptions(),
        certificate="pem",
    )
    grant = Grant(
        addresses=["10.92.0.2"],
        job_key="ab" * 32,
        live_xml="<domain/>",
        persistent_xml="<domain/>",
        artifacts=[],
        certificate="pem",
        socket_folder="/x",
    )
    return spec.Spec(
        role=role,
        offer=offer,
        grant=grant,
        private_key="key",
        peer="kvm2",
        source_fingerprint="aa",
        destination_fingerprint="bb",
    )


def test_it_is_kept_for_root_alone_and_only_the_key_outlives_the_job(tmp_path: Path) -> None:
    written = make()
    spec.save(tmp_path, written)
    assert spec.load(tmp_path, written.job) == written
    for file in spec.folder(tmp_path, written.job).iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    spec.forget(tmp_path, written.job)
    with pytest.raises(FileNotFoundError):
        spec.load(tmp_path, written.job)
    assert spec.key(tmp_path, written.job) == written.grant.job_key
    spec.forget(tmp_path, written.job, key=True)
    with pytest.raises(AccessError):
        spec.key(tmp_path, written.job)


def test_keys_of_jobs_that_ended_long_ago_go(tmp_path: Path) -> None:
    ended, running = make(), make()
    running = running.model_copy(update={"offer": running.offer.model_copy(update={"job": "ba9876543210"})})
    for job in (ended, running):
        spec.save(tmp_path, job)
    spec.forget(tmp_path, ended.job)
    written_at = (spec.folder(tmp_path, ended.job) / "key").stat().st_mtime
    spec.prune(tmp_path, written_at - 1)
    assert spec.key(tmp_path, ended.job)
    spec.prune(tmp_path, written_at + 100)
    assert not spec.folder(tmp_path, ended.job).exists()
    assert spec.load(tmp_path, running.job) == running


def test_a_deadline_counts_from_the_request() -> None:
    work = make()
    assert (work.deadline, work.late) == (None, False)
    timed = work.model_copy(
        update={
            "offer": work.offer.model_copy(update={"options": MoveOptions(deadline=90.0)}),
            "requested_at": time.time() - 89,
        }
    )
    assert not timed.late
    over = timed.model_copy(update={"requested_at": time.time() - 91})
    assert over.late
    error = over.deadline_error()
    assert error.code.name == "deadline-passed"
    assert "web01 was not on kvm2 within 90 s" in error.reason
    assert "web01 stays on kvm1" in error.remedy


def test_whoever_negotiates_next_is_seen_though_the_one_before_removed_its_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, begun, done = threading.Event(), threading.Event(), threading.Event()
    flock = fcntl.flock

    def negotiate() -> None:
        with spec.negotiating(tmp_path, "0123456789ab"):
            begun.set()
            done.wait(30)

    def lock(file: IO[str], operation: int) -> None:
        if threading.current_thread() is next_one:
            opened.set()  # the sign that the one before is about to remove
        flock(file, operation)

    next_one = threading.Thread(target=negotiate)
    monkeypatch.setattr(fcntl, "flock", lock)
    assert spec.is_negotiated(tmp_path, "0123456789ab")
    with spec.negotiating(tmp_path, "0123456789ab"):
        assert not spec.is_negotiated(tmp_path, "0123456789ab")
        spec.save(tmp_path, make())
        next_one.start()
        assert opened.wait(30)
    assert begun.wait(30)
    assert not spec.is_negotiated(tmp_path, "0123456789ab")
    done.set()
    next_one.join()
    assert spec.is_negotiated(tmp_path, "0123456789ab")


def test_a_negotiation_that_came_to_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AccessError), spec.negotiating(tmp_path, "0123456789ab"):
        raise AccessError(codes.JOB_KEY_WRONG, job="0123456789ab")
    assert not spec.folder(tmp_path, "0123456789ab").exists()
