"""The first process of a lab's host: mounts the host's folders, starts its programs, and keeps them running.

It is the init of a process namespace: when it ends, the kernel kills all processes of the host.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from vmferry.lab.root import BIND, PRIVATE, RECURSIVE, mount

# seconds; systemd does the same on a real host. Without a pause, a program that cannot start would use a whole CPU.
_RESTART_PAUSE = 0.3


@dataclass(frozen=True, slots=True)
class MachinePlan:
    """What makes a machine a host or a domain controller.

    Arguments:
        folders: folders of its home, and where they are mounted.
        programs: command lines of the programs that run while it is up, by name.
        first: a command that must succeed before they are started.
    """

    folders: dict[str, str]
    programs: dict[str, list[str]]
    first: list[str] = field(default_factory=list)


# On every machine; written by lab/machine.py.
_FILES = {"hosts": "/etc/hosts", "resolv.conf": "/etc/resolv.conf"}


def furnish(home: Path, folders: dict[str, str]) -> None:
    """Mount the host's own folders and files over those of the machine."""
    mount("none", "/", "", RECURSIVE | PRIVATE)
    mount("tmpfs", "/run", "tmpfs")
    resolver = Path("/etc/resolv.conf").resolve()
    if resolver.is_relative_to("/run"):  # the machine's own, which /run now hides
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.touch()
    for name, target in {**folders, **_FILES}.items():
        mount(home / name, target, "", BIND)
    small = Path("/run/small")  # a small storage folder, for tests of a full one
    small.mkdir()
    mount("tmpfs", small, "tmpfs")
    subprocess.run(["mount", "-o", "remount,size=64m,mode=0755", str(small)], check=True)
    # A /dev/kvm that QEMU may open but that does not work makes libvirt probe QEMU at each definition, for seconds.
    # It is hidden.
    if Path("/dev/kvm").exists():
        hidden = Path("/run/no-kvm")
        hidden.touch(mode=0)
        mount(hidden, "/dev/kvm", "", BIND)


class Keeper:
    """Starts programs and restarts them when they end.

    Arguments:
        programs: the command lines.
        logs: the folder for their output.
    """

    def __init__(self, programs: dict[str, list[str]], logs: Path) -> None:
        self._programs = programs
        self._logs = logs
        self._running: dict[int, str] = {}
        self._due: dict[str, float] = dict.fromkeys(programs, 0.0)

    def run(self) -> None:
        """Keep them running until this process is killed, and reap every orphan of the host."""
        waker, written = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(written)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            self._reap()
            now = time.monotonic()
            for name in [name for name, at in self._due.items() if at <= now]:
                del self._due[name]
                self._start(name)
            wait = min(self._due.values(), default=now + 60.0) - now
            select.select([waker], [], [], max(0.0, wait))
            with contextlib.suppress(BlockingIOError):
                os.read(waker, 4096)

    def _start(self, name: str) -> None:
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self._programs[name], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._running[process.pid] = name
        process.returncode = 0  # it is reaped with the orphans; Popen must not wait for it

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            name = self._running.pop(pid, None)
            if name is not None:
                self._due[name] = time.monotonic() + _RESTART_PAUSE


def main() -> None:
    """Run as the init of a host; arguments are its home folder and its name."""
    home, name = Path(sys.argv[1]), sys.argv[2]
    os.umask(0o022)
    plan = MachinePlan(**json.loads((home / "plan.json").read_text()))
    furnish(home, plan.folders)
    subprocess.run(["hostname", name], check=True)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}"
    os.environ["VMFERRY_CONFIG"] = str(home / "vmferry.toml")
    os.environ["KRB5_CONFIG"] = str(home / "krb5.conf")
    logs = home / "log"
    logs.mkdir(exist_ok=True)
    if plan.first and subprocess.run(plan.first, stdin=subprocess.DEVNULL, check=False).returncode:
        sys.exit(1)  # the log of this process has the reason
    (home / "started").touch()
    Keeper(plan.programs, logs).run()


if __name__ == "__main__":
    main()
