"""Whether the host's own firewall (nftables) drops connections of other hosts, as far as its rules can be evaluated.

A rule that tests an unknown property of a packet (its source, a set, a rate) may match or not: a port counts as closed
only if every path through the rules ends in a drop. The tables of iptables are not examined.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.core.policy.networks import Local, choose
from vmferry.preflight.case import Check
from vmferry.preflight.doctor.health import Health

_Rule = Mapping[str, Any]
_ON = "goes on"  # no rule of the chain has decided
_DEPTH = 16  # of jumps, as the kernel has it (NFT_JUMP_STACK_SIZE)
_FAMILIES = {4: ("ip", "inet"), 6: ("ip6", "inet")}
_NO_VERDICT = ("counter", "log", "limit", "comment", "mangle", "notrack", "ct helper")


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection from another host."""

    address: str
    interface: str
    port: int

    @property
    def version(self) -> int:
        """The IP version, 4 or 6."""
        return ip_address(self.address).version


class Rules:
    """The rules of a host, as `nft --json list ruleset` prints them (libnftables-json(5))."""

    def __init__(self, ruleset: Sequence[Mapping[str, Any]]) -> None:
        self._bases: list[Mapping[str, Any]] = []
        self._rules: dict[tuple[str, str, str], list[_Rule]] = {}
        for entry in ruleset:
            if "chain" in entry and entry["chain"].get("hook") == "input":
                self._bases.append(entry["chain"])
            if "rule" in entry:
                rule = entry["rule"]
                self._rules.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule)

    def drop(self, packet: Packet) -> bool:
        """Return whether a packet is dropped, whatever its unknown properties are."""
        for base in self._bases:
            chain = (base["family"], base["table"], base["name"])
            if base["family"] in _FAMILIES[packet.version]:
                ends = self._follow(chain, packet, 0)
                if _ON in ends:
                    ends = ends - {_ON} | {str(base.get("policy", "accept"))}
                if ends == {"drop"}:
                    return True
        return False

    def _follow(self, chain: tuple[str, str, str], packet: Packet, depth: int) -> set[str]:
        """Return how a chain may end for a packet: accept, drop, or continue."""
        ends: set[str] = set()
        if depth > _DEPTH:
            return {_ON}
        for rule in self._rules.get(chain, []):
            matched = _matches(rule["expr"], packet)
            if matched is False:
                continue
            ended = self._verdict(rule["expr"], chain, packet, depth)
            if ended == {_ON}:
                continue
            ends |= ended - {_ON}
            if matched and _ON not in ended:
                return ends or {_ON}
        return ends | {_ON}

    def _verdict(
        self, expressions: Sequence[Mapping[str, Any]], chain: tuple[str, str, str], packet: Packet, depth: int
    ) -> set[str]:
        for expression in expressions:
            if "accept" in expression:
                return {"accept"}
            if "drop" in expression or "reject" in expression:
                return {"drop"}
            if "jump" in expression:
                return self._follow((chain[0], chain[1], expression["jump"]["target"]), packet, depth + 1)
            if "goto" in expression or "return" in expression or "vmap" in expression or "queue" in expression:
                return {_ON, "accept"}  # not followed: it may end either way
        return {_ON}


def _matches(expressions: Sequence[Mapping[str, Any]], packet: Packet) -> bool | None:
    """Return whether a rule matches a packet; None if that depends on unknown properties."""
    known: bool | None = True
    for expression in expressions:
        if "match" in expression:
            one = _match(expression["match"], packet)
            if one is False:
                return False
            known = known and one
        elif "limit" in expression or "xt" in expression:
            known = None
    return known


def _match(match: Mapping[str, Any], packet: Packet) -> bool | None:
    value = _value(match["left"], packet)
    if value is None:
        return None
    found = _among(value, match["right"])
    return found if match["op"] in ("==", "in") or found is None else not found if match["op"] == "!=" else None


def _value(left: Any, packet: Packet) -> str | int | None:
    """Return the value of the packet's property that a rule tests; None if unknown."""
    match left:
        case {"payload": {"protocol": "tcp" | "th", "field": "dport"}}:
            return packet.port
        case {"payload": {"protocol": "udp" | "icmp" | "icmpv6" | "sctp"}}:
            return -1  # it is none
        case {"payload": {"protocol": "ip" | "ip6", "field": "daddr"}}:
            return packet.address
        case {"payload": {"field": "protocol" | "nexthdr"}} | {"meta": {"key": "l4proto"}}:
            return "tcp"
        case {"meta": {"key": "nfproto"}}:
            return f"ipv{packet.version}"
        case {"meta": {"key": "iif" | "iifname"}}:
            return packet.interface or None
        case {"ct": {"key": "state"}}:
            return "new"
    return None


def _among(value: str | int, right: Any) -> bool | None:
    match right:
        case {"set": members}:
            found = [_among(value, member) for member in members]
            return True if True in found else None if None in found else False
        case {"range": [first, last]} if isinstance(value, int):
            return bool(first <= value <= last)
        case {"prefix": {"addr": address, "len": length}} if isinstance(value, str):
            return ip_address(value) in ip_network(f"{address}/{length}", strict=False)
        case list():
            return _among(value, {"set": right})
        case str() if right.startswith("@"):
            return None
        case str() if right.endswith("*"):
            return str(value).startswith(right[:-1])
        case str() | int():
            return str(value) == str(right)
    return None


def _firewall(health: Health) -> Iterator[Finding]:
    if health.firewall is None:
        return
    rules = Rules(health.firewall)
    first, last = health.data_ports
    served = [local for local in health.addresses if local.address in (*health.listen, health.address)]
    for local in served:
        if rules.drop(_packet(local, health.port)):
            yield _closed(health, local, [health.port], Finding.blocks)
    data = choose(health.addresses, health.settings.networks) or served
    shut = {local: [port for port in range(first, last + 1) if rules.drop(_packet(local, port))] for local in data}
    every = all(len(ports) > last - first for ports in shut.values())  # no address with a port that is open
    for local, ports in shut.items():
        if ports:
            yield _closed(health, local, ports, Finding.blocks if every else Finding.warns)


def _packet(local: Local, port: int) -> Packet:
    return Packet(local.address, local.interface, port)


def _closed(health: Health, local: Local, ports: list[int], judge: Any) -> Finding:
    shown = str(ports[0]) if len(ports) == 1 else f"{ports[0]}-{ports[-1]}"
    seen = (f"{local.address}: TCP {shown} dropped", "")
    finding = judge(codes.FIREWALL_DROPS, seen, host=health.name, address=local.address, ports=shown)
    assert isinstance(finding, Finding)
    return finding


FIREWALL = Check(
    _firewall,
    {codes.FIREWALL_DROPS: "An nftables rule or policy drops or rejects connections from other hosts."},
)
