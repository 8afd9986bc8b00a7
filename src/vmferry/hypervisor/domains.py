"""VMs on this host as a job needs them: their state, and the few actions around a move."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import libvirt

from vmferry.core import codes
from vmferry.core.errors import PreflightError, UnreachableError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.messages.use import Surroundings
from vmferry.core.messages.vm import Ending, Presence
from vmferry.hypervisor.connection import close, connect, is_gone, refused, sentence
from vmferry.hypervisor.storage import users

T = TypeVar("T")


# A state that is not among these is one of a newer libvirt: nothing is concluded from it.
_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: Presence.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: Presence.RUNNING,  # it waits for a device
    libvirt.VIR_DOMAIN_PMSUSPENDED: Presence.RUNNING,  # the guest sleeps by its own wish, and wakes by it
    libvirt.VIR_DOMAIN_PAUSED: Presence.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: Presence.BUSY,  # on its way to SHUTOFF; libvirt 11 shows it for a VM that has gone
    libvirt.VIR_DOMAIN_NOSTATE: Presence.BUSY,
    libvirt.VIR_DOMAIN_SHUTOFF: Presence.OFF,
    libvirt.VIR_DOMAIN_CRASHED: Presence.CRASHED,
}
_ENDINGS = {
    libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED: Ending.MIGRATED,
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: Ending.HERE,
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: Ending.HERE,
    libvirt.VIR_DOMAIN_SHUTOFF_SAVED: Ending.HERE,
    libvirt.VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT: Ending.HERE,
}
SUSPENDED = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER)  # by a person; not while a job is at work
_LET_RUN = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_MIGRATION_CANCELED)
_NO_METADATA = "urn:vmferry:none"
_DEFINITION = libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_INACTIVE


class Domains:
    """VMs of this host; connects again after libvirtd was restarted.

    Arguments:
        uri: libvirt's URI, e.g. `qemu:///system`.
        host: this host's name, for errors.
        vm: the name of the VM that it is about, for errors.

    Every method raises UnreachableError (libvirt-unreachable) while libvirtd is away, and PreflightError
    (libvirt-refused)
    if libvirt refuses. Methods that change a VM raise PreflightError (not-this-vm), and change nothing, if the VM with
    that
    UUID has another name; those that end it or let it run, also if it has another id.
    """

    def __init__(self, uri: str, host: str, vm: str = "a VM") -> None:
        self._uri = uri
        self._host = host
        self._vm = vm
        self._lock = threading.Lock()
        self._connection: Any = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            if self._connection is not None:
                close(self._connection)
                self._connection = None

    def alike(self, uuid: str, name: str) -> list[VmIdentity]:
        """Return the VMs that are here with that UUID or that name, active or defined."""

        def ask(connection: Any) -> list[VmIdentity]:
            found = (_lookup(connection, uuid), _named(connection, name))
            known = (identity(domain) for domain in found if domain is not None)
            return list(dict.fromkeys(known))

        return self._call(ask)

    def presence(self, uuid: str, name: str | None = None) -> Presence:
        """Return the state of the VM.

        Arguments:
            name: a VM with that UUID and another name counts as absent; None: any name.
        """

        def ask(connection: Any) -> Presence:
            domain = _lookup(connection, uuid)
            if domain is None or name not in (None, domain.name()):
                return Presence.ABSENT
            presence = _state(domain)
            if presence is Presence.CRASHED and not domain.isActive():
                return Presence.OFF
            if presence is Presence.PAUSED and domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
                return Presence.BUSY
            return presence

        return self._call(ask)

    def settle(self, uuid: str) -> None:
        """Wait until no libvirt job works on the VM, by asking for a change that has to wait for it.

        Such a change takes libvirt's modify job, which a migration keeps out to its very end; what a job's statistics
        say ends earlier. Autostart is set to what it is; of a VM without a definition, metadata that it does not have
        is removed.

        Raises:
            PreflightError: libvirt-refused; the job was not over within libvirt's own 30 s.
        """

        def act(connection: Any) -> None:
            domain = _lookup(connection, uuid)
            if domain is None:
                return
            if domain.isPersistent():
                domain.setAutostart(domain.autostart())
            elif domain.isActive():
                element, live = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
                domain.setMetadata(element, None, "vmferry", _NO_METADATA, live)

        self._call(act)

    def resume(self, vm: VmIdentity) -> None:
        """Resume a paused VM; a VM that is not paused is left alone."""

        def act(connection: Any) -> None:
            domain = connection.lookupByUUIDString(vm.uuid)
            self._require_run(domain, vm)
            if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()

        self._call(act)

    def resume_after(self, vm: VmIdentity) -> bool:
        """Resume a VM that libvirt left paused after a migration; return False if a person suspended it.

        A VM that a person suspended stays suspended.
        """

        def act(connection: Any) -> bool:
            domain = connection.lookupByUUIDString(vm.uuid)
            self._require_run(domain, vm)
            if tuple(domain.state()) == SUSPENDED:
                return False
            if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()
            return True

        return self._call(act)

    def suspend_after(self, vm: VmIdentity) -> bool:
        """Suspend a VM again that libvirt resumed after a migration; return False if someone else resumed it."""

        def act(connection: Any) -> bool:
            domain = connection.lookupByUUIDString(vm.uuid)
            self._require_run(domain, vm)
            if tuple(domain.state()) != _LET_RUN:
                return False
            domain.suspend()
            return True

        return self._call(act)

    def ending(self, uuid: str) -> Ending:
        """Return how a VM that is off has ended; unknown if it is not here."""

        def ask(connection: Any) -> Ending:
            domain = _lookup(connection, uuid)
            state, reason = domain.state() if domain is not None else (None, None)
            if state == libvirt.VIR_DOMAIN_CRASHED:
                return Ending.HERE
            return _ENDINGS.get(reason, Ending.UNKNOWN) if state == libvirt.VIR_DOMAIN_SHUTOFF else Ending.UNKNOWN

        return self._call(ask)

    def suspended(self, uuid: str) -> bool:
        """Return whether a person has suspended the VM."""

        def ask(connection: Any) -> bool:
            domain = _lookup(connection, uuid)
            return domain is not None and tuple(domain.state()) == SUSPENDED

        return self._call(ask)

    def destroy(self, vm: VmIdentity) -> None:
        """End the VM's process at once; its definition, if any, stays. A VM that is not active is left alone."""

        def act(connection: Any) -> None:
            domain = _lookup(connection, vm.uuid)
            if domain is None or not domain.isActive():
                return
            self._require_run(domain, vm)
            if vm.id is None and _state(domain) is Presence.RUNNING:
                raise self._another(vm, "it runs, and nothing on record says that it is")
            domain.destroy()

        self._call(act)

    def define(self, xml: str, *, autostart: bool) -> None:
        """Define the VM; a running VM keeps running."""

        def act(connection: Any) -> None:
            connection.defineXML(xml).setAutostart(int(autostart))

        self._call(act)

    def autostart(self, vm: VmIdentity, *, on: bool) -> None:
        """Set whether libvirt starts the VM with the host. Nothing happens if it is not defined."""

        def act(connection: Any) -> None:
            domain = _lookup(connection, vm.uuid)
            if domain is not None and domain.isPersistent() and bool(domain.autostart()) != on:
                self._require_name(domain, vm)
                domain.setAutostart(int(on))

        self._call(act)

    def forget(self, vm: VmIdentity) -> tuple[str, bool] | None:
        """Take autostart and the definition of a VM away; its disks stay. Nothing happens when there is none.

        A managed save image goes too: the VM has run since, so that its memory is stale, and a start would take it.

        Returns:
            The definition that was taken away, as `definition` has it, and its autostart; None: there was none.

        Raises:
            PreflightError: libvirt-refused; the definition is needed, e.g. for snapshots.
        """

        def act(connection: Any) -> tuple[str, bool] | None:
            domain = _lookup(connection, vm.uuid)
            if domain is None or not domain.isPersistent():
                return None
            self._require_name(domain, vm)
            taken = str(domain.XMLDesc(_DEFINITION)), bool(domain.autostart())
            if domain.autostart():
                domain.setAutostart(0)
            flags = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
            if domain.hasManagedSaveImage():
                flags |= libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            domain.undefineFlags(flags)
            return taken

        return self._call(act)

    def starts_with_host(self, vm: VmIdentity) -> bool:
        """Return whether libvirt starts the VM with the host."""

        def ask(connection: Any) -> bool:
            domain = _lookup(connection, vm.uuid)
            return bool(domain is not None and domain.isPersistent() and domain.autostart())

        return self._call(ask)

    def around(self, paths: list[str], uuid: str) -> Surroundings:
        """Return who uses files, other than one VM."""
        return self._call(lambda connection: users.find(connection, paths, uuid))

    def definition(self, uuid: str) -> tuple[str, bool] | None:
        """Return the VM's persistent configuration, as an offer has it, and its autostart; None: it has none.

        Whoever waits for libvirt's job on the VM, to change or remove its definition, has their turn first: metadata
        that it does not have is removed, which takes the same lock.
        """

        def ask(connection: Any) -> tuple[str, bool] | None:
            try:
                domain = _lookup(connection, uuid)
                if domain is None or not domain.isPersistent():
                    return None
                element, config = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CONFIG
                domain.setMetadata(element, None, "vmferry", _NO_METADATA, config)
                return str(domain.XMLDesc(_DEFINITION)), bool(domain.autostart())
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return None  # it was undefined at the same moment
                raise

        return self._call(ask)

    def xml(self, uuid: str, *, inactive: bool) -> str:
        """Return the VM's configuration: for its next start, or of the running VM."""
        flags = libvirt.VIR_DOMAIN_XML_SECURE | (libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0)
        return self._call(lambda connection: str(connection.lookupByUUIDString(uuid).XMLDesc(flags)))

    def _require_name(self, domain: Any, vm: VmIdentity) -> None:
        if domain.name() != vm.name:
            raise self._another(vm, f"it is called {domain.name()}, not {vm.name}")

    def _require_run(self, domain: Any, vm: VmIdentity) -> None:
        self._require_name(domain, vm)
        if vm.id is not None and domain.isActive() and domain.ID() != vm.id:
            raise self._another(vm, f"it was started anew, with the id {domain.ID()} instead of {vm.id}")

    def _another(self, vm: VmIdentity, why: str) -> PreflightError:
        return PreflightError(codes.NOT_THIS_VM, uuid=vm.uuid, host=self._host, why=why)

    def _call(self, action: Callable[[Any], T]) -> T:
        """Run a call; if libvirtd was restarted since the last one, connect again and repeat it once."""
        for attempt in (1, 2):
            with self._lock:
                if self._connection is None:
                    self._connection = connect(self._uri, self._host)
                connection = self._connection
            try:
                return action(connection)
            except libvirt.libvirtError as error:
                if not is_gone(error, connection):
                    raise refused(error, self._host, self._vm) from error
                with self._lock:
                    if self._connection is connection:
                        close(connection)
                        self._connection = None
                if attempt == 2:
                    raise UnreachableError(codes.LIBVIRT_UNREACHABLE, host=self._host, why=sentence(error)) from error
        raise AssertionError("the loop returns or raises")


def _lookup(connection: Any, uuid: str) -> Any:
    try:
        return connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _named(connection: Any, name: str) -> Any:
    try:
        return connection.lookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def identity(domain: Any) -> VmIdentity:
    """Return the identity of a libvirt domain."""
    return VmIdentity(domain.UUIDString(), domain.name(), domain.ID() if domain.isActive() else None)


def _state(domain: Any) -> Presence:
    return _STATES.get(domain.state()[0], Presence.BUSY)
