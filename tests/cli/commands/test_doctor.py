"""`vmferry doctor`."""

import json

import click
import pytest
from tests.cli.conftest import Run
from tests.cli.fake import FakeClient

from vmferry.cli.commands.doctor import doctor
from vmferry.core import codes
from vmferry.core.errors import Exit, UnreachableError
from vmferry.core.messages.diagnosis import HostReport, PairReport
from vmferry.core.messages.finding import Finding

SHUT = Finding.blocks(codes.FIREWALL_DROPS, ("TCP 6601 dropped", ""), host="kvm2", address="10.0.0.2", ports="6601")
FREE = Finding.warns(codes.CLOCK_FREE, ("not synchronised", ""), host="kvm1")
AWAY = Finding.blocks(codes.HOST_UNREACHABLE, ("", "no"), host="kvm2", address="10.77.0.2", why="no route")


def test_a_host_that_is_well(vmferry: Run, daemon: FakeClient) -> None:
    code, out, err = vmferry("doctor")
    assert (code, err) == (0, "No problem prevents moves.\n")
    assert out.split() == [
        "host",
        "kvm1",
        "vmferry",
        "0.1.0",
        "libvirt",
        "9.0.0",
        "QEMU",
        "7.2.22",
        "migration",
        "enabled",
    ]


def test_findings_of_one_host(vmferry: Run, daemon: FakeClient) -> None:
    daemon.reports["kvm1"] = daemon.reports["kvm1"].model_copy(update={"findings": [FREE], "untold": ["firewall: x"]})
    code, out, err = vmferry("doctor")
    assert code == 0
    assert "not checked  firewall: x" in out
    assert "clock-unsynchronised  warns     not synchronised  Start chrony" in out
    daemon.reports["kvm1"] = daemon.reports["kvm1"].model_copy(update={"findings": [SHUT]})
    code, out, err = vmferry("doctor")
    assert (code, err) == (Exit.PREFLIGHT, "Problems prevent moves: kvm1.\n")


def test_a_matrix(vmferry: Run, daemon: FakeClient) -> None:
    daemon.pairs = [
        PairReport(source="kvm1", destination="kvm2", findings=[AWAY]),
        PairReport(source="kvm2", destination="kvm1", findings=[FREE]),
    ]
    code, out, err = vmferry("doctor", "kvm2")
    assert code == Exit.PREFLIGHT
    assert [line.split() for line in out.splitlines()] == [
        ["FROM", "\\", "TO", "KVM1", "KVM2"],
        ["kvm1", "-", "host-unreachable"],
        ["kvm2", "ok", "-"],
    ]
    lines = err.splitlines()
    assert lines[0] == "Examining this host, kvm2 and the routes between them."
    assert lines[1].startswith("kvm1 to kvm2: kvm2 does not answer at 10.77.0.2: no route. Check that it is up")
    assert lines[1].endswith("(host-unreachable)")
    assert lines[2].startswith("kvm2 to kvm1: The clock of kvm1")
    assert lines[3] == "Problems prevent moves: kvm1 to kvm2."
    daemon.pairs = daemon.pairs[1:]
    assert vmferry("doctor", "kvm2")[0] == 0


def test_all_paired_hosts(vmferry: Run, daemon: FakeClient) -> None:
    assert vmferry("doctor", "--all")[0] == 0
    assert ("diagnose", ["kvm2"]) in daemon.calls
    code, _, err = vmferry("doctor", "--all", "kvm2")
    assert (code, "--all" in err) == (Exit.USAGE, True)


def test_json(vmferry: Run, daemon: FakeClient) -> None:
    daemon.reports["kvm2"] = daemon.reports["kvm2"].model_copy(update={"findings": [SHUT]})
    _, out, _ = vmferry("doctor", "--output", "json")
    assert HostReport.model_validate(json.loads(out)) == daemon.reports["kvm1"]
    code, out, err = vmferry("doctor", "kvm2", "--output", "json")
    said = json.loads(out)
    assert (code, said["pairs"]) == (Exit.PREFLIGHT, [])
    assert [host["name"] for host in said["hosts"]] == ["kvm1", "kvm2"]
    assert said["hosts"][1]["findings"][0]["code"] == "firewall-drops"
    assert all(json.loads(line)["message"] for line in err.splitlines())


@pytest.mark.parametrize("words", [[], ["kvm2"], ["--all"]])
def test_a_daemon_that_is_away_is_what_is_found(vmferry: Run, daemon: FakeClient, words: list[str]) -> None:
    daemon.away = UnreachableError(codes.DAEMON_UNREACHABLE, address="/run/x", why="Connection refused")
    code, out, _ = vmferry("doctor", *words, "--output", "json")
    said = json.loads(out)
    assert (code, [finding["code"] for finding in said["findings"]]) == (Exit.PREFLIGHT, ["daemon-unreachable"])
    assert said["migration"] is None
    assert vmferry("doctor", *words)[0] == Exit.PREFLIGHT


def test_what_else_goes_wrong_is_an_error(vmferry: Run, daemon: FakeClient) -> None:
    daemon.away = UnreachableError(codes.LIBVIRT_UNREACHABLE, host="kvm1", why="x")
    assert vmferry("doctor")[0] == Exit.UNREACHABLE


def test_the_tab_key_knows_the_hosts(daemon: FakeClient) -> None:
    argument = next(param for param in doctor.params if isinstance(param, click.Argument))
    found = argument.shell_complete(click.Context(doctor), "k")
    assert [item.value for item in found] == ["kvm2"]
