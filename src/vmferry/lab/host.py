"""One host of a lab: its folders, its start and end, and running things in it."""

import os
import platform
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from vmferry import config
from vmferry.client import Client
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import InternalError, PreflightError
from vmferry.core.networks import Network
from vmferry.core.settings import Protection, SettingsChange
from vmferry.lab import layout, network, root, tree
from vmferry.lab.layout import Layout

READY_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Host:
    """A host of a lab, by its name, `kvm1`."""

    lab: Layout
    name: str

    @property
    def home(self) -> Path:
        """What it keeps on disk."""
        return self.lab.home(self.name)

    @property
    def images(self) -> Path:
        """Its storage folder, as the machine sees it; in the host it is /var/lib/libvirt/images."""
        return self.home / "libvirt-lib" / "images"

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
        return (self.home / "host-uuid").exists()

    def take_root(self, tree: Path) -> None:
        """Have a host that was never started start from a tree (lab/tree.py)."""
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

    def start(self, names: list[str]) -> None:
        """Start it; it goes on starting when this returns (see `wait_ready`).

        Arguments:
            names: all hosts of the lab, for /etc/hosts.
        """
        if self.pid is not None:
            self._write_names(names)
            return
        self.stop()
        self._furnish(names)
        network.connect_host(self.lab, self.name)
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
        limit = time.monotonic() + READY_LIMIT
        while not (children := _children(outer.pid)):
            if outer.poll() is not None or time.monotonic() > limit:
                what = f"The start of {self.name}"
                raise InternalError(codes.LAB_TIMEOUT, what=what, seconds=READY_LIMIT, place=self.home / "init.log")
            time.sleep(0.01)  # until unshare has forked
        self.lab.pid_file(self.name).write_text(f"{children[0]} {_started(children[0])}")
        threading.Thread(
            target=outer.wait, name=f"reap-{self.name}", daemon=True
        ).start()  # it outlives us, or we reap it

    def wait_ready(self) -> None:
        """Wait until libvirtd and vmferryd answer.

        Raises:
            InternalError: lab-timeout.
        """
        limit = time.monotonic() + READY_LIMIT
        for what, probe in (("libvirtd", self._libvirt_answers), ("vmferryd", self._daemon_answers)):
            while not probe():
                if time.monotonic() > limit:
                    said = f"An answer of {what} on {self.name}"
                    raise InternalError(codes.LAB_TIMEOUT, what=said, seconds=READY_LIMIT, place=self.home / "log")
                time.sleep(0.05)  # a program that starts tells nobody

    def set_up(self, *, again: bool = False) -> None:
        """Let VMs come and go over the migration network, encrypted or not, unless that was done before.

        Arguments:
            again: even then, whatever was changed since.
        """
        network = Network(subnet=f"{layout.migration(self.name)}/24")
        with self.client() as client:
            if client.settings().networks and not again:
                return
            client.enable()  # first: the list shows that all of it was done
            client.change_settings(
                SettingsChange(encryption=Protection.OPTIONAL, any_network=False, networks=[network])
            )

    def client(self) -> Client:
        """Speak to its daemon from the machine, through the host's own file system."""
        return Client.local(self._settings())

    def _settings(self) -> Config:
        settings = config.load(self.home / "vmferry.toml")
        return settings.model_copy(update={"run_folder": Path(f"/proc/{self.pid}/root{settings.run_folder}")})

    def _libvirt_answers(self) -> bool:
        return not self.run("virsh", "-q", "uri", check=False).returncode

    def _daemon_answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as door:
            return not door.connect_ex(str(self._settings().socket))

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

    def command(self, *arguments: str) -> list[str]:
        """Give the command line that runs a command in this host.

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
            *arguments,
        ]

    def run(
        self, *arguments: str, check: bool = True, text: str | None = None, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in this host and wait for it.

        Arguments:
            check: a failure raises CalledProcessError, with what was printed.
            text: its standard input.
            timeout: seconds.
        """
        return subprocess.run(
            self.command(*arguments), check=check, capture_output=True, text=True, input=text or "", timeout=timeout
        )

    def _furnish(self, names: list[str]) -> None:
        home = self.home
        for folder in ("libvirt-etc", "libvirt-lib", "libvirt-log", "libvirt-cache", "log"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        (home / "started").unlink(missing_ok=True)
        self.images.mkdir(exist_ok=True)
        self.images.chmod(0o711)
        own = shutil.ignore_patterns("autostart", "*.xml")  # the machine's VMs and networks
        shutil.copytree((self.tree or Path("/")) / "etc/libvirt", home / "libvirt-etc", dirs_exist_ok=True, ignore=own)
        identity = home / "host-uuid"
        if not identity.exists():
            identity.write_text(str(uuid.uuid4()))
        (home / "libvirt-etc" / "libvirtd.conf").write_text(_LIBVIRTD.format(uuid=identity.read_text()))
        (home / "libvirt-etc" / "qemu.conf").write_text(_QEMU)
        (home / "vmferry.toml").write_text(
            _VMFERRY.format(
                name=self.name,
                home=home,
                management=layout.management(self.name),
                shared=self.lab.shared,
                cache=self.lab.cache,
            )
        )
        self._write_names(names)

    def _write_names(self, names: list[str]) -> None:
        """Write /etc/hosts, in place: a running host has this very file mounted."""
        lines = ["127.0.0.1 localhost", *(f"{layout.management(name)} {name}" for name in names)]
        (self.home / "hosts").write_text("\n".join(lines) + "\n")


_LIBVIRTD = """\
# The lab's: libvirt refuses a move between hosts of one UUID.
host_uuid = "{uuid}"
auth_unix_rw = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

_QEMU = """\
# The lab's: QEMU runs as the distribution's unprivileged user, as on a real host; no cgroups or AppArmor here.
user = "libvirt-qemu"
group = "libvirt-qemu"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
remember_owner = 0
"""

_VMFERRY = """\
name = "{name}"
state_folder = "{home}/vmferry"
audit_folder = "{home}/log"
listen = ["{management}"]
advertise = "{management}"
disk_folders = ["/var/lib/libvirt/images", "{shared}", "/run/small"]
boot_folders = ["{cache}"]
launcher = "supervisor"
"""


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
