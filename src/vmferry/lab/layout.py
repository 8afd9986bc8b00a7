"""Where a lab is: its names, folders and addresses."""

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
    """The names of one lab; labs of different names live side by side.

    Arguments:
        name: short, since network interfaces and namespaces carry it.
    """

    name: str = "lab"

    @property
    def state(self) -> Path:
        """What the hosts keep on disk."""
        return Path("/var/lib/vmferry-lab") / self.name

    @property
    def run(self) -> Path:
        """What is only there while the lab is up."""
        return Path("/run/vmferry-lab") / self.name

    @property
    def cache(self) -> Path:
        """Kernel and guest image, shared by all labs and kept when they go down."""
        return Path("/var/cache/vmferry-lab")

    @property
    def shared(self) -> Path:
        """A folder that every host of the lab sees at the same path."""
        return self.state / "shared"

    @property
    def switch(self) -> str:
        """The namespace of the switches and of the observer."""
        return f"vmf-{self.name}-switch"

    def namespace(self, host: str) -> str:
        """The network namespace of a host."""
        return f"vmf-{self.name}-{host}"

    def home(self, host: str) -> Path:
        """What one host keeps on disk."""
        return self.state / host

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others from bringing up or down any lab meanwhile; waits for them. The image is made under it, too."""
        self.cache.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.cache, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def pid_file(self, process: str) -> Path:
        """Where the process identifier of a host's init, or of the observer, is written down."""
        return self.run / f"{process}.pid"


def number(host: str) -> int:
    """Give the number of a host from its name, `kvm7`; domain controllers come after the ninth, the last."""
    return 10 + CONTROLLERS.index(host) if host in CONTROLLERS else int(host.removeprefix("kvm"))


def management(host: str) -> str:
    """Give a host's address on the management network."""
    return f"{MANAGEMENT}.{number(host)}"


def migration(host: str) -> str:
    """Give a host's address on the migration network."""
    return f"{MIGRATION}.{number(host)}"
