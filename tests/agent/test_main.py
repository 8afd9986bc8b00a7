"""vmferryd as a process."""

import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmferry import config as configuration
from vmferry.client import Client
from vmferry.config import Config
from vmferry.core.job import Role
from vmferry.core.messages.offer import Caller
from vmferry.core.policy.settings import HostSettings
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs
from vmferry.store.settings import Settings

pytest.importorskip("libvirt")
LIMIT = 20.0
WHO = pwd.getpwuid(os.geteuid()).pw_name
VMFERRYD = [sys.executable, "-c", "from vmferry.agent.main import main; main()"]


@pytest.fixture
def config() -> Iterator[Config]:
    with tempfile.TemporaryDirectory(prefix="vmferry-") as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        made = Config(
            name="kvm1",
            state_folder=Path(folder) / "state",
            run_folder=Path(folder) / "run",
            audit_folder=Path(folder) / "log",
            listen=["127.0.0.1"],
            port=port,
            launcher="supervisor",
        )
        file = Path(folder) / "vmferry.toml"
        file.write_text(
            f'name = "kvm1"\nstate_folder = "{made.state_folder}"\nrun_folder = "{made.run_folder}"\n'
            f'audit_folder = "{made.audit_folder}"\nlisten = ["127.0.0.1"]\nport = {port}\nlauncher = "supervisor"\n'
        )
        if os.geteuid():  # whoever runs the tests may do all here that root may
            with Database(made.database) as database:
                Settings(database).save(HostSettings(administrators=[WHO]))
        yield made


@contextmanager
def running(config: Config) -> Iterator[subprocess.Popen[str]]:
    """Run vmferryd until it says READY, as systemd would."""
    file = config.run_folder.parent / "vmferry.toml"
    notified = config.run_folder.parent / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.bind(str(notified))
        notifier.settimeout(LIMIT)
        daemon = subprocess.Popen(
            [*VMFERRYD, "--config", str(file)],
            env=os.environ | {"NOTIFY_SOCKET": str(notified)},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert notifier.recv(100) == b"READY=1"
            yield daemon
        finally:
            if daemon.poll() is None:
                daemon.kill()
            daemon.wait(LIMIT)
            if daemon.stderr is not None:
                daemon.stderr.close()
            notified.unlink()


def test_serves_and_stops_soon(config: Config) -> None:
    began = time.monotonic()
    with running(config) as daemon, Client.local(config) as client:
        starting = time.monotonic() - began
        assert client.host().name == "kvm1"
        token = client.invite().token
        assert stat.S_IMODE(config.socket.stat().st_mode) == 0o666
        assert stat.S_IMODE(config.state_folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(config.run_folder.stat().st_mode) == 0o755
        began = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(LIMIT) == 0
        assert time.monotonic() - began < starting  # it waits for nothing
        assert daemon.stderr is not None
        log = daemon.stderr.read()
    assert f"{WHO} made a pairing token" in log
    assert token not in log
    assert "Traceback" not in log
    assert not config.socket.exists()


def test_starts_where_one_was_killed(config: Config) -> None:
    with running(config) as daemon:
        daemon.kill()
        daemon.wait(LIMIT)
    assert config.socket.exists()
    with running(config), Client.local(config) as client:
        assert client.host().name == "kvm1"


def test_is_alone(config: Config) -> None:
    with running(config), Client.local(config) as client:
        file = config.run_folder.parent / "vmferry.toml"
        second = subprocess.run([*VMFERRYD, "--config", str(file)], capture_output=True, text=True, timeout=LIMIT)
        assert second.returncode == 1
        assert "runs already" in second.stderr
        assert client.host().name == "kvm1"


def test_asks_for_the_workers_of_jobs_that_go_on(config: Config) -> None:
    with Database(config.database) as database:
        Jobs(database).create(
            "00000000000a",
            Role.SOURCE,
            "web01",
            "kvm2",
            Caller(name="root", host="kvm1", method="unix"),
            {},
        )
    config.run_folder.mkdir()
    with socket.socket(socket.AF_UNIX) as supervisor:
        supervisor.bind(str(config.run_folder / "supervisor.sock"))
        supervisor.listen()
        supervisor.settimeout(LIMIT)
        with running(config):
            connection, _ = supervisor.accept()
            with connection:
                assert connection.recv(1000) == b'{"do": "start", "job": "00000000000a"}\n'
                connection.sendall(b'{"ok": true}\n')


def test_prints_the_reference() -> None:
    done = subprocess.run([*VMFERRYD, "--print-config"], check=True, capture_output=True, text=True)
    assert done.stdout == configuration.reference()


def test_says_what_is_wrong_with_its_configuration(tmp_path: Path) -> None:
    file = tmp_path / "vmferry.toml"
    file.write_text("port = 'x'")
    done = subprocess.run([*VMFERRYD, "--config", str(file)], capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 1
    assert done.stderr.startswith("vmferryd: The configuration")
    assert "Traceback" not in done.stderr
