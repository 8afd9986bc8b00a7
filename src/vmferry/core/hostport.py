"""Where a host is, as people write it."""

from vmferry.core import codes
from vmferry.core.errors import UsageError

_DIGITS = 5  # of a port


def host_port(place: str, default: int) -> tuple[str, int]:
    """Read HOST, HOST:PORT or [HOST]:PORT.

    Arguments:
        default: the port where none is said.

    Raises:
        UsageError: it is something else (BAD_REQUEST).
    """
    host, port = place, str(default)
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif place.count(":") == 1:
        host, _, port = place.partition(":")
    if not host or not port.isdecimal() or len(port) > _DIGITS or not 0 < int(port) < 65536:
        raise UsageError(codes.BAD_REQUEST, detail=f"{place} is not HOST or HOST:PORT")
    return host, int(port)
