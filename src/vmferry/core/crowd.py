"""Share connections fairly: when there are too many, decide which one gives way."""

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar

Key = TypeVar("Key")


def origin(address: str) -> str:
    """Return a key for one caller: an IPv6 network can use a new address for each connection."""
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, IPv6Address):
        if known.ipv4_mapped is not None:
            return str(known.ipv4_mapped)
        return str(ip_network((known, 64), strict=False))
    return address


def gives_way(held: Iterable[tuple[Key, str]]) -> Key:
    """Return the connection that makes room for a new one: the oldest of those from the most frequent origin.

    A caller that opens many connections loses only its own, and a silent one never outlasts all others.

    Arguments:
        held: each connection with its `origin`, the oldest first; at least one.
    """
    listed = list(held)
    crowd = Counter(place for _, place in listed)
    most = max(crowd.values())
    return next(key for key, place in listed if crowd[place] == most)
