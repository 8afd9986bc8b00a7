"""Connections to this host's libvirt, and its event loop.

libvirt calls block: a caller that must not wait for another one opens a connection of its own.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import libvirt

from vmferry.core import codes
from vmferry.core.errors import PreflightError, UnreachableError, UsageError, VmferryError
from vmferry.core.text import shortened

# Error codes of libvirt that mean "libvirtd is not there (any more)", not "the call was refused".
_GONE = frozenset(
    {
        libvirt.VIR_ERR_SYSTEM_ERROR,
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_INVALID_CONN,
        libvirt.VIR_ERR_INTERNAL_ERROR,
    }
)


@cache
def start_events() -> None:
    """Run libvirt's event loop in a thread of its own, once per process.

    Without it a connection delivers no events and answers no keepalive.
    """
    libvirt.virEventRegisterDefaultImpl()
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors are raised; do not print them too

    def loop() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=loop, name="libvirt-events", daemon=True).start()


def connect(uri: str, host: str) -> Any:
    """Open a connection to this host's libvirt.

    Arguments:
        uri: e.g. `qemu:///system`.
        host: this host's name, for the error.

    Raises:
        UnreachableError: libvirt-unreachable.
    """
    start_events()
    try:
        return libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise UnreachableError(codes.LIBVIRT_UNREACHABLE, host=host, why=sentence(error)) from error


@contextmanager
def connected(uri: str, host: str) -> Iterator[Any]:
    """Open a connection for the length of a `with` block."""
    connection = connect(uri, host)
    try:
        yield connection
    finally:
        close(connection)


def close(connection: Any) -> None:
    """Close a connection, even a dead one."""
    try:
        connection.close()
    except libvirt.libvirtError:
        pass  # libvirtd is gone: so is the connection


def sentence(error: "libvirt.libvirtError") -> str:
    """Return libvirt's message, shortened and without its full stop, as part of a sentence."""
    return shortened(str(error)).rstrip(".")


def is_gone(error: "libvirt.libvirtError", connection: Any) -> bool:
    """Return whether a call failed because libvirtd went away, and not because it refused the call."""
    try:
        if not connection.isAlive():
            return True
    except libvirt.libvirtError:
        return True
    return error.get_error_domain() == libvirt.VIR_FROM_RPC and error.get_error_code() in _GONE


def refused(error: "libvirt.libvirtError", host: str, vm: str) -> PreflightError:
    """Return the error for a VM that libvirt refuses."""
    return PreflightError(codes.LIBVIRT_REFUSED, host=host, vm=vm, detail=sentence(error))


def translated(error: "libvirt.libvirtError", connection: Any, host: str, vm: str | None = None) -> VmferryError:
    """Return the error for the caller: libvirt is away, it does not know the VM, or it refused the call.

    Arguments:
        connection: the one on which the call failed.
        host: this host's name.
        vm: the VM of the call; None if the call was about the host.
    """
    if is_gone(error, connection):
        return UnreachableError(codes.LIBVIRT_UNREACHABLE, host=host, why=sentence(error))
    if vm is None:
        return PreflightError(codes.LIBVIRT_FAILED, host=host, detail=sentence(error))
    if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
        return UsageError(codes.VM_UNKNOWN, vm=vm, host=host)
    return refused(error, host, vm)


@contextmanager
def translating(connection: Any, host: str, vm: str | None = None) -> Iterator[None]:
    """Translate the errors of libvirt in a `with` block as `translated` does; same arguments."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise translated(error, connection, host, vm) from error
