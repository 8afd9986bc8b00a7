"""What Kerberos refuses, in vmferry's words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vmferry.core import codes
from vmferry.core.errors import Code, VmferryError

# krb5's errors (krb5.h; up to 127 those of RFC 4120, 7.5.9), of which GSS-API passes the low 32 bits on.
_BASE = -1765328384
_ROUTINE, _BAD_BINDINGS = 0xFF << 16, 4 << 16  # GSS_S_BAD_BINDINGS (RFC 2744, 3.9.1)
_CODES = {
    6: codes.PRINCIPAL_UNKNOWN,
    7: codes.SERVICE_UNKNOWN,
    13: codes.DELEGATION_REFUSED,
    18: codes.HOST_ACCOUNT_REFUSED,
    24: codes.HOST_ACCOUNT_REFUSED,
    32: codes.TICKET_EXPIRED,
    33: codes.CLOCK_SKEWED,
    34: codes.TICKET_REPLAYED,
    37: codes.CLOCK_SKEWED,
    44: codes.KEYTAB_STALE,
    45: codes.KEYTAB_STALE,
    156: codes.KDC_UNREACHABLE,
    181: codes.KEYTAB_STALE,
    220: codes.KDC_UNREACHABLE,
    221: codes.TICKET_NOT_FORWARDABLE,
    230: codes.KEYTAB_STALE,
}
# SPNEGO puts numbers of its own over krb5's, but leaves the words, which Python's locale never translates.
_WORDS = {
    "Request is a replay": codes.TICKET_REPLAYED,
    "Ticket expired": codes.TICKET_EXPIRED,
    "Ticket not yet valid": codes.CLOCK_SKEWED,
    "Clock skew too great": codes.CLOCK_SKEWED,
    "Key table entry not found": codes.KEYTAB_STALE,
    "Key version is not available": codes.KEYTAB_STALE,
    "Server not found in Kerberos database": codes.SERVICE_UNKNOWN,
}


@contextmanager
def explained(host: str, **fields: str) -> Iterator[None]:
    """Say in vmferry's words what Kerberos refuses."""
    try:
        yield
    except VmferryError:
        raise
    except Exception as error:
        if not hasattr(error, "maj_code"):  # of GSS-API
            raise
        raise _explain(error, {"host": host} | fields) from error


def _explain(error: Any, fields: dict[str, str]) -> VmferryError:
    number = error.min_code - (1 << 32) if error.min_code >= 1 << 31 else error.min_code
    why = words(error)
    code = _CODES.get(number - _BASE) or next((_WORDS[one] for one in _WORDS if one in why), codes.TICKET_REFUSED)
    if error.maj_code & _ROUTINE == _BAD_BINDINGS:
        code = codes.TICKET_UNBOUND
    known = {"why": why, "user": "the user", "source": "this host", "service": "", "path": "its keytab"}
    realm = fields.get("user", "").partition("@")[2] or "the domain"
    return refusal(code, **(known | {"account": "its account", "realm": realm} | fields))


def refusal(code: Code, **fields: str) -> VmferryError:
    """Make an error of the kind that its code has."""
    kind, _ = VmferryError.registry[code.name]
    return kind(code, **fields)


def words(error: Any) -> str:
    """Give what krb5 says, without what GSS-API says around it."""
    found = str(error.gen_message() if hasattr(error, "gen_message") else error)
    return found.partition("Minor (")[2].partition("): ")[2].rstrip(".") or found
