"""A machine of a lab, which is a host or a domain controller: its namespaces, folders and first process."""

import json
import os
import platform
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vmferry.core import codes
from vmferry.core.errors import InternalError, PreflightError
from vmferry.lab import domain, network, root, tree
from vmferry.lab.init import MachinePlan
from vmferry.lab.layout import Layout

START_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of a lab, named like `kvm1` or `dc`."""

    lab: Layout
    name: str

    @property
    def home(self) -> Path:
        """The folder with its files."""
        return self.lab.home(self.name)

    @property
    def tree(self) -> Path | None:
        """Its root file system if it is of another release; None if it uses the machine's."""
        link = self.home / "tree"
        return link.readlink() if link.is_symlink() else None

    @property
    def release(self) -> str:
        """Its Debian release, by code name."""
        if self.tree is not None:
            return tree.release(self.tree)
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")

    @property
    def made(self) -> bool:
        """Whether it was ever started, so that its folders belong to its release."""
        return (self.home / "plan.json").exists()

    def take_root(self, tree: Path) -> None:
        """Set the root file system (lab/tree.py) of a machine that was never started."""
        self.home.mkdir(parents=True, exist_ok=True)
        link = self.home / "tree"
        link.unlink(missing_ok=True)
        link.symlink_to(tree)

    @property
    def pid(self) -> int | None:
        """The pid of its init in the machine's namespace; None if it is down."""
        try:
            text = self.lab.pid_file(self.name).read_text()
            pid, started = text.split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _started(int(pid)) == started else None

    def launch(self, plan: MachinePlan) -> None:
        """Start its first process in existing namespaces. Its programs may still be starting when this returns.

        Raises:
            InternalError: lab-timeout.
        """
        (self.home / "plan.json").write_text(json.dumps(asdict(plan)))
        first = [sys.executable, "-m", "vmferry.lab.init"]
        if self.tree is not None:
            first = [sys.executable, "-m", "vmferry.lab.root", str(self.tree), "python3", "-m", "vmferry.lab.init"]
        log = (self.home / "init.log").open("ab")
        with log:
            outer = subprocess.Popen(
                [
                    *("ip", "netns", "exec", self.lab.namespace(self.name)),
                    *("unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"),
                    *(*first, str(self.home), self.name),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        limit = time.monotonic() + START_LIMIT
        while not (children := _children(outer.pid)):
            if outer.poll() is not None or time.monotonic() > limit:
                what = f"The start of {self.name}"
                raise InternalError(codes.LAB_TIMEOUT, what=what, seconds=START_LIMIT, place=self.home / "init.log")
            time.sleep(0.01)  # unshare has not forked yet
        self.lab.pid_file(self.name).write_text(f"{children[0]} {_started(children[0])}")
        threading.Thread(
            target=outer.wait, name=f"reap-{self.name}", daemon=True
        ).start()  # it outlives us, or we reap it

    def stop(self) -> None:
        """Kill every process in it, as a power failure would."""
        pid = self.pid
        if pid is not None:
            handle = os.pidfd_open(pid)
            try:
                os.kill(pid, signal.SIGKILL)
                _wait_end(handle)
            finally:
                os.close(handle)
        network.end_processes(self.lab, self.name)
        self.lab.pid_file(self.name).unlink(missing_ok=True)

    def command(self, *arguments: str, environment: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line that runs a command on this machine.

        Arguments:
            environment: additional environment variables.

        Raises:
            PreflightError: lab-down.
        """
        pid = self.pid
        if pid is None:
            raise PreflightError(codes.LAB_DOWN, name=self.lab.name)
        # A tree does not have the working folder of this process, so commands start at its root.
        folder, path = (["--wd=."], _path()) if self.tree is None else ([], root.PATH)
        return [
            *("nsenter", "--target", str(pid), "--mount", "--uts", "--net", "--pid", "--root", *folder),
            *("env", f"VMFERRY_CONFIG={self.home / 'vmferry.toml'}", f"PATH={path}"),
            *(f"{name}={value}" for name, value in {**self._kerberos(), **(environment or {})}.items()),
            *arguments,
        ]

    def _kerberos(self) -> dict[str, str]:
        return {"KRB5_CONFIG": str(self.home / "krb5.conf")}

    def run(
        self, *arguments: str, check: bool = True, text: str | None = None, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on this machine and wait for it.

        Arguments:
            check: whether a failure raises CalledProcessError, with the output.
            text: its standard input.
            timeout: seconds.
        """
        return subprocess.run(
            self.command(*arguments), check=check, capture_output=True, text=True, input=text or "", timeout=timeout
        )

    def write_names(self, names: Sequence[str], *, with_domain: bool) -> None:
        """Write its files about the other machines and the domain. They are not replaced, because they may be mounted.

        Arguments:
            names: names of all machines of the lab.
            with_domain: whether the lab has a domain.
        """
        for name, text in (
            ("hosts", domain.hosts_file(names, with_domain=with_domain)),
            ("resolv.conf", domain.resolver(with_domain=with_domain)),
            ("krb5.conf", domain.kerberos(self.home, with_domain=with_domain)),
        ):
            file = self.home / name
            if not file.exists() or file.read_text() != text:
                file.write_text(text)
        (self.home / "tickets").mkdir(mode=0o700, exist_ok=True)


def _path() -> str:
    """Return a PATH that starts with the folder of this installation of vmferry."""
    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}"


def _children(pid: int) -> list[int]:
    """Return the child processes of unshare, which `ip netns exec` has become."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _started(pid: int) -> str | None:
    """Return the start time of a process in clock ticks (proc(5)). It differs for a process that reuses the pid."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def _wait_end(handle: int) -> None:
    select.select([handle], [], [], 10.0)
