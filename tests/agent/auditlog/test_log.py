"""The audit log's file: a chain through restarts, rotations and full disks."""

import gzip
import os
import threading
from pathlib import Path

import pytest
from tests.agent.http.test_audit import record

from vmferry.agent.auditlog.log import AuditLog
from vmferry.core.auditlog import chain
from vmferry.core.auditlog.chain import LogFault


def rotate(path: Path) -> None:
    """Do as logrotate does with packaging/logrotate: two plain files, older ones packed."""
    first, second = path.with_name(f"{path.name}.1"), path.with_name(f"{path.name}.2.gz")
    if second.exists():
        second.rename(path.with_name(f"{path.name}.3.gz"))
    if first.exists():
        second.write_bytes(gzip.compress(first.read_bytes()))
        first.unlink()
    path.rename(first)


def test_the_chain_goes_on_through_rotations_and_restarts(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    trail = AuditLog(path)
    for number in range(3):
        trail.append(record(number))
        rotate(path)
        if number % 2:
            trail = AuditLog(path)
    assert trail.verify()[0].head.number == 3
    trail.append(record(5))
    seen, _ = trail.verify()
    assert (seen.records, seen.first, seen.broken, seen.head) == (4, 1, None, trail.head())
    assert (seen.since, seen.until) == (record(0).at, record(5).at)
    path.with_name("audit.log.3.gz").unlink()  # the oldest: rotation does that
    assert (trail.verify()[0].first, trail.verify()[0].broken) == (2, None)
    path.with_name("audit.log.1").unlink()
    broken = trail.verify()[0].broken
    assert broken is not None
    assert (broken.kind, broken.file, broken.number) == (LogFault.REMOVED, "audit.log", 4)


def test_what_is_changed_while_the_daemon_runs_and_after_shows(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    trail = AuditLog(path)
    for number in range(3):
        trail.append(record(number))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1])  # cut off; the daemon knows where it was
    trail.append(record(4))
    broken = trail.verify()[0].broken
    assert broken is not None
    assert (broken.kind, broken.line, broken.number) == (LogFault.REMOVED, 3, 4)


def test_lines_cut_off_at_the_front_are_no_rotation(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    trail = AuditLog(path)
    for number in range(6):
        trail.append(record(number))
        if number == 2:
            rotate(path)
    path.with_name("audit.log.1").unlink()  # as rotation does
    assert (trail.verify()[0].first, trail.verify()[0].broken) == (4, None)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    broken = AuditLog(path).verify()[0].broken
    assert broken is not None
    assert (broken.kind, broken.file, broken.line, broken.number) == (LogFault.REMOVED, "audit.log", 1, 5)


def test_a_packed_file_that_is_damaged_shows(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    trail = AuditLog(path)
    trail.append(record(1))
    trail.append(record(2))
    packed = gzip.compress(path.read_bytes())
    path.with_name("audit.log.1.gz").write_bytes(packed[:-10])
    path.unlink()
    trail.append(record(3))
    broken = trail.verify()[0].broken
    assert broken is not None
    assert (broken.kind, broken.file) == (LogFault.UNREADABLE, "audit.log.1.gz")


def test_a_record_that_could_not_be_written_does_not_break_the_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "audit.log"
    trail = AuditLog(path)
    trail.append(record(1))
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda handle, data: write(handle, data[:20]))
        trail.append(record(2))
    assert '"job":"0002"' in caplog.text
    trail.append(record(3))
    seen, _ = trail.verify()
    assert (seen.records, seen.broken) == (2, None)
    assert trail.read() == [record(1), record(3)]


def test_half_a_record_that_a_loss_of_power_left_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    AuditLog(path).append(record(1))
    with path.open("ab") as file:
        file.write(b'{"number":2,"prev')
    trail = AuditLog(path)
    trail.append(record(2))
    seen, digests = trail.verify([1, 2, 3])
    assert (seen.records, seen.broken, sorted(digests)) == (2, None, [1, 2])
    assert digests[2] == seen.head.digest


def test_records_of_many_threads_are_one_chain(tmp_path: Path) -> None:
    trail = AuditLog(tmp_path / "audit.log")

    def write() -> None:
        for _ in range(50):
            trail.append(record(1))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen, _ = trail.verify()
    assert (seen.records, seen.broken) == (200, None)


def test_an_empty_log_has_a_head(tmp_path: Path) -> None:
    trail = AuditLog(tmp_path / "log" / "audit.log")
    assert trail.head() == chain.START
    assert trail.verify()[0].records == 0
