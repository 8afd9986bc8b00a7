"""The command line against real daemons, kept by real supervisors; libvirt is its own test driver."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vmferry.core.job import Role
from vmferry.core.messages.offer import Caller
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs

pytest.importorskip("libvirt")

pytestmark = pytest.mark.slow
LIMIT = 30.0


class Machine:
    """One host: a supervisor that keeps vmferryd, and the command line."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder / name
        self.state = self.folder / "state"
        self.run_folder = self.folder / "run"
        self.run_folder.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        (self.folder / "vmferry.toml").write_text(
            f'name = "{name}"\nstate_folder = "{self.state}"\nrun_folder = "{self.run_folder}"\n'
            f'audit_folder = "{self.folder}/log"\nlisten = ["127.0.0.1"]\nport = {self.port}\nlauncher = "supervisor"\n'
            'libvirt_uri = "test:///default"\n'
        )
        self._environment = {**os.environ, "VMFERRY_CONFIG": str(self.folder / "vmferry.toml")}
        self._supervisor: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        programs = Path(sys.executable).parent
        with (self.folder / "messages").open("ab") as messages:
            self._supervisor = subprocess.Popen(
                [programs / "vmferry-supervisor"], env=self._environment, stderr=messages
            )
        end = time.monotonic() + LIMIT
        while self.vmferry("host", "show")[0] != 0:
            assert time.monotonic() < end, (self.state / "log" / "vmferryd.log").read_text()

    def vmferry(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "vmferry.cli.main", *arguments],
            input=stdin,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        return done.returncode, done.stdout, done.stderr

    def daemon(self) -> int:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(LIMIT)
            connection.connect(str(self.run_folder / "supervisor.sock"))
            connection.sendall(b'{"do": "status"}\n')
            return int(json.loads(connection.makefile().readline())["vmferryd"]["pid"])

    def stop(self) -> None:
        if self._supervisor is not None:
            self._supervisor.send_signal(signal.SIGTERM)
            assert self._supervisor.wait(LIMIT) == 0


@pytest.fixture
def machines() -> Iterator[Callable[[str], Machine]]:
    folder = Path(tempfile.mkdtemp(prefix="vmferry-"))  # pytest's own can be too long for a unix socket
    made: list[Machine] = []

    def make(name: str) -> Machine:
        made.append(Machine(name, folder))
        return made[-1]

    try:
        yield make
    finally:
        for machine in made:
            machine.stop()
        shutil.rmtree(folder)


def test_two_hosts_are_paired_and_parted(machines: Callable[[str], Machine]) -> None:
    kvm1, kvm2 = machines("kvm1"), machines("kvm2")
    kvm1.start()
    kvm2.start()

    code, out, err = kvm2.vmferry("host", "pair", "--invite", "--output", "json")
    assert code == 0, err
    token = json.loads(out)["token"]
    code, out, err = kvm1.vmferry("host", "pair", f"127.0.0.1:{kvm2.port}", "--token-file", "-", stdin=token)
    assert code == 0, err
    assert "This host and kvm2 are paired." in err
    for one, other in ((kvm1, "kvm2"), (kvm2, "kvm1")):
        assert [host["name"] for host in json.loads(one.vmferry("host", "list", "--output", "json")[1])] == [other]

    code, _, err = kvm1.vmferry("host", "pair", "--token-file", "-", stdin=token)
    assert code == 4, "a token is good once"
    assert "(pairing-token-wrong)" in err

    assert kvm1.vmferry("host", "unpair", "kvm2", "--yes")[0] == 0
    for one in (kvm1, kvm2):
        assert json.loads(one.vmferry("host", "list", "--output", "json")[1]) == []


def test_vms_are_shown_and_bad_moves_refused(machines: Callable[[str], Machine]) -> None:
    kvm1 = machines("kvm1")
    kvm1.start()
    code, out, err = kvm1.vmferry("vm", "list")
    assert code == 0, err
    assert "test  running" in out
    assert kvm1.vmferry("vm", "show", "test")[0] == 0
    assert kvm1.vmferry("migration", "enable") == (0, "", "Migration is enabled.\n")
    for arguments, exit_code, error in (
        (["vm", "show", "none"], 2, "vm-unknown"),
        (["vm", "move", "none", "kvm2"], 2, "-unknown"),
        (["vm", "move", "test", "kvm2"], 2, "host-unknown"),
        (["vm", "move", "test", "kvm1"], 2, "same-host"),
        (["job", "watch", "none"], 2, "job-unknown"),
        (["job", "cancel", "none"], 2, "job-unknown"),
        (["host", "unpair", "none", "--yes"], 2, "host-unknown"),
    ):
        code, out, err = kvm1.vmferry(*arguments)
        assert (code, out) == (exit_code, ""), err
        assert error in err
    assert json.loads(kvm1.vmferry("job", "list", "--output", "json")[1]) == []


def test_job_of_an_earlier_life_is_taken_up_and_its_end_told(machines: Callable[[str], Machine]) -> None:
    """The whole chain: daemon, supervisor, worker, journal, events, command line."""
    kvm1 = machines("kvm1")
    with Database(kvm1.state / "vmferry.db") as database:
        caller = Caller(name="root", host="kvm1", method="unix")
        Jobs(database).create("00000000000a", Role.SOURCE, "web01", "kvm2", caller, {})
    kvm1.start()
    os.kill(kvm1.daemon(), signal.SIGKILL)  # its keeper starts it again; the watcher waits for that
    end = time.monotonic() + LIMIT
    while True:
        code, out, err = kvm1.vmferry("job", "watch", "00000000000a", "--output", "json")
        if "daemon-unreachable" not in err or time.monotonic() > end:
            break
    assert code == 1, err
    job = json.loads(out)
    assert (job["state"], job["vm"]) == ("failed", "web01")
    assert json.loads(err.splitlines()[-1])["problem"] == job["error"]
