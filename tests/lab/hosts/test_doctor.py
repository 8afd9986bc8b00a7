"""`vmferry doctor` on real hosts, each fault made for real; and a pair of hosts where all is well.

A clock that is off cannot be made here: hosts of a lab share the machine's, and a time namespace leaves CLOCK_REALTIME
as it is. That check has its unit tests.
"""

import ctypes
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.lab.faults import restart_daemon, restart_libvirt, started_by_hand, stopped, without_supervisor, written
from tests.lab.harness import Pair, processes, vmferry, wait
from tests.lab.hosts.test_settings import dropped
from tests.lab.steps import told
from tests.preflight.make import dated, expired

from vmferry.core.errors import Exit
from vmferry.lab import layout
from vmferry.lab.host import LabHost
from vmferry.lab.shell import inside
from vmferry.lab.vms.vm import Guest, GuestDisk
from vmferry.transfer.measure import reachability

pytestmark = pytest.mark.lab

GUEST = Guest(busy=8, rate=1, disks=(GuestDisk(size=128, filled=8),))


def unsynchronised() -> list[str]:
    """Return the code that every host here has, where the machine's clock follows no time server (adjtimex(2))."""
    follows = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256)) != 5
    return [] if follows else ["clock-unsynchronised"]


def doctor(host: LabHost, *others: str) -> tuple[int, Any]:
    """Examine a host, or several; gives exit code and what is said."""
    done = host.run("vmferry", "--output", "json", "doctor", *others, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def found(report: dict[str, Any]) -> list[str]:
    """Return the codes of a report but the one about the machine's clock, and see that the sentences are whole."""
    assert all("{" not in finding["detail"] + finding["remedy"] for finding in report["findings"])
    return [finding["code"] for finding in report["findings"] if finding["code"] not in unsynchronised()]


def blocked(report: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in report["findings"] if finding["severity"] == "blocks"]


def ways(matrix: dict[str, Any]) -> dict[str, list[str]]:
    """Return what is found on each way between two hosts."""
    return {f"{pair['source']} {pair['destination']}": found(pair) for pair in matrix["pairs"]}


def checked(pair: Pair) -> list[str]:
    """Check a move of the guest to the second host; return the codes."""
    words = ["vm", "check", GUEST.name, "kvm2", "--include-storage"]
    done = pair.one.run("vmferry", "--output", "json", *words, check=False)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert (done.returncode == Exit.PREFLIGHT) == bool(blocked(report))
    return found(report | {"findings": told(report)})


@contextmanager
def black_hole(pair: Pair) -> Iterator[None]:
    """Let large frames to and from the second host vanish in the switch: its port there has a smaller MTU.

    Packets are cut by the sending host, as a network card would, not later: the machine's own bridge would take
    them whole.
    """
    switch, spaces = pair.lab.layout.switch, [pair.lab.layout.namespace(host.name) for host in pair.hosts]
    for space in spaces:
        inside(space, "ip", "link", "set", "mig", "gso_max_segs", "1")
    inside(switch, "ip", "link", "set", "mig-kvm2", "mtu", "1400")
    try:
        yield
    finally:
        inside(switch, "ip", "link", "set", "mig-kvm2", "mtu", "1500")
        for space in spaces:
            inside(space, "ip", "link", "set", "mig", "gso_max_segs", "65535")


def test_where_all_is_well_it_is_silent(pair: Pair) -> None:
    for host in pair.hosts:
        code, report = doctor(host)
        assert (code, found(report)) == (Exit.DONE, [])
        assert (report["name"], report["migration"], report["untold"]) == (host.name, True, [])
        assert [finding["code"] for finding in report["findings"]] == unsynchronised()
    for words in (["kvm2"], ["--all"]):
        code, matrix = doctor(pair.one, *words)
        assert (code, ways(matrix)) == (Exit.DONE, {"kvm1 kvm2": [], "kvm2 kvm1": []})
        assert [found(report) for report in matrix["hosts"]] == [[], []]
    shown = pair.one.run("vmferry", "doctor", "kvm2")
    assert shown.stdout.splitlines()[-2].split() == ["kvm1", "-", "ok"]
    assert shown.stdout.splitlines()[-1].split() == ["kvm2", "ok", "-"]
    assert shown.stderr.endswith("No problem prevents moves.\n")


@pytest.mark.quiet
def test_a_smaller_mtu_in_the_middle(pair: Pair) -> None:
    pair.start(GUEST)
    assert checked(pair) == []
    began = time.monotonic()
    assert checked(pair) == []
    usual = time.monotonic() - began
    with black_hole(pair):
        code, matrix = doctor(pair.one, "kvm2")
        assert code == Exit.PREFLIGHT
        assert ways(matrix) == {"kvm1 kvm2": ["mtu-black-hole"], "kvm2 kvm1": ["mtu-black-hole"]}
        (finding,) = matrix["pairs"][0]["findings"]
        assert (finding["fields"]["mtu"], finding["fields"]["address"]) == (1500, layout.migration("kvm2"))
        assert "-s 1472" in finding["remedy"]
        began = time.monotonic()
        assert checked(pair) == ["mtu-black-hole"]
        assert time.monotonic() - began - usual < 2 * reachability.LIMIT  # it waits once for what does not come
    assert checked(pair) == []


def test_data_ports_that_a_firewall_drops(pair: Pair) -> None:
    pair.start(GUEST)
    with dropped(pair.two, layout.migration("kvm2")):
        code, report = doctor(pair.two)
        assert (code, found(report)) == (Exit.PREFLIGHT, ["firewall-drops"])
        assert "6610-6659" in report["findings"][0]["detail"]
        code, matrix = doctor(pair.one, "kvm2")
        assert code == Exit.PREFLIGHT
        assert ways(matrix) == {"kvm1 kvm2": ["data-port-unreachable"], "kvm2 kvm1": []}
        assert checked(pair) == ["data-port-unreachable"]


def test_an_address_that_does_not_answer_beside_one_that_does(pair: Pair) -> None:
    for host in pair.hosts:
        vmferry(host, "network", "add", f"{layout.MANAGEMENT}.0/24")
    with dropped(pair.two, layout.management("kvm2")):
        code, matrix = doctor(pair.one, "kvm2")
        # The host's own report warns, too: one of its addresses is closed.
        assert (code, found(matrix["hosts"][1])) == (Exit.DONE, ["firewall-drops"])
        assert ways(matrix) == {"kvm1 kvm2": ["data-port-unreachable"], "kvm2 kvm1": []}
        (finding,) = matrix["pairs"][0]["findings"]
        assert finding["severity"] == "warns"
        assert layout.management("kvm2") in finding["detail"]


def test_a_daemon_that_is_stopped(pair: Pair) -> None:
    with stopped(pair.two):
        code, matrix = doctor(pair.one, "kvm2")
        assert code == Exit.PREFLIGHT
        assert ways(matrix) == {"kvm1 kvm2": ["host-unreachable"], "kvm2 kvm1": ["view-unknown"]}
        assert found(matrix["hosts"][1]) == ["host-unreachable"]
        code, report = doctor(pair.two)
        assert (code, found(report)) == (Exit.PREFLIGHT, ["daemon-unreachable"])
    assert doctor(pair.one, "kvm2")[0] == Exit.DONE


def test_a_certificate_that_has_expired_and_a_key_that_others_may_read(pair: Pair) -> None:
    state = pair.two.home / "vmferry"
    certificate, key = expired("kvm2")
    with written(state / "host.pem", certificate):
        code, report = doctor(pair.two)
        assert (code, found(report)) == (Exit.PREFLIGHT, ["certificate-unusable", "certificate-expired"])
        with written(state / "host.key", key):
            assert found(doctor(pair.two)[1]) == ["certificate-expired"]
    (state / "host.key").chmod(0o644)
    try:
        code, report = doctor(pair.two)
        assert (code, found(report)) == (Exit.DONE, ["state-folder-open"])
    finally:
        (state / "host.key").chmod(0o600)


@pytest.mark.parametrize(
    ("begins", "ends", "code"),
    [(-9, 20, "certificate-expires"), (1, 400, "certificate-not-yet-valid")],
)
def test_a_certificate_whose_time_is_short_or_yet_to_come(pair: Pair, begins: int, ends: int, code: str) -> None:
    state = pair.two.home / "vmferry"
    certificate, key = dated("kvm2", begins, ends)
    with written(state / "host.pem", certificate), written(state / "host.key", key):
        exit_code, report = doctor(pair.two)
        assert found(report) == [code]
        assert exit_code == (Exit.DONE if code == "certificate-expires" else Exit.PREFLIGHT)
    assert found(doctor(pair.two)[1]) == []


def test_a_supervisor_that_is_away(pair: Pair) -> None:
    with without_supervisor(pair.two):
        code, report = doctor(pair.two)
        assert (code, found(report)) == (Exit.PREFLIGHT, ["transfer-not-startable"])
    wait(lambda: found(doctor(pair.two)[1]) == [], 10.0, "the supervisor to answer")


def test_a_daemon_that_was_started_by_hand(pair: Pair) -> None:
    with started_by_hand(pair.two):
        code, report = doctor(pair.two)
        assert (code, found(report)) == (Exit.DONE, ["daemon-not-kept"])
    assert found(doctor(pair.two)[1]) == []


def test_a_socket_that_is_closed(pair: Pair) -> None:
    pair.two.run("chmod", "0600", "/run/vmferry/api.sock")
    try:
        code, report = doctor(pair.two)
        assert (code, found(report)) == (Exit.DONE, ["api-socket-closed"])
    finally:
        pair.two.run("chmod", "0666", "/run/vmferry/api.sock")
    assert found(doctor(pair.two)[1]) == []


def test_a_group_that_is_missing(pair: Pair) -> None:
    file = pair.two.home / "vmferry.toml"
    with written(file, file.read_text().replace('group = "libvirt"', 'group = "vmferry-gone"')):
        restart_daemon(pair.two)
        code, report = doctor(pair.two)
        assert (code, found(report)) == (Exit.DONE, ["group-missing"])
        assert "there is no group vmferry-gone" in (pair.two.home / "vmferry" / "log" / "vmferryd.log").read_text()
    restart_daemon(pair.two)
    assert found(doctor(pair.two)[1]) == []


def test_an_address_that_is_gone(pair: Pair) -> None:
    space, address = pair.lab.layout.namespace("kvm2"), f"{layout.management('kvm2')}/24"
    inside(space, "ip", "address", "delete", address, "dev", "mgmt")
    try:
        code, report = doctor(pair.two)
        assert (code, found(report)) == (Exit.PREFLIGHT, ["api-not-listening"])
    finally:
        inside(space, "ip", "address", "add", address, "dev", "mgmt")
    assert found(doctor(pair.two)[1]) == []


def test_a_small_mtu(pair: Pair) -> None:
    space = pair.lab.layout.namespace("kvm2")
    inside(space, "ip", "link", "set", "mig", "mtu", "1200")
    try:
        code, report = doctor(pair.two)
        assert (code, found(report)) == (Exit.DONE, ["mtu-small"])
    finally:
        inside(space, "ip", "link", "set", "mig", "mtu", "1500")
    assert found(doctor(pair.two)[1]) == []


# What happens to /run/small, a file system of 64 MiB, and how it is mended.
_FOLDER = {
    "disk-folder-missing": (
        "umount /run/small && rmdir /run/small",
        "mkdir /run/small && mount -t tmpfs -o size=64m,mode=0755 none /run/small",
    ),
    "disk-folder-unwritable": ("mount -o remount,ro /run/small", "mount -o remount,rw /run/small"),
    "disk-folder-unreachable": ("chmod 0700 /run/small", "chmod 0755 /run/small"),
    "disk-folder-full": ("fallocate -l 63M /run/small/fill", "rm /run/small/fill"),
}


@pytest.mark.parametrize("code", _FOLDER)
def test_a_folder_for_disks(pair: Pair, code: str) -> None:
    fault, mend = _FOLDER[code]
    pair.two.run("sh", "-c", fault)
    try:
        exit_code, report = doctor(pair.two)
        assert (exit_code, found(report)) == (Exit.DONE, [code])  # others are left
    finally:
        pair.two.run("sh", "-c", mend)
    assert found(doctor(pair.two)[1]) == []


def test_the_interface_of_a_listed_network_is_down(pair: Pair) -> None:
    space = pair.lab.layout.namespace("kvm2")
    inside(space, "ip", "link", "set", "mig", "down")
    try:
        code, report = doctor(pair.two)
        assert (code, found(report)) == (Exit.PREFLIGHT, ["interface-down"])
        assert ways(doctor(pair.one, "kvm2")[1])["kvm1 kvm2"] == ["data-port-unreachable"]
    finally:
        inside(space, "ip", "link", "set", "mig", "up")


def test_two_hosts_with_one_uuid(pair: Pair) -> None:
    mine, theirs = (host.home / "libvirt-etc" / "libvirtd.conf" for host in pair.hosts)
    try:
        with written(theirs, mine.read_text()):
            restart_libvirt(pair.two)
            code, matrix = doctor(pair.one, "kvm2")
            assert code == Exit.PREFLIGHT
            assert ways(matrix) == {"kvm1 kvm2": ["same-host-uuid"], "kvm2 kvm1": ["same-host-uuid"]}
    finally:
        restart_libvirt(pair.two)
    assert ways(doctor(pair.one, "kvm2")[1])["kvm1 kvm2"] == []


def test_what_the_settings_forbid(pair: Pair) -> None:
    vmferry(pair.two, "migration", "disable")
    vmferry(pair.two, "network", "add", "10.99.0.0/24")
    vmferry(pair.two, "host", "set", "--encryption", "required")
    code, matrix = doctor(pair.one, "kvm2")
    assert code == Exit.PREFLIGHT
    assert ways(matrix)["kvm1 kvm2"] == ["migration-disabled", "encryption-differs"]
    assert found(matrix["hosts"][1]) == ["migration-disabled", "network-without-address"]
    assert matrix["hosts"][1]["migration"] is False


def test_libvirt_is_away(pair: Pair) -> None:
    (libvirtd,) = processes(pair.two, "libvirtd --pid-file")
    with written(pair.two.home / "libvirt-etc" / "libvirtd.conf", "nonsense = {\n"):
        os.kill(libvirtd, signal.SIGKILL)
        wait(lambda: libvirtd not in processes(pair.two, "libvirtd"), 10.0, "libvirtd to be gone")
        code, report = doctor(pair.two)
        assert (code, found(report)) == (Exit.PREFLIGHT, ["libvirt-unreachable"])
    wait(lambda: pair.two.run("virsh", "-q", "uri", check=False).returncode == 0, 30.0, "libvirtd to be back")
