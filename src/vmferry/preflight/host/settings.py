"""The settings of the two hosts' administrators: whether moves are allowed, how, and over which networks.

The rules are in core/policy/settings.py; the hosts and their workers apply them too.
"""

from collections.abc import Callable, Iterator

from vmferry.core import codes
from vmferry.core.errors import PreflightError
from vmferry.core.messages.finding import Finding
from vmferry.core.policy.settings import require_enabled, require_encryption, require_network, routes_to, subnets
from vmferry.preflight.case import Check, DataRoute, End, FreeSlot


def _host(end: End) -> Iterator[Finding]:
    settings, name = end.settings, end.name

    def seen(what: str) -> tuple[str, str]:
        return (what, "") if end.source else ("", what)

    yield from _held(lambda: require_enabled(settings, name), seen("migration disabled"))
    yield from _held(lambda: require_encryption(settings, end.encryption, name), seen("encryption required"))
    yield from _held(
        lambda: require_network(settings, end.addresses, name), seen(f"no address inside {subnets(settings)}")
    )


def _slot(slot: FreeSlot) -> Iterator[Finding]:
    if slot.refusal is not None:
        seen = ("no free slot", "") if slot.source else ("", "no free slot")
        yield Finding.warns(codes.LIMIT_REACHED, seen, reason=slot.refusal, host=slot.name)


def _route(route: DataRoute) -> Iterator[Finding]:
    source = route.source
    theirs = [(address, 0) for address in route.addresses]  # the worker that would have the port does not run yet
    yield from _held(
        lambda: routes_to(source.settings, source.addresses, theirs, source.name, route.destination),
        (subnets(source.settings), ", ".join(route.addresses)),
    )


def _held(rule: Callable[[], object], seen: tuple[str, str]) -> Iterator[Finding]:
    """Return what a rule raises as a finding."""
    try:
        rule()
    except PreflightError as error:
        yield Finding.blocks(error.code, seen, **error.fields)


HOST = Check(
    _host,
    {
        codes.MIGRATION_DISABLED: "Migration is disabled on a new host, and an administrator can disable it.",
        codes.ENCRYPTION_DIFFERS: "Each host decides for itself that no data leaves it or reaches it unencrypted.",
        codes.MIGRATION_NETWORK_MISSING: "The host uses only its listed networks, and its interface in them is down, "
        "has another address, or never "
        "existed.",
    },
)
SLOT = Check(
    _slot,
    {
        codes.LIMIT_REACHED: "A host takes part in as many moves at once as its administrator has set; the default "
        "is two."
    },
)
ROUTE = Check(
    _route,
    {
        codes.MIGRATION_NETWORK_NOT_COMMON: "The source uses only its listed networks, and the destination lists "
        "others or is in none of them."
    },
)
