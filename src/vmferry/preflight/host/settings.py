"""What the administrators of the two hosts have set: whether moves may be, how, and over which networks.

The rules are core/policy/settings.py's, which the hosts and their workers hold themselves to as well.
"""

from collections.abc import Callable, Iterator

from vmferry.core import codes
from vmferry.core.errors import PreflightError
from vmferry.core.messages.finding import Finding
from vmferry.core.policy.settings import require_enabled, require_encryption, require_network, subnets, ways
from vmferry.preflight.case import Check, End, Room, Way


def _host(end: End) -> Iterator[Finding]:
    settings, name = end.settings, end.name

    def seen(what: str) -> tuple[str, str]:
        return (what, "") if end.source else ("", what)

    yield from _held(lambda: require_enabled(settings, name), seen("migration disabled"))
    yield from _held(lambda: require_encryption(settings, end.encryption, name), seen("encryption required"))
    yield from _held(
        lambda: require_network(settings, end.addresses, name), seen(f"no address inside {subnets(settings)}")
    )


def _room(room: Room) -> Iterator[Finding]:
    if room.refusal is not None:
        seen = ("no place", "") if room.source else ("", "no place")
        yield Finding.warns(codes.LIMIT_REACHED, seen, reason=room.refusal, host=room.name)


def _way(way: Way) -> Iterator[Finding]:
    here = way.here
    theirs = [(address, 0) for address in way.addresses]  # the worker that would have the port is not there yet
    yield from _held(
        lambda: ways(here.settings, here.addresses, theirs, here.name, way.there),
        (subnets(here.settings), ", ".join(way.addresses)),
    )


def _held(rule: Callable[[], object], seen: tuple[str, str]) -> Iterator[Finding]:
    """Find what a rule raises."""
    try:
        rule()
    except PreflightError as error:
        yield Finding.blocks(error.code, seen, **error.fields)


HOST = Check(
    _host,
    {
        codes.MIGRATION_DISABLED: "Migration is off on a new host, and an administrator can switch it off.",
        codes.ENCRYPTION_DIFFERS: "A host decides for itself that nothing leaves it or comes to it in the clear.",
        codes.MIGRATION_NETWORK_MISSING: "The host keeps to its listed networks, and its interface in them is down, "
        "has another address, or was never there.",
    },
)
ROOM = Check(
    _room,
    {codes.LIMIT_REACHED: "A host takes part in so many moves at once as its administrator has set: two at first."},
)
WAY = Check(
    _way,
    {
        codes.MIGRATION_NETWORK_NOT_COMMON: "The source keeps to its listed networks, and the destination lists others "
        "or is in none of them."
    },
)
