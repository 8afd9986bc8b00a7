"""The command line, run in this process against a daemon that is not there."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.fake import FakeClient

from vmferry.cli.main import run
from vmferry.cli.terminal import context

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient()
    monkeypatch.setattr(context, "connect", lambda: fake)
    return fake


@pytest.fixture
def vmferry(daemon: FakeClient, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line; gives exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(autouse=True)
def token_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keep tokens in a file of the test's own; it does not exist."""
    file = tmp_path / "tokens.toml"
    monkeypatch.setenv("VMFERRY_TOKEN_FILE", str(file))
    return file


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Show times as UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()
