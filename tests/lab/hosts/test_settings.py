"""Settings on real hosts: what is disabled is refused, and moves take the listed networks and no others."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.lab.harness import Failed, Pair, begin, vmferry
from tests.lab.steps import SLOW_GUEST, SMALL, begin_slow, check_only_on, slow, told

from vmferry.core.errors import Exit
from vmferry.lab import layout, network
from vmferry.lab.host import LabHost
from vmferry.lab.shell import inside
from vmferry.lab.vms.vm import Guest

pytestmark = pytest.mark.lab

GUEST = Guest(busy=8, rate=1, disks=(SMALL,))
MANAGEMENT, MIGRATION = f"{layout.MANAGEMENT}.0/24", f"{layout.MIGRATION}.0/24"
CONTROL = 2 << 20  # bytes that two daemons may well exchange about a move; its disk alone is twenty times as much


def attempt(pair: Pair) -> dict[str, Any]:
    """Move the guest from the first host to the second; return the job."""
    moved = vmferry(pair.one, "vm", "move", GUEST.name, pair.two.name, "--include-storage")
    assert isinstance(moved, dict)
    return moved


def refused(pair: Pair) -> dict[str, Any]:
    """Assert that the move fails and the guest runs on; return the problem."""
    with pytest.raises(Failed) as raised:
        attempt(pair)
    check_only_on(pair, GUEST, pair.one)
    return raised.value.problem


def forbidden(pair: Pair) -> dict[str, Any]:
    """Assert that a check finds one thing in the way, and that the move is refused for it; return the problem."""
    words = ["vm", "check", GUEST.name, pair.two.name, "--include-storage"]
    checked = pair.one.run("vmferry", "--output", "json", *words, check=False)
    (finding,) = told(json.loads(checked.stdout))
    assert (finding["severity"], checked.returncode) == ("blocks", Exit.PREFLIGHT)
    problem = refused(pair)
    assert (problem["code"], problem["detail"]) == (finding["code"], finding["detail"])
    return problem


def only(host: LabHost, *networks: tuple[str, int]) -> None:
    """Hold a host to these networks, by a file."""
    listed = "".join(f'[[networks]]\nsubnet = "{subnet}"\npriority = {priority}\n' for subnet, priority in networks)
    host.run("vmferry", "host", "apply", "-", text=f"any_network = false\n{listed}")


def carried(host: LabHost, interface: str) -> int:
    """Return the bytes that an interface of a host has sent and received."""
    names = [f"/sys/class/net/{interface}/statistics/{direction}_bytes" for direction in ("rx", "tx")]
    return sum(int(text) for text in host.run("cat", *names).stdout.split())


@contextmanager
def dropped(host: LabHost, address: str) -> Iterator[None]:
    """Let a host answer nothing at the data ports of one of its addresses."""
    space = host.lab.namespace(host.name)
    inside(space, "nft", "add table ip dropped")
    inside(space, "nft", "add chain ip dropped in { type filter hook input priority 0 ; }")
    inside(space, "nft", f"add rule ip dropped in ip daddr {address} tcp dport 6610-6659 drop")
    try:
        yield
    finally:
        inside(space, "nft", "delete table ip dropped")


@contextmanager
def detour(pair: Pair) -> Iterator[None]:
    """Take the first host's migration interface down, and let its routes lead over the management network instead."""
    one, two = (pair.lab.layout.namespace(host.name) for host in pair.hosts)
    inside(one, "ip", "link", "set", "mig", "down")
    inside(one, "ip", "route", "add", MIGRATION, "via", layout.management("kvm2"))
    inside(two, "ip", "route", "add", f"{layout.migration('kvm1')}/32", "via", layout.management("kvm1"))
    try:
        yield
    finally:
        inside(two, "ip", "route", "delete", f"{layout.migration('kvm1')}/32")
        inside(one, "ip", "route", "delete", MIGRATION)
        inside(one, "ip", "link", "set", "mig", "up")


@pytest.mark.parametrize("which", ["source", "destination"])
def test_a_host_on_which_migration_is_disabled_is_named_and_enabling_counts_at_once(pair: Pair, which: str) -> None:
    pair.start(GUEST)
    host = pair.one if which == "source" else pair.two
    vmferry(host, "migration", "disable")
    problem = forbidden(pair)
    assert (problem["code"], problem["exit_code"]) == ("migration-disabled", Exit.PREFLIGHT)
    assert host.name in problem["detail"]
    assert "vmferry migration enable" in problem["remedy"]
    vmferry(host, "migration", "enable")
    assert attempt(pair)["state"] == "done"
    check_only_on(pair, GUEST, pair.two)


@pytest.mark.parametrize("word", ["wait", "cancel"])
def test_disabling_with_a_move_in_progress(pair: Pair, word: str) -> None:
    job = begin_slow(pair, SLOW_GUEST)
    with pytest.raises(Failed) as raised:
        vmferry(pair.two, "migration", "disable")
    assert raised.value.problem["code"] == "moves-in-progress"
    assert job in raised.value.problem["detail"]
    assert vmferry(pair.two, "host", "show")["settings"]["migration"] is True
    if word == "wait":
        disabling = subprocess.Popen(pair.two.command("vmferry", "migration", "disable", "--wait"))
        while vmferry(pair.two, "host", "show")["settings"]["migration"]:
            assert disabling.poll() is None
            time.sleep(0.05)  # its request is under way
        assert vmferry(pair.one, "job", "show", job)["state"] == "running"
        slow(pair, None)
        assert disabling.wait(60.0) == 0
    else:
        assert vmferry(pair.two, "migration", "disable", "--cancel")["jobs"] == [job]
    assert pair.wait_end(pair.one, job)["state"] == {"wait": "done", "cancel": "cancelled"}[word]
    assert vmferry(pair.two, "job", "show", job)["ended_at"]  # or the command would not have returned
    check_only_on(pair, SLOW_GUEST, pair.two if word == "wait" else pair.one)


def test_a_move_keeps_to_the_listed_network_and_says_which_way_it_took(pair: Pair) -> None:
    pair.start(GUEST)
    before = {link: carried(pair.one, link) for link in ("mgmt", "mig")}
    summary = attempt(pair)["summary"]
    assert carried(pair.one, "mig") - before["mig"] > SMALL.filled << 20
    assert carried(pair.one, "mgmt") - before["mgmt"] < CONTROL
    pairs = {line.partition(":")[0] for line in summary["connections"] if "->" in line}
    assert pairs == {f"{layout.migration('kvm1')} -> {layout.migration('kvm2')}"}
    assert summary["interface"] == "mig"
    assert summary["unanswered"] == []


def test_without_the_migration_network_a_move_fails_rather_than_take_another(pair: Pair) -> None:
    pair.start(GUEST)
    network.set_link(pair.lab.layout, "kvm2", "migration", up=False)
    before = carried(pair.one, "mgmt")
    problem = refused(pair)
    assert problem["code"] == "data-port-unreachable"
    assert layout.migration("kvm2") in problem["detail"]
    assert carried(pair.one, "mgmt") - before < CONTROL
    for host in pair.hosts:
        vmferry(host, "host", "set", "--any-network")
    summary = attempt(pair)["summary"]  # the other network would have carried it
    assert summary["interface"] == "mgmt"
    assert layout.migration("kvm2") in summary["unanswered"][0]


@pytest.mark.parametrize("free", ["nobody", "source", "destination"])
def test_a_route_that_leads_elsewhere_is_no_way(pair: Pair, free: str) -> None:
    pair.start(GUEST)
    if free != "nobody":
        # Each host alone keeps to its list, even when the other one does not.
        vmferry(pair.one if free == "source" else pair.two, "host", "set", "--any-network")
    before = carried(pair.one, "mgmt")
    with detour(pair):
        problem = refused(pair)
        assert problem["code"] == "data-port-unreachable"
        assert carried(pair.one, "mgmt") - before < CONTROL


def test_the_first_network_is_taken_and_the_next_when_it_does_not_answer(pair: Pair) -> None:
    pair.start(GUEST)
    for host in pair.hosts:
        only(host, (MANAGEMENT, 10), (MIGRATION, 20))
    with dropped(pair.two, layout.management("kvm2")):
        summary = attempt(pair)["summary"]
    assert summary["interface"] == "mig"
    assert len(summary["unanswered"]) == 1
    assert layout.management("kvm2") in summary["unanswered"][0]
    job = begin(pair.two, GUEST.name, "kvm1", "--include-storage")
    summary = pair.wait_end(pair.two, job, 120.0)["summary"]
    assert (summary["interface"], summary["unanswered"]) == ("mgmt", [])
    check_only_on(pair, GUEST, pair.one)


def test_hosts_without_a_common_network(pair: Pair) -> None:
    pair.start(GUEST)
    only(pair.one, (MANAGEMENT, 10))
    problem = forbidden(pair)
    assert problem["code"] == "migration-network-not-common"
    assert MANAGEMENT in problem["detail"]
    assert layout.migration("kvm2") in problem["detail"]
    assert all(job["ended_at"] for host in pair.hosts for job in vmferry(host, "job", "list"))
    only(pair.two, ("10.99.0.0/24", 10))
    problem = forbidden(pair)
    assert problem["code"] == "migration-network-missing"
    assert "kvm2" in problem["detail"]


def test_a_bare_address_of_each_host_is_enough(pair: Pair) -> None:
    pair.start(GUEST)
    for host in pair.hosts:
        only(host, (layout.migration(host.name), 10))
    assert attempt(pair)["summary"]["interface"] == "mig"


def test_encryption_is_a_setting_of_both_hosts(pair: Pair) -> None:
    pair.start(GUEST)
    for host in pair.hosts:
        vmferry(host, "host", "set", "--encryption", "required")
        with pytest.raises(Failed) as raised:
            vmferry(pair.one, "vm", "move", GUEST.name, "kvm2", "--include-storage", "--encryption", "off")
        assert raised.value.problem["code"] == "encryption-required"
        assert host.name in raised.value.problem["detail"]
        vmferry(host, "host", "set", "--encryption", "optional")
    check_only_on(pair, GUEST, pair.one)
