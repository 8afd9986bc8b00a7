"""A whole lab: its start, its end, and its machines."""

import contextlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vmferry.core import codes
from vmferry.core.errors import PreflightError, UsageError
from vmferry.lab import domain, image, layout, network, tree
from vmferry.lab.controller import Controller
from vmferry.lab.host import LabHost
from vmferry.lab.layout import Layout
from vmferry.lab.machine import Machine

MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """Status of a host or a domain controller.

    Arguments:
        migration: its address on the migration network; None for a controller, which is not on it.
        domain: the domain that it belongs to.
        samba: version of a controller's Samba.
    """

    host: str
    up: bool
    release: str
    management: str
    migration: str | None
    vms: list[str]
    domain: str | None = None
    samba: str | None = None


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab, whether it is up or not."""

    layout: Layout

    @classmethod
    def named(cls, name: str = "lab") -> "Lab":
        """Return the lab with a name."""
        return cls(Layout(name))

    @property
    def hosts(self) -> list[LabHost]:
        """Its hosts, in order; empty if it is down."""
        names = [file.stem for file in self.layout.run.glob("kvm*.pid")]
        return [LabHost(self.layout, name) for name in sorted(names, key=lambda name: int(name.removeprefix("kvm")))]

    @property
    def controller(self) -> Controller | None:
        """Its domain controller, if it has a domain."""
        controller = Controller.of(self.layout)
        return controller if controller.made else None

    @property
    def controllers(self) -> list[Controller]:
        """The controllers of its domains that exist."""
        found = [Controller.of(self.layout, one) for one in domain.DOMAINS.values()]
        return [controller for controller in found if controller.made]

    def machine(self, name: str) -> Machine:
        """Return a host or a domain controller.

        Raises:
            PreflightError: lab-down.
            UsageError: lab-host-unknown.
        """
        return next((one for one in self.controllers if one.name == name), None) or self.host(name)

    def host(self, name: str) -> LabHost:
        """Return a host.

        Raises:
            PreflightError: lab-down.
            UsageError: lab-host-unknown.
        """
        hosts = self.hosts
        if not hosts:
            raise PreflightError(codes.LAB_DOWN, name=self.layout.name)
        for host in hosts:
            if host.name == name:
                return host
        raise UsageError(codes.LAB_HOST_UNKNOWN, host=name, hosts=", ".join(host.name for host in hosts))

    def up(
        self,
        count: int = 2,
        bandwidth: str | None = None,
        releases: Mapping[str, str] | None = None,
        samba: str | None = None,
        mirror: str | None = None,
        say: Callable[[str], None] = lambda _: None,
        *,
        trust: bool = False,
        new: bool = False,
    ) -> None:
        """Start the lab, or what is missing of it.

        Arguments:
            count: number of hosts.
            bandwidth: limit of the migration network, in the units of tc(8); None for no limit.
            releases: Debian releases of hosts that do not have the machine's, by name of the host. A host that exists
                keeps its release.
            samba: release of the domain controller's Samba, or `MACHINE` for the machine's; None for no domain, unless
                there is one.
            mirror: mirror for other releases; None for the one that the machine's own packages come from.
            say: called with messages about the progress.
            trust: whether there is a second domain, with trust in both directions.
            new: whether to leave the hosts' settings as after the installation of vmferry.

        Raises:
            UsageError: lab-host-unknown, lab-host-release.
            PreflightError: lab-space.
            UnreachableError: lab-mirror.
            InternalError: lab-command-failed, lab-timeout.
        """
        with self.layout.lock():
            names = [f"kvm{number}" for number in range(1, max(count, len(self.hosts)) + 1)]
            for name, release in (releases or {}).items():
                if name not in names:
                    raise UsageError(codes.LAB_HOST_UNKNOWN, host=name, hosts=", ".join(names))
                self._choose(LabHost(self.layout, name), release, mirror, say)
            controllers = self._controllers(samba, mirror, say, trust=trust)
            image.prepare(self.layout)
            self.layout.run.mkdir(parents=True, exist_ok=True)
            self.layout.shared.mkdir(parents=True, exist_ok=True)
            self.layout.shared.chmod(0o777)
            network.create_switch(self.layout)
            hosts = [LabHost(self.layout, name) for name in names]
            for host in hosts:
                host.home.mkdir(exist_ok=True)  # the controller writes keytabs to it
            for controller in controllers:
                controller.start(names, say)
            everybody = [*names, *(controller.name for controller in controllers)]
            for host in hosts:
                host.start(everybody, with_domain=bool(controllers))
            for host in hosts:
                host.wait_ready()
            for controller in controllers:
                controller.wait_ready()
            if len(controllers) > 1:
                for controller in controllers:
                    controller.start(names, say)  # it now knows the other one, and adds the trust
            for host in [] if new else hosts:
                host.set_up()
            for host in hosts:
                network.limit(self.layout, host.name, "migration", bandwidth)

    def _controllers(
        self, samba: str | None, mirror: str | None, say: Callable[[str], None], *, trust: bool
    ) -> list[Controller]:
        """Return the controllers that the lab should have."""
        if samba is None:
            return self.controllers
        wanted = domain.DOMAINS.values() if trust or len(self.controllers) > 1 else [domain.HOME]
        found = [Controller.of(self.layout, one) for one in wanted]
        for controller in found:
            if samba != MACHINE:
                self._choose(controller, samba, mirror, say)
        return found

    def _choose(self, host: Machine, release: str, mirror: str | None, say: Callable[[str], None]) -> None:
        """Set the release of a new host, or check that of a host that exists."""
        if not host.made:
            host.take_root(tree.prepare(self.layout, release, mirror, say))
        elif host.release != release:
            name = self.layout.name
            raise UsageError(codes.LAB_HOST_RELEASE, host=host.name, release=host.release, wanted=release, name=name)

    def down(self) -> None:
        """Stop the lab and remove all of it; only the guest's image and other releases stay in the cache."""
        with self.layout.lock():
            for name in network.hosts(self.layout):
                Machine(self.layout, name).stop()
            network.delete(self.layout)
            for folder in (self.layout.run, self.layout.state):
                if folder.exists():
                    shutil.rmtree(folder)
                with contextlib.suppress(OSError):  # another lab uses it
                    folder.parent.rmdir()

    def status(self) -> list[MachineStatus]:
        """Return the status of each machine."""
        name = domain.NAME if self.controllers else None
        rows = [
            MachineStatus(
                host=host.name,
                up=host.pid is not None,
                release=host.release,
                management=layout.management(host.name),
                migration=layout.migration(host.name),
                vms=host.vms(),
                domain=name,
            )
            for host in self.hosts
        ]
        for controller in self.controllers:
            address = layout.management(controller.name)
            up, release, name = controller.pid is not None, controller.release, controller.domain.name
            rows.append(MachineStatus(controller.name, up, release, address, None, [], name, controller.samba))
        return rows
