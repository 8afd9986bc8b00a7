"""The checks of `vmferry doctor`: silent when all is well, and one fault for each code."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.preflight.make import THERE

from vmferry.core import codes
from vmferry.core.errors import Code, UnreachableError
from vmferry.core.messages.diagnosis import Facts
from vmferry.core.messages.finding import Finding, Severity
from vmferry.core.messages.probe import ProbedRoute
from vmferry.core.policy.networks import Local, Network
from vmferry.core.policy.settings import HostSettings, Protection
from vmferry.preflight.case import run
from vmferry.preflight.checks import OF_HEALTH, OF_MEETING, OF_PAIR, OF_REACH
from vmferry.preflight.doctor import firewall, pair, service
from vmferry.preflight.doctor.firewall import Packet, Rules
from vmferry.preflight.doctor.health import CertificateHealth, Folder, GuardedFile, Health, Meeting, NetworkLink
from vmferry.preflight.host.compatibility import Pair
from vmferry.preflight.host.reach import Reachability

NOW = datetime(2026, 3, 4, tzinfo=UTC)
GOOD = CertificateHealth("/var/lib/vmferry/host.pem", NOW - timedelta(days=400), NOW + timedelta(days=400))
MGMT, MIG = Local("10.91.0.1", 24, "mgmt"), Local("10.92.0.1", 24, "mig")
ONLY = HostSettings(migration=True, any_network=False, networks=[Network(subnet="10.92.0.0/24")])
KEY = GuardedFile("/var/lib/vmferry/host.key", 0o600)
IMAGES = Folder("/var/lib/libvirt/images", free=50, size=100)
WELL = Health(
    name="kvm1",
    settings=ONLY,
    now=NOW,
    listen=["10.91.0.1", "::"],
    address="10.91.0.1",
    port=6601,
    data_ports=(6610, 6659),
    addresses=[MGMT, MIG],
    links={"mgmt": NetworkLink(True, 1500), "mig": NetworkLink(True, 9000)},
    socket=GuardedFile("/run/vmferry/api.sock", 0o666),
    state=[GuardedFile("/var/lib/vmferry", 0o700), KEY],
    certificate=GOOD,
    folders=[IMAGES],
    qemu_user="libvirt-qemu",
    listeners=frozenset({("10.91.0.1", 6601)}),
    host=THERE,
    synchronised=True,
    firewall=[],
)
INPUT = {"family": "inet", "table": "filter", "name": "input", "type": "filter", "hook": "input", "prio": 0}


def ruleset(*rules: list[dict[str, Any]], policy: str = "accept", chain: str = "input") -> list[dict[str, Any]]:
    place = {"family": "inet", "table": "filter", "chain": chain}
    return [{"chain": INPUT | {"policy": policy}}, *({"rule": place | {"expr": rule}} for rule in rules)]


def match(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}
DADDR = {"payload": {"protocol": "ip", "field": "daddr"}}
SADDR = {"payload": {"protocol": "ip", "field": "saddr"}}
STATE = {"ct": {"key": "state"}}
IIF = {"meta": {"key": "iifname"}}
DROP: dict[str, Any] = {"drop": None}
ACCEPT: dict[str, Any] = {"accept": None}
SHUT = ruleset([match(DPORT, 6601), DROP])

FAULTS: list[tuple[str, Severity, dict[str, Any]]] = [
    ("transfer-not-startable", Severity.BLOCKS, {"workers": "systemd says of vmferry-transfer@.service: not-found"}),
    ("daemon-not-kept", Severity.WARNS, {"kept": "its unit is disabled"}),
    ("start-hook-missing", Severity.WARNS, {"unlocked": "its hook is gone", "hook": "/etc/libvirt/hooks/qemu.d/x"}),
    ("api-socket-closed", Severity.WARNS, {"socket": GuardedFile("/run/vmferry/api.sock", 0o600)}),
    ("group-missing", Severity.WARNS, {"group_missing": "vmferry"}),
    ("migration-disabled", Severity.BLOCKS, {"settings": ONLY.model_copy(update={"migration": False})}),
    ("state-folder-open", Severity.WARNS, {"state": [replace(KEY, mode=0o640)]}),
    ("state-folder-open", Severity.WARNS, {"state": [replace(KEY, owner=1000)]}),
    ("libvirt-unreachable", Severity.BLOCKS, {"host": None, "libvirt": "Failed to connect socket"}),
    ("libvirt-too-old", Severity.WARNS, {"host": THERE.model_copy(update={"libvirt": 8_000_000})}),
    ("qemu-too-old", Severity.WARNS, {"host": THERE.model_copy(update={"qemu": 6_002_000})}),
    ("emulated-guest-loses-writes", Severity.WARNS, {"at_risk": ["web01"]}),
    ("certificate-unusable", Severity.BLOCKS, {"certificate": replace(GOOD, trouble="they do not belong together")}),
    ("certificate-expired", Severity.BLOCKS, {"certificate": replace(GOOD, ends=NOW)}),
    ("certificate-expires", Severity.WARNS, {"certificate": replace(GOOD, ends=NOW + timedelta(days=30))}),
    ("certificate-not-yet-valid", Severity.BLOCKS, {"certificate": replace(GOOD, begins=NOW + timedelta(days=1))}),
    ("api-not-listening", Severity.BLOCKS, {"listeners": frozenset({("10.91.0.1", 22)})}),
    ("api-not-listening", Severity.BLOCKS, {"listen": ["10.91.0.9"], "listeners": frozenset({("10.91.0.9", 6601)})}),
    ("firewall-drops", Severity.BLOCKS, {"firewall": SHUT}),
    ("firewall-drops", Severity.BLOCKS, {"firewall": ruleset([match(DPORT, {"range": [6610, 6659]}), DROP])}),
    ("firewall-drops", Severity.WARNS, {"firewall": ruleset([match(DPORT, {"range": [6610, 6630]}), DROP])}),
    (
        "migration-network-missing",
        Severity.BLOCKS,
        {"settings": ONLY.model_copy(update={"networks": [Network(subnet="10.95.0.0/24")]})},
    ),
    (
        "network-without-address",
        Severity.WARNS,
        {"settings": ONLY.model_copy(update={"networks": [*ONLY.networks, Network(subnet="10.95.0.0/24")]})},
    ),
    ("interface-down", Severity.BLOCKS, {"links": {"mgmt": NetworkLink(True, 1500), "mig": NetworkLink(False, 1500)}}),
    (
        "interface-down",
        Severity.WARNS,
        {
            "links": {"mgmt": NetworkLink(True, 1500), "mig": NetworkLink(False, 1500)},
            "settings": ONLY.model_copy(update={"any_network": True}),
        },
    ),
    ("mtu-small", Severity.WARNS, {"links": {"mig": NetworkLink(True, 1000)}}),
    ("disk-folder-missing", Severity.BLOCKS, {"folders": [Folder("/srv", exists=False)]}),
    ("disk-folder-missing", Severity.WARNS, {"folders": [IMAGES, Folder("/srv", exists=False)]}),
    ("disk-folder-unwritable", Severity.WARNS, {"folders": [IMAGES, replace(IMAGES, writable=False)]}),
    ("disk-folder-unreachable", Severity.WARNS, {"folders": [replace(IMAGES, reachable=False)]}),
    ("disk-folder-full", Severity.WARNS, {"folders": [replace(IMAGES, free=4)]}),
    ("clock-unsynchronised", Severity.WARNS, {"synchronised": False}),
    (
        "apparmor-rules-missing",
        Severity.WARNS,
        {"host": THERE.model_copy(update={"confinement": ["apparmor"], "confinement_rules": False})},
    ),
    ("selinux-untried", Severity.WARNS, {"host": THERE.model_copy(update={"confinement": ["selinux"]})}),
]


def meeting(**changes: Any) -> Meeting:
    facts = Facts(host=THERE, encryption=Protection.REQUIRED, addresses=["10.92.0.2"], findings=[])
    known = Meeting(source="kvm1", destination="kvm2", settings=ONLY, mine=GOOD, certificate=GOOD, now=NOW, facts=facts)
    return replace(known, **changes)


def codes_of(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def test_where_all_is_well_nothing_is_found() -> None:
    assert run(OF_HEALTH, WELL) == []
    assert run(OF_MEETING, meeting()) == []
    other = THERE.model_copy(update={"uuid": "u-2", "hostname": "kvm2"})
    assert run(OF_PAIR, Pair("kvm1", THERE, "kvm2", other)) == []
    assert run(OF_REACH, Reachability("kvm1", "kvm2", [ProbedRoute(address="10.92.0.2", port=6610, mtu=1500)])) == []


@pytest.mark.parametrize(("code", "severity", "change"), FAULTS)
def test_a_fault_of_one_host(code: str, severity: Severity, change: dict[str, Any]) -> None:
    (found,) = run(OF_HEALTH, replace(WELL, **change))
    assert (found.code, found.severity) == (code, severity)
    assert found.source
    assert "kvm1" in found.detail
    assert "{" not in found.detail + found.remedy


def test_each_code_of_one_host_has_a_test() -> None:
    causes: set[Code] = {code for check in OF_HEALTH for code in check.causes}
    apart = {codes.DAEMON_UNREACHABLE.name}  # the command line's, below
    assert {code.name for code in causes} == {code for code, _, _ in FAULTS} | apart


def test_a_daemon_that_listens_everywhere_is_reached_where_others_know_it() -> None:
    everywhere = replace(WELL, listen=["0.0.0.0", "::"], listeners=frozenset({("0.0.0.0", 6601)}))
    assert run(OF_HEALTH, everywhere) == []
    (found,) = run(OF_HEALTH, replace(everywhere, firewall=SHUT))
    assert found.fields["address"] == "10.91.0.1"


def test_what_is_not_known_is_not_held_against_a_host() -> None:
    unknown = replace(WELL, firewall=None, synchronised=None, links={}, state=[replace(KEY, mode=None)])
    assert run(OF_HEALTH, replace(unknown, certificate=CertificateHealth("x"), listen=["kvm1.example.com"])) == []


def test_two_folders_that_cannot_be_used_block() -> None:
    folders = [replace(IMAGES, writable=False), Folder("/srv", exists=False)]
    found = run(OF_HEALTH, replace(WELL, folders=folders))
    assert [one.severity for one in found] == [Severity.BLOCKS] * 2


def test_a_daemon_that_does_not_answer() -> None:
    found = service.away(UnreachableError(codes.DAEMON_UNREACHABLE, address="/run/x", why="Connection refused"))
    assert (found.code, found.severity) == ("daemon-unreachable", Severity.BLOCKS)
    assert codes.DAEMON_UNREACHABLE in service.SERVICE.causes


def test_each_code_of_two_hosts_has_a_test() -> None:
    causes = {code.name for checks in (OF_MEETING, OF_REACH) for check in checks for code in check.causes}
    here = {"host-unreachable", "certificate-changed", "certificate-expired", "certificate-expires"}
    here |= {"encryption-differs", "data-port-unreachable", "mtu-black-hole"}
    elsewhere = {"certificate-not-yet-valid"}  # of one host, above
    agents = {"host-unknown", "view-unknown", "not-paired", "data-port-untried"}  # tests/agent/doctor/test_doctor.py
    assert causes == here | elsewhere | agents


# --- two hosts -------------------------------------------------------------------------------------------------------

AWAY = Finding.blocks(codes.HOST_UNREACHABLE, ("", "refused"), host="kvm2", address="x", why="refused")
WRONG = Finding.blocks(codes.CERTIFICATE_CHANGED, ("", "another"), host="kvm2")
OFF = Finding.blocks(codes.MIGRATION_DISABLED, ("", "disabled"), host="kvm2")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"trouble": AWAY, "facts": None}, ["host-unreachable"]),
        ({"trouble": WRONG, "facts": None}, ["certificate-changed"]),
        # What a certificate that is out of date looks like from the other side says less than its date.
        ({"trouble": WRONG, "facts": None, "certificate": replace(GOOD, ends=NOW)}, ["certificate-expired"]),
        ({"trouble": WRONG, "facts": None, "mine": replace(GOOD, ends=NOW)}, ["certificate-expired"]),
        ({"certificate": replace(GOOD, ends=NOW + timedelta(days=1))}, ["certificate-expires"]),
        ({"settings": ONLY.model_copy(update={"encryption": Protection.OPTIONAL})}, ["encryption-differs"]),
    ],
)
def test_a_fault_between_two_hosts(change: dict[str, Any], expected: list[str]) -> None:
    assert codes_of(run(OF_MEETING, meeting(**change))) == expected


def test_whose_certificate_it_is_is_named() -> None:
    (mine,) = run(OF_MEETING, meeting(mine=replace(GOOD, ends=NOW)))
    (theirs,) = run(OF_MEETING, meeting(certificate=replace(GOOD, ends=NOW)))
    assert ("kvm1" in mine.detail, bool(mine.source)) == (True, True)
    assert ("kvm2" in theirs.detail, bool(theirs.destination)) == (True, True)


def test_what_the_other_host_finds_of_itself_is_passed_on() -> None:
    facts = Facts(host=THERE, encryption=Protection.REQUIRED, addresses=[], findings=[OFF])
    assert run((pair.SETTINGS,), meeting(facts=facts)) == [OFF]


def way(address: str, error: str | None = None, *stalled: Any) -> ProbedRoute:
    return ProbedRoute(address=address, port=6610, local="10.92.0.1", error=error, stalled=list(stalled), mtu=9000)


@pytest.mark.parametrize(
    ("ways", "expected"),
    [
        ([way("a", "refused")], ["blocks data-port-unreachable"]),
        ([way("a", "refused"), way("b", "refused")], ["blocks data-port-unreachable"] * 2),
        ([way("a", "refused"), way("b")], ["warns data-port-unreachable"]),
        ([way("a"), way("b", "refused")], ["warns data-port-unreachable"]),
        ([way("a", None, "source")], ["blocks mtu-black-hole"]),
        ([way("a", None, "source"), way("b")], ["blocks mtu-black-hole"]),  # a move takes the first that answers
        ([way("a"), way("b", None, "source")], ["warns mtu-black-hole"]),
        (
            [way("a", "refused"), way("b", None, "destination")],
            ["blocks mtu-black-hole", "warns data-port-unreachable"],
        ),
    ],
)
def test_the_first_way_that_answers_decides(ways: list[ProbedRoute], expected: list[str]) -> None:
    found = run(OF_REACH, Reachability("kvm1", "kvm2", ways))
    assert [f"{one.severity.value} {one.code}" for one in found] == expected


def test_a_black_hole_names_the_sender_and_the_size_to_try() -> None:
    (found,) = run(OF_REACH, Reachability("kvm1", "kvm2", [way("10.92.0.2", None, "source", "destination")]))
    assert "from kvm1 and kvm2" in found.detail
    assert "ping -M do -s 8972 10.92.0.2" in found.remedy


# --- nftables --------------------------------------------------------------------------------------------------------

SSH_ONLY = ruleset(
    [match(STATE, ["established", "related"], "in"), ACCEPT],
    [match(IIF, "lo"), ACCEPT],
    [match({"meta": {"key": "l4proto"}}, "icmp"), ACCEPT],
    [match(DPORT, 22), {"counter": {"packets": 1, "bytes": 2}}, ACCEPT],
    policy="drop",
)
OPEN = [match(DPORT, {"set": [22, {"range": [6601, 6659]}]}), ACCEPT]


@pytest.mark.parametrize(
    ("rules", "drops"),
    [
        ([], False),
        (ruleset(), False),
        (ruleset(policy="drop"), True),
        (SSH_ONLY, True),
        ([*SSH_ONLY, *ruleset(OPEN)[1:]], False),
        (SHUT, True),
        (ruleset([match(DPORT, 6601), {"reject": {"type": "tcp reset"}}]), True),
        (ruleset([match(DPORT, 6601, "!="), DROP]), False),
        (ruleset([match(DPORT, 22, "!="), DROP]), True),
        (ruleset([match(DADDR, "10.92.0.1"), DROP]), True),
        (ruleset([match(DADDR, {"prefix": {"addr": "10.92.0.0", "len": 16}}), DROP]), True),
        (ruleset([match(DADDR, "10.92.0.9"), DROP]), False),
        (ruleset([match(IIF, "mi*"), DROP]), True),
        (ruleset([match(IIF, "eth0"), DROP]), False),
        # Whether these are for a packet of a paired host is not known.
        (ruleset([match(SADDR, "10.92.0.2"), ACCEPT], policy="drop"), False),
        (ruleset([match(SADDR, "10.92.0.2"), DROP]), False),
        (ruleset([match(DPORT, "@open"), ACCEPT], policy="drop"), False),
        (ruleset([{"xt": {"type": "match", "name": "tcp"}}, ACCEPT], policy="drop"), False),
        (ruleset([{"limit": {"rate": 1}}, ACCEPT], policy="drop"), False),
        (ruleset([{"log": None}, DROP]), True),
        # Chains that others jump to.
        ([*ruleset([{"jump": {"target": "in"}}]), *ruleset([match(DPORT, 6601), DROP], chain="in")[1:]], True),
        ([*ruleset([{"jump": {"target": "in"}}]), *ruleset([match(DPORT, 22), DROP], chain="in")[1:]], False),
        ([*ruleset([{"jump": {"target": "in"}}], [DROP]), *ruleset([ACCEPT], chain="in")[1:]], False),
        ([*ruleset([{"jump": {"target": "in"}}], [DROP]), *ruleset([{"counter": {}}], chain="in")[1:]], True),
        ([*ruleset([{"jump": {"target": "input"}}], policy="drop")], True),  # round and round
        ([{"chain": INPUT | {"hook": "output", "policy": "drop"}}], False),
        ([{"chain": INPUT | {"family": "ip6", "policy": "drop"}}], False),
    ],
)
def test_rules_of_nftables(rules: list[dict[str, Any]], drops: bool) -> None:
    assert Rules(rules).drop(Packet("10.92.0.1", "mig", 6601)) is drops


def test_a_drop_in_any_base_chain_is_one() -> None:
    later = {"chain": INPUT | {"name": "late", "prio": 10, "policy": "drop"}}
    assert Rules([*ruleset([ACCEPT]), later]).drop(Packet("10.92.0.1", "mig", 6601))


def test_ports_that_are_closed_at_every_address_block_and_are_named() -> None:
    shut = ruleset([match(DADDR, "10.92.0.1"), match(DPORT, {"range": [6610, 6659]}), DROP])
    (found,) = run((firewall.FIREWALL,), replace(WELL, firewall=shut))
    assert (found.severity, found.fields["ports"]) == (Severity.BLOCKS, "6610-6659")
    both = ONLY.model_copy(update={"networks": [*ONLY.networks, Network(subnet="10.91.0.0/24")]})
    (found,) = run((firewall.FIREWALL,), replace(WELL, firewall=shut, settings=both))
    assert (found.severity, found.fields["address"]) == (Severity.WARNS, "10.92.0.1")
