"""Whether a VM's displays could listen here: libvirt and QEMU notice a used port only when the VM arrives."""

import errno
import socket
from collections.abc import Iterable
from ipaddress import ip_address

from vmferry.core.libvirt.displays import Display, Obstacle, displays

_MOST = 16  # of one VM; more than any has


def obstacles(xml: str, others: Iterable[tuple[str, str]]) -> list[Obstacle]:
    """Return what prevents a VM's displays from listening.

    Arguments:
        xml: of the VM.
        others: name and XML of each VM that runs here. libvirt assigns a port only once, whatever the addresses.
    """
    mine = displays(xml)[:_MOST]
    if not mine:
        return []
    used = {
        port: name for name, theirs in others for display in displays(theirs, fixed=False) for port in display.ports
    }
    found = []
    for display in mine:
        for port in display.ports:
            if port in used:
                found.append(Obstacle(display.kind, display.address, port, f"VM {used[port]}"))
            elif (why := _refused(display, port)) is not None:
                found.append(Obstacle(display.kind, display.address, port, why))
    return found


def _refused(display: Display, port: int) -> str | None:
    """Try to take an address and port, for a moment; returns who has it, empty when the address is not this host's."""
    try:
        address = ip_address(display.address)
    except ValueError:
        return None  # a name: QEMU looks it up when it starts
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as QEMU does
        try:
            trial.bind((str(address), port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "another program"
            return "" if error.errno == errno.EADDRNOTAVAIL else None
    return None
