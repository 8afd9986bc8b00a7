"""What every machine of a lab is, a host or the domain controller: namespaces, folders, a first process."""

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
    """A machine of a lab, by its name, `kvm1` or `dc`."""

    lab: Layout
    name: str

    @property
    def home(self) -> Path:
        """What it keeps on disk."""
        return self.lab.home(self.name)

    @property
    def tree(self) -> Path | None:
        """The root it has in place of the machine's, when it is of another release."""
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
        """Whether it was ever started, so that its folders are of its release."""
        return (self.home / "plan.json").exists()

    def take_root(self, tree: Path) -> None:
        """Have a machine that was never started start from a tree (lab/tree.py)."""
        self.home.mkdir(parents=True, exist_ok=True)
        link = self.home / "tree"
        link.unlink(missing_ok=True)
        link.symlink_to(tree)

    @property
    def pid(self) -> int | None:
        """Its init, as the machine numbers it; None when it is down."""
        try:
            text = self.lab.pid_file(self.name).read_text()
            pid, started = text.split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _started(int(pid)) == started else None

    def launch(self, plan: MachinePlan) -> None:
        """Start its first process, in namespaces that are there; its programs go on starting when this returns.

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
            time.sleep(0.01)  # until unshare has forked
        self.lab.pid_file(self.name).write_text(f"{children[0]} {_started(children[0])}")
        threading.Thread(
            target=outer.wait, name=f"reap-{self.name}", daemon=True
        ).start()  # it outlives us, or we reap it

    def stop(self) -> None:
        """End every process in it; nothing is asked, as when the power fails."""
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
        """Give the command line that runs a command in this machine.

        Arguments:
            environment: variables that it gets besides.

        Raises:
            PreflightError: lab-down.
        """
        pid = self.pid
        if pid is None:
            raise PreflightError(codes.LAB_DOWN, name=self.lab.name)
        # A tree does not have the folder that this process is in: there, commands begin at its root.
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
        """Run a command in this machine and wait for it.

        Arguments:
            check: a failure raises CalledProcessError, with what was printed.
            text: its standard input.
            timeout: seconds.
        """
        return subprocess.run(
            self.command(*arguments), check=check, capture_output=True, text=True, input=text or "", timeout=timeout
        )

    def write_names(self, names: Sequence[str], *, with_domain: bool) -> None:
        """Write what it knows of the others and of the domain, in place: a running machine has these files mounted.

        Arguments:
            names: all machines of the lab.
            with_domain: it has a domain.
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
    """Give a PATH on which the vmferry of this very installation comes first."""
    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}"


def _children(pid: int) -> list[int]:
    """Give the child processes of ip-netns-exec's unshare; that one replaces ip, so there is one level."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _started(pid: int) -> str | None:
    """Give when a process started, in clock ticks (proc(5)): with it, a number that was used again is not mistaken."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def _wait_end(handle: int) -> None:
    select.select([handle], [], [], 10.0)
