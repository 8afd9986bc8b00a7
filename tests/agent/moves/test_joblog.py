"""The log of a job's transfer process, from a file or from the journal."""

from pathlib import Path

import pytest

from vmferry.agent.moves import joblog
from vmferry.config import Config
from vmferry.core.errors import InternalError, UsageError

JOB = "7f3a9c000001"
JOURNALCTL = """#!/bin/sh
echo "$@" > {told}
printf 'copying web01\\nforged \\033[2J vmf1-AAAAAAAAAAAAAAAAAAAA\\n'
exit {status}
"""


def write(folder: Path, text: bytes) -> Config:
    (folder / "log").mkdir()
    (folder / "log" / f"vmferry-transfer@{JOB}.log").write_bytes(text)
    return Config(name="kvm1", state_folder=folder, launcher="supervisor")


def test_of_a_file(tmp_path: Path) -> None:
    config = write(tmp_path, b"INFO one\nINFO \x1b[2J\xff vmft1-0123abcd-secretsecret\n")
    assert joblog.lines(config, JOB) == ["INFO one", "INFO ?[2J\N{REPLACEMENT CHARACTER} vmft1-0123abcd-..."]
    assert joblog.lines(config, "7f3a9c000002") == []
    with pytest.raises(UsageError):
        joblog.lines(config, "../vmferryd")


def test_of_a_long_file_the_end(tmp_path: Path) -> None:
    config = write(tmp_path, b"".join(b"%0600d\n" % number for number in range(5000)))
    found = joblog.lines(config, JOB)
    assert 100 < len(found) < 1000
    assert {len(line) for line in found} == {600}
    assert int(found[-1]) == 4999


def test_of_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, told = tmp_path / "journalctl", tmp_path / "told"
    program.write_text(JOURNALCTL.format(told=told, status=0))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config = Config(name="kvm1", state_folder=tmp_path, launcher="systemd")
    assert joblog.lines(config, JOB) == ["copying web01", "forged ?[2J vmf1-..."]
    assert f"--unit=vmferry-transfer@{JOB}.service" in told.read_text().split()
    program.write_text(JOURNALCTL.format(told=told, status=1))
    with pytest.raises(InternalError, match="cannot be read"):
        joblog.lines(config, JOB)
