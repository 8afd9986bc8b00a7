"""The migration call itself: peer-to-peer, over unix sockets that vmferry's worker serves."""

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

import libvirt
import libvirt_qemu

from vmferry.core.messages.vm import Ending
from vmferry.core.request import Request
from vmferry.hypervisor.connection import close, connect, sentence, translating
from vmferry.hypervisor.domains import SUSPENDED
from vmferry.hypervisor.suspension import EVENTS, Suspension

_ASKED = 3  # times at most, for whether it was a person who suspended the VM

_ENDINGS = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED: Ending.MIGRATED,
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: Ending.HERE,
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: Ending.HERE,
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED: Ending.HERE,
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT: Ending.HERE,
}

log = logging.getLogger("vmferry.hypervisor")


@dataclass(frozen=True, slots=True)
class Statistics:
    """libvirt's statistics of a running migration. Sizes in bytes, rates in bytes per second."""

    disk_total: int = 0
    disk_done: int = 0
    memory_total: int = 0
    memory_done: int = 0
    memory_remaining: int = 0
    disk_remaining: int = 0
    dirty_rate: float | None = None
    iteration: int = 0


class Migration:
    """One outgoing peer-to-peer migration on this host.

    Arguments:
        uri: libvirt's URI.
        host: this host's name, for errors.
        request: what to ask for.
        vm: the VM's name, for errors.

    Raises:
        UnreachableError: libvirt-unreachable.
        UsageError: vm-unknown; it has been undefined, or has ended.

    The call blocks in a thread of its own; `done` is set when it returned, `error` then says why it failed, or is
    None. `stopped_at` is the monotonic time at which QEMU stopped the guest for the switch, and `ending` how the VM
    ended here, once each has happened.
    """

    def __init__(self, uri: str, host: str, request: Request, vm: str) -> None:
        self._request = request
        self._connection = connect(uri, host)
        with translating(self._connection, host, vm):
            self._domain = self._connection.lookupByUUIDString(request.uuid)
            self._watch = self._connection.domainEventRegisterAny(
                self._domain, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle, None
            )
            self._suspension = Suspension(before=tuple(self._domain.state()) == SUSPENDED)
        self._qemu_watch = self._watch_qemu()
        self._last = Statistics()
        self.done = threading.Event()
        self.error: str | None = None
        self.stopped_at: float | None = None
        self.ending: Ending | None = None
        self._resumed = False

    def start(self) -> None:
        """Start the migration, in a thread of its own."""
        self._resumed = False
        threading.Thread(target=self._run, name="migrate", daemon=True).start()

    def abort(self) -> None:
        """Ask libvirt to abort the migration; no error if there is none."""
        try:
            self._domain.abortJob()
        except libvirt.libvirtError:
            pass  # it ended by itself, or libvirtd is gone: the call's own end tells

    def statistics(self) -> Statistics:
        """Return the progress; the last one if libvirt has no answer (any more)."""
        asked = self._suspension.asked()
        try:
            stats = self._domain.jobStats()
        except libvirt.libvirtError:
            return self._last
        if not stats or stats.get("type") == libvirt.VIR_DOMAIN_JOB_NONE:
            return self._last
        self._suspension.answered(asked)
        page = stats.get("memory_page_size", 4096)
        dirty = stats.get("memory_dirty_rate")
        self._last = Statistics(
            disk_total=stats.get("disk_total", 0),
            disk_done=stats.get("disk_processed", 0),
            disk_remaining=stats.get("disk_remaining", 0),
            memory_total=stats.get("memory_total", 0),
            memory_done=stats.get("memory_processed", 0),
            memory_remaining=stats.get("memory_remaining", 0),
            dirty_rate=dirty * page if dirty is not None else None,
            iteration=stats.get("memory_iteration", 0),
        )
        return self._last

    @property
    def resumed(self) -> bool | None:
        """Whether the VM was resumed since it was stopped; None if unknown, because libvirtd was restarted."""
        try:
            return self._resumed if self._connection.isAlive() else None
        except libvirt.libvirtError:
            return None

    @property
    def suspended(self) -> bool:
        """Whether a person suspended the VM, before the migration or during it."""
        return self._suspension.by_person

    def ask_suspended(self) -> bool:
        """Return the same, and ask QEMU where that is not clear; before `abort`, which makes libvirt resume the VM."""
        for _ in range(_ASKED):
            if not self._suspension.unclear:
                break
            self.statistics()
            self._suspension.settle()
        return self.suspended

    def close(self) -> None:
        """Close the connection to libvirt."""
        try:
            self._connection.domainEventDeregisterAny(self._watch)
            if self._qemu_watch is not None:
                libvirt_qemu.qemuMonitorEventDeregister(self._connection, self._qemu_watch)
        except libvirt.libvirtError:
            pass  # the connection is dead already
        close(self._connection)

    def _watch_qemu(self) -> int | None:
        flags = libvirt_qemu.VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX
        try:
            return int(
                libvirt_qemu.qemuMonitorEventRegister(
                    self._connection, self._domain, EVENTS, self._on_qemu, None, flags
                )
            )
        except libvirt.libvirtError as error:
            log.warning("whether somebody suspends the VM meanwhile will not be known: %s", error)
            return None

    def _on_qemu(
        self, _connection: Any, _domain: Any, event: str, _seconds: int, _micros: int, details: Any, _opaque: object
    ) -> None:
        self._suspension.hear(event, details)

    def _run(self) -> None:
        request = self._request
        parameters: dict[str, Any] = {
            libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{request.sockets.memory}",
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: request.live_xml,
        }
        if request.mirrored:
            parameters[libvirt.VIR_MIGRATE_PARAM_DISKS_URI] = f"unix://{request.sockets.disk}"
            # An absent list would mean "all writable disks", shared ones too.
            parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(request.mirrored)
        if request.channels:
            parameters[libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS] = request.channels
        if request.bandwidth:
            parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = request.bandwidth
        target = f"qemu+unix:///system?socket={request.sockets.rpc}"
        try:
            if request.downtime is not None:
                self._domain.migrateSetMaxDowntime(request.downtime)
            self._domain.migrateToURI3(target, parameters, int(request.flags))
        except libvirt.libvirtError as error:
            self.error = sentence(error)
        finally:
            self.done.set()

    def _on_lifecycle(self, _connection: Any, _domain: Any, event: int, detail: int, _opaque: object) -> None:
        # Between the end of pre-copy and Finish libvirt reports "suspended: migrated": the guest stands still now.
        if event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED and detail in (
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED,
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED,
        ):
            self.stopped_at = time.monotonic()
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            self.ending = _ENDINGS.get(detail, Ending.UNKNOWN)
        self._resumed |= event == libvirt.VIR_DOMAIN_EVENT_RESUMED
        if (event, detail) == (libvirt.VIR_DOMAIN_EVENT_RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED):
            self._suspension.resumed()
