"""The host's migration networks: an address in each, on an interface that is up, with packets of a useful size."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.core.policy.networks import choose
from vmferry.core.policy.settings import subnets
from vmferry.preflight.case import Check
from vmferry.preflight.doctor.health import Health

SMALLEST = 1280  # bytes: what every link of the Internet carries (RFC 8200, section 5)


def _networks(health: Health) -> Iterator[Finding]:
    settings, name = health.settings, health.name
    found = choose(health.addresses, settings.networks)
    if not settings.any_network and not found:
        listed = subnets(settings)
        seen = (f"no address inside {listed}", "")
        yield Finding.blocks(codes.MIGRATION_NETWORK_MISSING, seen, host=name, networks=listed)
    else:
        for network in settings.networks:
            if not choose(health.addresses, [network]):
                seen = (f"no address inside {network.subnet}", "")
                yield Finding.warns(codes.NETWORK_EMPTY, seen, host=name, subnet=network.subnet)
    usable = [local for local in found if (link := health.links.get(local.interface)) and link.up]
    for local in found:
        known = health.links.get(local.interface)
        if known is None:
            continue
        names = {"host": name, "interface": local.interface, "address": local.address}
        if not known.up:
            judge = Finding.warns if usable or settings.any_network else Finding.blocks
            yield judge(codes.LINK_DOWN, (f"{local.interface} ({local.address}) is down", ""), **names)
        elif known.mtu < SMALLEST:
            yield Finding.warns(codes.MTU_SMALL, (f"{local.interface}: MTU {known.mtu}", ""), mtu=known.mtu, **names)


NETWORKS = Check(
    _networks,
    {
        codes.MIGRATION_NETWORK_MISSING: "The host uses only its listed networks, and its interface in them has "
        "another address, or never existed.",
        codes.NETWORK_EMPTY: "The list was made for another host, or an address is missing.",
        codes.LINK_DOWN: "The interface was switched off, or its cable or the port at its other end is dead.",
        codes.MTU_SMALL: "The interface was given a small MTU, perhaps for a tunnel inside a tunnel.",
    },
)
