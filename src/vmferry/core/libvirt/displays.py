"""A VM's displays (VNC, SPICE), and what keeps them from listening on a host."""

from dataclasses import dataclass

from vmferry.core.libvirt.domainxml import parse_domain

_FIRST, _LAST = 1024, 65535
_DIGITS_MAX = 5


@dataclass(frozen=True, slots=True)
class Display:
    """A display that listens on TCP.

    Arguments:
        kind: vnc or spice.
        address: the listen address.
        ports: those that are fixed in the VM's configuration, or all that it has.
    """

    kind: str
    address: str
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a display cannot listen.

    Arguments:
        kind, address: of the display.
        port: the port that it needs.
        by: who has the port; empty if the host does not have the address.
    """

    kind: str
    address: str
    port: int
    by: str


def displays(xml: str, *, fixed: bool = True) -> list[Display]:
    """Return the displays of a VM that listen on TCP.

    Arguments:
        fixed: only those whose ports libvirt does not choose on each host (autoport).
    """
    found = []
    for graphics in parse_domain(xml).findall("devices/graphics"):
        listen = graphics.find("listen")
        kind = listen.get("type", "address") if listen is not None else "address"
        if kind not in ("address", "network") or (fixed and graphics.get("autoport") == "yes"):
            continue
        texts = [graphics.get(name, "") for name in ("port", "tlsPort", "websocket")]
        numbers = [int(text) for text in texts if text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX]
        ports = tuple(number for number in numbers if _FIRST <= number <= _LAST)
        address = (listen.get("address") if listen is not None else None) or graphics.get("listen") or "127.0.0.1"
        if ports and not (fixed and kind == "network"):
            found.append(Display(graphics.get("type", ""), address, ports))
    return found
