"""Migration networks: how subnets are written, and which addresses may carry a move, in which order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface, ip_network
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.text import printable

PRIORITY = 100  # of a network that is added without one, so that others can come before it and after it

_Subnet = IPv4Network | IPv6Network


def canonical(text: str) -> str:
    """Return the one form in which a subnet is kept: `10.20.0.7/24` is 10.20.0.0/24, a bare address a subnet of one.

    Raises:
        ValueError: the text is not a subnet, or not one between hosts.
    """
    try:
        found = ip_interface(text.strip()).network
    except ValueError:
        raise ValueError(f"{printable(text, 200)} is neither a subnet, such as 10.20.0.0/24, nor an address") from None
    if found.is_loopback or found.is_multicast or found.is_unspecified:
        raise ValueError(f"{text} leads to no other host")
    if isinstance(found, IPv6Network) and (found.is_link_local or found.network_address.ipv4_mapped):
        raise ValueError(f"{text} is link-local or stands for an IPv4 address; write the address that the host routes")
    return str(found)


SUBNET = r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"  # for documents; what a subnet is, `canonical` judges, and says why not
Subnet = Annotated[str, AfterValidator(canonical), Field(json_schema_extra={"pattern": SUBNET})]


class Network(BaseModel):
    """A subnet that moves may use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subnet: Subnet = Field(description="such as 10.20.0.0/24 or fd20::/64")
    priority: int = Field(default=PRIORITY, ge=0, le=9999, description="the lowest number is tried first")

    @property
    def parsed(self) -> _Subnet:
        """The subnet as a value."""
        return ip_network(self.subnet)


@dataclass(frozen=True, slots=True)
class Local:
    """An address of this host.

    Arguments:
        address: as `ipaddress` writes it; a host name if an administrator set one.
        length: prefix length of its subnet, in bits.
        interface: the interface with the address; empty: moves are not bound to one.
    """

    address: str
    length: int = 0
    interface: str = ""


class Route(NamedTuple):
    """A route to the worker of the other host.

    Arguments:
        host: its address.
        port: its TCP port.
        local: the source address on this host; None: the kernel chooses it.
    """

    host: str
    port: int
    local: Local | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The networks after a change.

    Arguments:
        networks: in the order in which they are tried.
        notes: sentences for the user who changed them.
    """

    networks: list[Network]
    notes: list[str]


# --- the list ----------------------------------------------------------------------------------------------------


def ordered(networks: Iterable[Network]) -> list[Network]:
    """Return networks in the order in which they are tried: by priority, then always in the same order."""
    return sorted(networks, key=lambda one: (one.priority, one.parsed.version, one.parsed))


def add(networks: Sequence[Network], text: str, priority: int | None = None) -> Listing:
    """Add a network; adding the same one again changes nothing, and the note says so.

    Arguments:
        text: a subnet or an address.
        priority: None means PRIORITY, or that of the network if it is listed already.

    Raises:
        UsageError: network-invalid; network-exists, with another priority.
    """
    subnet, notes = _read(text)
    known = next((one for one in networks if one.subnet == subnet), None)
    if known is not None:
        if priority not in (None, known.priority):
            raise UsageError(codes.NETWORK_EXISTS, subnet=subnet, priority=known.priority)
        return Listing(list(networks), [*notes, f"{subnet} is listed already; nothing was changed."])
    made = Network(subnet=subnet, priority=PRIORITY if priority is None else priority)
    return Listing(ordered([*networks, made]), notes + _overlaps(made, networks))


def replace(networks: Sequence[Network], text: str, subnet: str | None = None, priority: int | None = None) -> Listing:
    """Change the subnet or the priority of a listed network.

    Raises:
        UsageError: network-invalid; network-unknown; network-exists, if another one has that subnet.
    """
    known = _find(networks, text)
    wanted, notes = _read(subnet) if subnet is not None else (known.subnet, [])
    made = Network(subnet=wanted, priority=known.priority if priority is None else priority)
    if made == known:
        return Listing(list(networks), [*notes, f"{known.subnet} is so already; nothing was changed."])
    others = [one for one in networks if one is not known]
    taken = next((one for one in others if one.subnet == wanted), None)
    if taken is not None:
        raise UsageError(codes.NETWORK_EXISTS, subnet=wanted, priority=taken.priority)
    overlaps = _overlaps(made, others) if wanted != known.subnet else []
    return Listing(ordered([*others, made]), notes + overlaps)


def remove(networks: Sequence[Network], text: str) -> Listing:
    """Remove a network from the list.

    Raises:
        UsageError: network-invalid, network-unknown.
    """
    known = _find(networks, text)
    return Listing([one for one in networks if one is not known], [])


def _find(networks: Sequence[Network], text: str) -> Network:
    subnet, _ = _read(text)
    known = next((one for one in networks if one.subnet == subnet), None)
    if known is None:
        raise UsageError(codes.NETWORK_UNKNOWN, subnet=subnet)
    return known


def _read(text: str) -> tuple[str, list[str]]:
    try:
        subnet = canonical(text)
    except ValueError as error:
        raise UsageError(codes.NETWORK_INVALID, why=str(error)) from error
    given = ip_interface(text.strip())
    if "/" in text and given.ip != given.network.network_address:
        return subnet, [f"{text.strip()} was taken as its subnet, {subnet}."]
    return subnet, []


def _overlaps(made: Network, others: Iterable[Network]) -> list[str]:
    return [
        f"{made.subnet} overlaps {one.subnet}; an address in both counts as in the one that comes first."
        for one in others
        if _meet(made.parsed, one.parsed)
    ]


# --- addresses ---------------------------------------------------------------------------------------------------


def choose(addresses: Iterable[Local], networks: Sequence[Network]) -> list[Local]:
    """Return the addresses in listed networks, in the order of the networks."""
    places = [one.parsed for one in ordered(networks)]
    found = []
    for local in addresses:
        ip = _ip(local.address)
        rank = next((number for number, place in enumerate(places) if ip is not None and ip in place), None)
        if rank is not None and ip is not None:
            found.append((rank, int(ip), local))
    return [local for _, _, local in sorted(found, key=lambda entry: entry[:2])]


def reach(addresses: Iterable[Local], networks: Sequence[Network]) -> list[str]:
    """Return the subnets in which another host can be reached over these networks.

    A listed address of this host stands for the subnet of its interface: nobody else is in a subnet of one.
    """
    on_link = {ip_network(local.address): _on_link(local) for local in addresses}
    return list(dict.fromkeys(str(on_link.get(one.parsed, one.parsed)) for one in ordered(networks)))


def routes(theirs: Iterable[tuple[str, int]], addresses: Sequence[Local], networks: Sequence[Network]) -> list[Route]:
    """Return the routes to another host inside the listed networks, the best first.

    The other host's order counts first: it names its best address first. Of our addresses, those in one subnet with the
    other host's come before those that need a router; if there are any, the others are left out.

    Arguments:
        theirs: address and port of each listener of the other host, the best first.
        addresses: of this host.
        networks: this host's list.
    """
    allowed = [ip_network(subnet) for subnet in reach(addresses, networks)]
    ours = choose(addresses, networks)
    found = []
    for host, port in theirs:
        ip = _ip(host)
        if ip is None or not any(ip in place for place in allowed):
            continue
        same = [local for local in ours if local.address != host and _ip(local.address, like=ip) is not None]
        near = [local for local in same if ip in _on_link(local)]
        found += [Route(host, port, local) for local in near or same]
    return found


def subnet_of(local: Local) -> str | None:
    """Return the subnet of an address; None if no move can use it."""
    return str(_on_link(local)) if _ip(local.address) else None


def _ip(text: str, like: IPv4Address | IPv6Address | None = None) -> IPv4Address | IPv6Address | None:
    """Parse an address; None for a name, an unusable address, or another family than that of `like`."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if found.is_loopback or found.is_multicast or (found.version == 6 and found.is_link_local):
        return None
    return found if like is None or found.version == like.version else None


def _on_link(local: Local) -> _Subnet:
    return ip_network(f"{local.address}/{local.length}", strict=False)


def _meet(one: _Subnet, other: _Subnet) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)
