"""What the tests do to a lab: move VMs, break things, and look at what is left."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vmferry.lab import network
from vmferry.lab.host import LabHost
from vmferry.lab.lab import Lab
from vmferry.lab.machine import Machine
from vmferry.lab.vms.observer import Observer
from vmferry.lab.vms.vm import Guest, remove_all, state

LIMIT = 60.0
END_LIMIT = 30.0  # within this a job ends after a fault


class Failed(Exception):
    """A vmferry command failed: its exit code and its problem document."""

    def __init__(self, code: int, problem: dict[str, Any], text: str) -> None:
        super().__init__(f"exit code {code}: {text}")
        self.code = code
        self.problem = problem


class Pair:
    """Two hosts of a lab, and the observer of their guests."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.one = lab.host("kvm1")
        self.two = lab.host("kvm2")
        self.observer: Observer
        self.heard: list[Observer] = []  # all that listened since the test began; the last is `observer`

    @property
    def hosts(self) -> tuple[LabHost, LabHost]:
        return self.one, self.two

    def pair(self) -> None:
        token = vmferry(self.two, "host", "pair", "--invite")["token"]
        self.one.run("vmferry", "host", "pair", self.two.name, "--token-file", "-", text=token)

    @contextmanager
    def observing(self) -> Iterator[None]:
        self.heard = []
        self.listen_again()
        try:
            yield
        finally:
            self.observer.close()

    def listen_again(self) -> None:
        """Listen anew: a host that was started again has other interfaces."""
        if self.heard:
            self.observer.close()
        self.observer = Observer(self.lab.layout, [host.name for host in self.hosts])
        self.heard.append(self.observer)

    def clean(self) -> None:
        """Both links up, both daemons and libvirts answering, settings as at first, no job running, no VM, no disk."""
        for host in self.hosts:
            for link in ("management", "migration"):
                network.set_link(self.lab.layout, host.name, link, up=True)
            network.limit(self.lab.layout, host.name, "migration", None)
        for host in self.hosts:
            host.wait_ready()
            with host.client() as client:
                running = [job for job in client.jobs() if not job.state.ended]
                for job in running:
                    if job.position is not None:
                        client.cancel(job.id)
            for job in running:
                self.wait_end(host, job.id)
        for host in self.hosts:
            host.set_up(again=True)
            remove_all(host)
            host.run("sh", "-c", "rm -f /run/small/*")
        for file in self.lab.layout.shared.iterdir():
            file.unlink()

    def start(self, guest: Guest, host: LabHost | None = None) -> None:
        """Start a guest and wait until its memory is filled and it ticks."""
        host = host or self.one
        guest.create(host)
        since = time.monotonic() - 5
        if guest.rate:
            self.observer.wait(lambda tick: tick.pages_changed > 0, guest.number, LIMIT, since)
        else:
            self.observer.wait_ticking(host.name, guest.number, LIMIT)

    def check(self, guest: Guest, host: LabHost) -> None:
        """Assert that a guest runs on a host with its memory and its disk as it left them."""
        self.observer.wait_ticking(host.name, guest.number, LIMIT)
        tick = self.observer.verify(guest.number)
        assert tick.memory_errors == 0
        assert tick.disk_errors == 0
        numbers = [tick.number for tick in self.observer.ticks(guest.number)]
        assert numbers == sorted(numbers), "the guest was started anew"

    def assert_only_on(self, guest: Guest, host: LabHost) -> None:
        """Assert that a guest runs on one host, and that the other has nothing of it."""
        other = self.two if host.name == self.one.name else self.one
        assert state(host, guest.name) == "running"
        assert state(other, guest.name) == "absent"
        assert leftovers(other) == []

    def wait_end(self, host: LabHost, job: str, timeout: float = END_LIMIT) -> dict[str, Any]:
        """Wait until a job has ended on a host, its daemon restarted or not; return the job."""

        def look() -> dict[str, Any] | None:
            try:
                found = vmferry(host, "job", "show", job)
            except Failed:
                return None  # the daemon is being restarted
            return found if ended(found) else None

        return dict(wait(look, timeout, f"job {job} to end on {host.name}"))


def vmferry(host: LabHost, *arguments: str, timeout: float = 180.0) -> Any:
    """Run vmferry on a host; return what it prints as JSON.

    Raises:
        Failed: it failed.
    """
    done = host.run("vmferry", "--output", "json", *arguments, check=False, timeout=timeout)
    if done.returncode:
        raise Failed(done.returncode, _problem(done.stderr), done.stderr)
    return json.loads(done.stdout) if done.stdout.strip() else None


def _problem(text: str) -> dict[str, Any]:
    for line in reversed(text.splitlines()):
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and "problem" in said:
            return dict(said["problem"])
    return {}


def begin(host: LabHost, vm: str, destination: str, *options: str) -> str:
    """Start a move and do not wait; return the job's identifier."""
    done = host.run("vmferry", "vm", "move", vm, destination, "--detach", *options, check=False)
    if done.returncode:
        raise Failed(done.returncode, {}, done.stderr)
    return done.stdout.strip()


def ended(job: dict[str, Any]) -> bool:
    return job["state"] in ("done", "failed", "cancelled")


def wait(look: Callable[[], Any], timeout: float, what: str) -> Any:
    """Look until there is something; fails after `timeout` seconds."""
    limit = time.monotonic() + timeout
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < limit, f"waited {timeout} s for {what}"
        time.sleep(0.05)


def wait_phase(host: LabHost, job: str, *phases: str, timeout: float = LIMIT) -> None:
    """Wait until a job has reached one of these phases on a host."""

    def look() -> bool:
        row = host.run(
            "python3",
            "-c",
            "import sqlite3,sys;"
            "rows = sqlite3.connect(sys.argv[1]).execute('select phase from journal where job=?', (sys.argv[2],));"
            "print(*[row[0] for row in rows])",
            str(host.home / "vmferry" / "vmferry.db"),
            job,
            check=False,
        )
        return bool(set(row.stdout.split()) & set(phases))

    wait(look, timeout, f"{phases} of job {job} on {host.name}")


def processes(host: Machine, pattern: str) -> list[int]:
    """Return the processes in a host (as the machine numbers them) whose command line contains a text."""
    namespace = os.readlink(f"/proc/{host.pid}/ns/pid")
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if os.readlink(folder / "ns" / "pid") != namespace:
                continue
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if pattern in line:
            found.append(int(folder.name))
    return found


def kill(host: Machine, pattern: str) -> None:
    """Kill the processes of a host whose command line contains a text, with SIGKILL; there must be one."""
    found = processes(host, pattern)
    assert found, f"nothing on {host.name} is called {pattern}"
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def leftovers(host: LabHost) -> list[str]:
    """Return what a move may have left on a host: VMs, disks, nonce files, sockets, QEMUs, workers."""
    found = [f"VM {name}" for name in host.run("virsh", "-q", "list", "--all", "--name").stdout.splitlines() if name]
    found += [f"file {file.name}" for file in host.images.iterdir()]
    found += [f"UEFI variables {name}" for name in _lines(host, "ls /var/lib/libvirt/qemu/nvram 2>/dev/null")]
    found += [f"socket folder {line}" for line in _lines(host, "ls /run/vmferry/jobs 2>/dev/null")]
    for pattern in ("qemu-system", "vmferry-transfer"):
        found += [f"process {pid} ({pattern})" for pid in processes(host, pattern)]
    return found


def _lines(host: LabHost, script: str) -> list[str]:
    return subprocess.run(host.command("sh", "-c", script), capture_output=True, text=True, check=False).stdout.split()
