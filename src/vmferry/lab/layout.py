"""Names, folders and addresses of a lab."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MANAGEMENT = "10.91.0"
MIGRATION = "10.92.0"
GUESTS = "10.93.0"
CONTROLLER = "dc"
TRUSTED_CONTROLLER = "dc2"
CONTROLLERS = (CONTROLLER, TRUSTED_CONTROLLER)
OBSERVER = f"{GUESTS}.1"
TICK_PORT = 9999
COMMAND_PORT = 9998


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of one lab. Labs with different names can be up at the same time.

    Arguments:
        name: a short name, because it is part of the names of network interfaces and namespaces.
    """

    name: str = "lab"

    @property
    def state(self) -> Path:
        """The folder with the files of the hosts."""
        return Path("/var/lib/vmferry-lab") / self.name

    @property
    def run(self) -> Path:
        """The folder with files that exist only while the lab is up."""
        return Path("/run/vmferry-lab") / self.name

    @property
    def cache(self) -> Path:
        """The folder with the kernel and the guest's image, which all labs share and keep."""
        return Path("/var/cache/vmferry-lab")

    @property
    def shared(self) -> Path:
        """A folder that every host of the lab has at the same path."""
        return self.state / "shared"

    @property
    def switch(self) -> str:
        """The namespace of the switches and of the observer."""
        return f"vmf-{self.name}-switch"

    def namespace(self, host: str) -> str:
        """The network namespace of a host."""
        return f"vmf-{self.name}-{host}"

    def home(self, host: str) -> Path:
        """The folder with the files of one host."""
        return self.state / host

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock for starting or stopping any lab, and for creating the image. Wait for other holders."""
        self.cache.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.cache, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def pid_file(self, process: str) -> Path:
        """The file with the pid of a host's init, or of the observer."""
        return self.run / f"{process}.pid"


def number(host: str) -> int:
    """Return the number in the name of a host, such as `kvm7`; for a domain controller, 10 or more."""
    return 10 + CONTROLLERS.index(host) if host in CONTROLLERS else int(host.removeprefix("kvm"))


def management(host: str) -> str:
    """Return a host's address on the management network."""
    return f"{MANAGEMENT}.{number(host)}"


def migration(host: str) -> str:
    """Return a host's address on the migration network."""
    return f"{MIGRATION}.{number(host)}"
