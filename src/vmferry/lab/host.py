"""One host of a lab: its folders, its start and end, and how to run commands on it."""

import shutil
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmferry import config
from vmferry.client import Client
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import InternalError
from vmferry.core.policy.networks import Network
from vmferry.core.policy.settings import Protection, SettingsChange
from vmferry.jobs import startlock
from vmferry.lab import layout, network
from vmferry.lab.init import MachinePlan
from vmferry.lab.machine import Machine

READY_LIMIT = 30.0

_PLAN = MachinePlan(
    folders={
        "libvirt-etc": "/etc/libvirt",
        "libvirt-lib": "/var/lib/libvirt",
        "libvirt-log": "/var/log/libvirt",
        "libvirt-cache": "/var/cache/libvirt",
    },
    programs={
        "libvirtd": ["libvirtd", "--pid-file", "/run/libvirtd.pid"],
        "vmferry-supervisor": ["python3", "-m", "vmferry.supervisor"],
    },
)


@dataclass(frozen=True, slots=True)
class LabHost(Machine):
    """A host of a lab, named like `kvm1`."""

    @property
    def images(self) -> Path:
        """Its storage folder as seen from the machine. On the host it is /var/lib/libvirt/images."""
        return self.home / "libvirt-lib" / "images"

    def start(self, names: Sequence[str], *, with_domain: bool = False) -> None:
        """Start it. It may still be starting when this returns (see `wait_ready`).

        Arguments:
            names: names of all machines of the lab, for /etc/hosts.
            with_domain: whether the lab has a domain.
        """
        if self.pid is not None:
            self.write_names(names, with_domain=with_domain)
            return
        self.stop()
        self._furnish()
        self.write_names(names, with_domain=with_domain)
        network.connect_host(self.lab, self.name)
        self.launch(_PLAN)

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
                time.sleep(0.05)  # a starting program sends no event

    def set_up(self, *, again: bool = False) -> None:
        """Enable moves over the migration network, encrypted or not, unless that was done before.

        Arguments:
            again: whether to do it again, whatever was changed since.
        """
        network = Network(subnet=f"{layout.migration(self.name)}/24")
        with self.client() as client:
            if client.settings().networks and not again:
                return
            client.enable()  # first: the list of networks shows that all was done
            client.change_settings(
                SettingsChange(encryption=Protection.OPTIONAL, any_network=False, networks=[network])
            )

    def vms(self) -> list[str]:
        """Return the names of its VMs, running or not; empty if it is down."""
        return self.run("virsh", "-q", "list", "--all", "--name", check=False).stdout.split() if self.pid else []

    def client(self) -> Client:
        """Return a client of its daemon, which the machine reaches through the host's file system."""
        return Client.local(self._settings())

    def _settings(self) -> Config:
        settings = config.load(self.home / "vmferry.toml")
        return settings.model_copy(update={"run_folder": Path(f"/proc/{self.pid}/root{settings.run_folder}")})

    def _libvirt_answers(self) -> bool:
        return not self.run("virsh", "-q", "uri", check=False).returncode

    def _daemon_answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return not probe.connect_ex(str(self._settings().socket))

    def _furnish(self) -> None:
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
        hook = home / "libvirt-etc" / startlock.HOOK.relative_to("/etc/libvirt")
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text(startlock.hook(home / "vmferry"))
        hook.chmod(0o755)
        (home / "vmferry.toml").write_text(
            _VMFERRY.format(
                name=self.name,
                home=home,
                management=layout.management(self.name),
                shared=self.lab.shared,
                cache=self.lab.cache,
            )
        )


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
boot_folders = ["{cache}", "/usr/share/seabios"]
keytab = "{home}/krb5.keytab"
launcher = "supervisor"
group = "libvirt"
"""
