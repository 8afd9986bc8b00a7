"""Watches a copy that must not run yet: if anyone resumes it by hand, it is suspended again at once.

libvirt calls no hook before a VM is resumed (https://libvirt.org/hooks.html), so its events are used.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

import libvirt

from vmferry.core.errors import VmferryError
from vmferry.core.identifiers import VmIdentity
from vmferry.hypervisor.connection import close, connect
from vmferry.hypervisor.domains import identity

_LOOK = 1.0  # seconds between two looks without an event: libvirtd may have been away

log = logging.getLogger("vmferry.hypervisor")


class Vigil:
    """Keeps one VM from running until `end` is called.

    Arguments:
        uri: of libvirt.
        host: this host's name, for errors.
        own: returns the identity of the VM, with its id; None while there is none. No other VM is suspended.
        suspended: called each time after the VM was suspended, in a thread of its own.
    """

    def __init__(
        self, uri: str, host: str, own: Callable[[], VmIdentity | None], suspended: Callable[[], None]
    ) -> None:
        self._uri, self._host, self._own = uri, host, own
        self._suspended = suspended
        self._lock = threading.Lock()
        self._over = False
        self._news = threading.Event()

    def start(self) -> None:
        """Start to watch."""
        threading.Thread(target=self._run, name="vigil", daemon=True).start()

    def end(self) -> None:
        """Stop to watch: after this, the VM is not suspended any more, and `suspended` is not called any more."""
        with self._lock:
            self._over = True
        self._news.set()

    def _run(self) -> None:
        while not self._over:
            try:
                connection = connect(self._uri, self._host)
            except VmferryError:  # libvirtd is away, and resumes nothing
                self._news.wait(_LOOK)
                continue
            try:
                self._watch(connection)
            except Exception as error:  # libvirt is away, as a rule; nothing ends the vigil but `end`
                log.debug("the vigil on %s begins anew: %s", self._host, error)
                self._news.wait(_LOOK)
            finally:
                close(connection)

    def _watch(self, connection: Any) -> None:
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle, None)
        while not self._over and connection.isAlive():
            self._news.clear()
            self._look(connection)
            self._news.wait(_LOOK)

    def _look(self, connection: Any) -> None:
        own = self._own()
        if own is None:
            return
        try:
            domain = connection.lookupByUUIDString(own.uuid)
            if identity(domain) != own or domain.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
                return
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return
            raise
        with self._lock:
            if self._over:
                return
            domain.suspend()
            log.warning("%s was resumed on %s before it was handed over, and is suspended again", own.name, self._host)
            try:
                self._suspended()
            except Exception:  # the vigil goes on: it must not run, whatever else is wrong
                log.exception("that %s was resumed cannot be put on record", own.name)

    def _on_lifecycle(self, _connection: Any, _domain: Any, event: int, _detail: int, _opaque: object) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_RESUMED:
            self._news.set()
