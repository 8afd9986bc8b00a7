"""A whole lab: up, down, and what is in it."""

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
    """How one host stands, or the domain controller.

    Arguments:
        migration: its address on the migration network; none for the controller, which is not on it.
        domain: that it belongs to.
        samba: the version of a controller's Samba.
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
    """The lab of a name."""

    layout: Layout

    @classmethod
    def named(cls, name: str = "lab") -> "Lab":
        """Give the lab of that name, up or not."""
        return cls(Layout(name))

    @property
    def hosts(self) -> list[LabHost]:
        """Its hosts, in order; none while it is down."""
        names = [file.stem for file in self.layout.run.glob("kvm*.pid")]
        return [LabHost(self.layout, name) for name in sorted(names, key=lambda name: int(name.removeprefix("kvm")))]

    @property
    def controller(self) -> Controller | None:
        """Its domain controller, if it has a domain."""
        controller = Controller.of(self.layout)
        return controller if controller.made else None

    @property
    def controllers(self) -> list[Controller]:
        """Its domain's controller, and that of the domain which trusts it; as far as there are."""
        found = [Controller.of(self.layout, one) for one in domain.DOMAINS.values()]
        return [controller for controller in found if controller.made]

    def machine(self, name: str) -> Machine:
        """Give a host, or a domain controller.

        Raises:
            PreflightError: lab-down.
            UsageError: lab-host-unknown.
        """
        return next((one for one in self.controllers if one.name == name), None) or self.host(name)

    def host(self, name: str) -> LabHost:
        """Give one host.

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
        """Bring it up, or what is missing of it.

        Arguments:
            count: how many hosts.
            bandwidth: of the migration network, as tc(8) has it; None for no limit.
            releases: hosts of another Debian release than the machine's, by name; one that is made keeps its own.
            samba: with a domain, whose controller has this release's Samba, or the machine's (`MACHINE`); None for no
                domain, unless there is one.
            mirror: where another release comes from; None: from where this machine's own packages do.
            say: is told how far its making is.
            trust: with a second domain that trusts the first, and is trusted.
            new: leave the hosts' settings as they are when vmferry was just installed.

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
                host.home.mkdir(exist_ok=True)  # the controller writes keytabs there
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
                    controller.start(names, say)  # it knows the other now, and adds the trust
            for host in [] if new else hosts:
                host.set_up()
            for host in hosts:
                network.limit(self.layout, host.name, "migration", bandwidth)

    def _controllers(
        self, samba: str | None, mirror: str | None, say: Callable[[str], None], *, trust: bool
    ) -> list[Controller]:
        """Give the controllers that the lab shall have."""
        if samba is None:
            return self.controllers
        wanted = domain.DOMAINS.values() if trust or len(self.controllers) > 1 else [domain.HOME]
        found = [Controller.of(self.layout, one) for one in wanted]
        for controller in found:
            if samba != MACHINE:
                self._choose(controller, samba, mirror, say)
        return found

    def _choose(self, host: Machine, release: str, mirror: str | None, say: Callable[[str], None]) -> None:
        """Give a host its release, unless it has that one."""
        if not host.made:
            host.take_root(tree.prepare(self.layout, release, mirror, say))
        elif host.release != release:
            name = self.layout.name
            raise UsageError(codes.LAB_HOST_RELEASE, host=host.name, release=host.release, wanted=release, name=name)

    def down(self) -> None:
        """End everything in it and leave nothing behind; the guest's image and other releases stay in the cache."""
        with self.layout.lock():
            for name in network.hosts(self.layout):
                Machine(self.layout, name).stop()
            network.delete(self.layout)
            for place in (self.layout.run, self.layout.state):
                if place.exists():
                    shutil.rmtree(place)
                with contextlib.suppress(OSError):  # another lab's
                    place.parent.rmdir()

    def status(self) -> list[MachineStatus]:
        """Tell how each host stands."""
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
