"""Host addresses as people write them."""

from vmferry.core import codes
from vmferry.core.errors import UsageError

_DIGITS = 5  # of a port


def bracketed(host: str) -> str:
    """Return a host as it stands before a port: an IPv6 address in brackets (RFC 3986, 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def host_port(text: str, default: int) -> tuple[str, int]:
    """Parse HOST, HOST:PORT or [HOST]:PORT.

    Arguments:
        text: the address.
        default: the port if the text has none.

    Raises:
        UsageError: bad-request; the text has another form.
    """
    host, port = text, str(default)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or not port.isdecimal() or len(port) > _DIGITS or not 0 < int(port) < 65536:
        raise UsageError(codes.BAD_REQUEST, detail=f"{text} is not HOST or HOST:PORT")
    return host, int(port)
