"""Who may, on real hosts: tokens from another machine, a site's authority instead of pairing, and the audit log."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.authority import Authority
from tests.lab.harness import Failed, Pair, vmferry
from tests.lab.steps import SMALL, check_only_on, move

from vmferry.core.errors import Exit
from vmferry.lab import layout
from vmferry.lab.host import LabHost
from vmferry.lab.vms.vm import Guest

pytestmark = pytest.mark.lab

GUEST = Guest(busy=8, rate=1, disks=(SMALL,))


class Workstation:
    """The other host, as a machine that reaches a host with a token and in no other way."""

    def __init__(self, host: LabHost, file: Path) -> None:
        self._host = host
        self._file = file

    def vmferry(self, *arguments: str, text: str = "") -> Any:
        done = self._host.run(
            *("env", f"VMFERRY_TOKEN_FILE={self._file}", "vmferry", "--output", "json", *arguments),
            check=False,
            text=text,
            timeout=180.0,
        )
        if done.returncode:
            raise Failed(done.returncode, json.loads(done.stderr.splitlines()[-1])["problem"], done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None


def actions(host: LabHost, job: str) -> list[tuple[str, str, str]]:
    records = vmferry(host, "audit", "list", "--job", job)
    return [(record["action"], record["caller"], record["result"]) for record in records]


def test_a_token_moves_a_vm_from_another_machine_until_it_is_revoked(pair: Pair, tmp_path: Path) -> None:
    pair.start(GUEST)
    desk = Workstation(pair.two, tmp_path / "tokens.toml")
    made = vmferry(pair.one, "host", "token", "create", "--role", "operator", "--expires", "1h", "--name", "ann")
    login = ("host", "login", made["address"], "--fingerprint", made["fingerprint"], "--token-file", "-")
    assert desk.vmferry(*login, text=made["token"])["name"] == "kvm1"
    assert [vm["name"] for vm in desk.vmferry("--host", "kvm1", "vm", "list")] == [GUEST.name]
    with pytest.raises(Failed) as raised:
        desk.vmferry("--host", "kvm1", "migration", "disable")
    assert (raised.value.code, raised.value.problem["code"]) == (Exit.ACCESS, "not-allowed")
    job = desk.vmferry("--host", "kvm1", "vm", "move", GUEST.name, "kvm2", "--include-storage")
    assert (job["state"], job["caller"]["name"]) == ("done", "token ann")
    check_only_on(pair, GUEST, pair.two)
    told, asked = vmferry(pair.one, "audit", "list", "--job", job["id"])
    assert (told["action"], told["on_behalf_of"], told["peer_head"]["host"]) == ("exchange_heads", "token ann", "kvm2")
    assert (asked["action"], asked["caller"], asked["role"]) == ("move_vm", "token ann", "operator")
    assert asked["address"] == layout.management("kvm2")
    offered = vmferry(pair.two, "audit", "list", "--job", job["id"])[0]
    assert (offered["action"], offered["caller"], offered["on_behalf_of"]) == ("offer_vm", "kvm1", "token ann")
    vmferry(pair.one, "host", "token", "revoke", "ann")
    with pytest.raises(Failed) as raised:
        desk.vmferry("--host", "kvm1", "vm", "list")
    assert (raised.value.code, raised.value.problem["code"]) == (Exit.ACCESS, "api-token-revoked")
    for host in pair.hosts:
        assert made["token"] not in (host.home / "log" / "audit.log").read_text()


def test_both_hosts_have_their_part_of_a_move_on_record(pair: Pair) -> None:
    pair.start(GUEST)
    job = move(pair, GUEST, pair.one)
    assert actions(pair.one, job) == [("exchange_heads", "kvm2", "ok"), ("move_vm", "root", "ok")]
    assert actions(pair.two, job)[:2] == [("offer_vm", "kvm1", "ok"), ("admit_job", "kvm1", "ok")]
    with pytest.raises(Failed) as raised:
        move(pair, GUEST, pair.one)
    assert raised.value.code
    last = vmferry(pair.one, "audit", "list", "--since", "1h")[-1]
    assert (last["action"], last["result"]) == ("move_vm", "vm-unknown")
    assert last["about"]["name"] == GUEST.name


def broken(host: LabHost, *options: str) -> str:
    """Have the audit log of a host verified, which is not as it was written; return what is said."""
    with pytest.raises(Failed) as raised:
        vmferry(host, "audit", "verify", *options)
    assert (raised.value.code, raised.value.problem["code"]) == (Exit.ACCESS, "audit-log-broken")
    return str(raised.value.problem["detail"])


def test_a_log_that_was_tampered_with_is_found_and_one_cut_off_through_the_peer(pair: Pair) -> None:
    pair.start(GUEST)
    vmferry(pair.one, "migration", "enable")  # so that there is a record before the move
    move(pair, GUEST, pair.one)
    for host, other in ((pair.one, "kvm2"), (pair.two, "kvm1")):
        seen = vmferry(host, "audit", "verify", "--peers")
        assert seen["broken"] is None
        assert [(one["host"], one["missed"]) for one in seen["peers"]] == [(other, [])]
        assert seen["peers"][0]["heads"] >= 1
    path = pair.one.home / "log" / "audit.log"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    try:
        path.write_bytes(b"".join([*lines[:-2], lines[-2].replace(b"kvm2", b"kvm9"), lines[-1]]))
        assert "was changed (changed, line " in broken(pair.one)
        path.write_bytes(b"".join([*lines[:-2], lines[-1]]))
        assert "were removed (removed, line " in broken(pair.one)
        path.write_bytes(b"".join(lines[2:]))
        assert "were removed (removed, line 1 of audit.log)" in broken(pair.one)
        path.write_bytes(lines[0])
        assert vmferry(pair.one, "audit", "verify")["broken"] is None  # by itself it looks well
        assert "which kvm2 knows of, is missing (cut)" in broken(pair.one, "--peers")
    finally:
        path.write_bytes(whole)
    assert vmferry(pair.one, "audit", "verify", "--peers")["broken"] is None


def test_an_operator_moves_only_what_both_hosts_let_her(pair: Pair, tmp_path: Path) -> None:
    pair.start(GUEST)
    desk = Workstation(pair.two, tmp_path / "tokens.toml")
    made = vmferry(pair.one, "host", "token", "create", "--role", "operator", "--expires", "1h", "--name", "eve")
    login = ("host", "login", made["address"], "--fingerprint", made["fingerprint"], "--token-file", "-")
    desk.vmferry(*login, text=made["token"])

    def refused(vm: str, host: str) -> None:
        for command in ("check", "move"):
            with pytest.raises(Failed) as raised:
                desk.vmferry("--host", "kvm1", "vm", command, vm, "kvm2", "--include-storage")
            problem = raised.value.problem
            assert (raised.value.code, problem["code"]) == (Exit.ACCESS, "operator-restricted")
            assert f"administrator of {host} allow it" in problem["remedy"]
        last = vmferry({one.name: one for one in pair.hosts}[host], "audit", "list", "--since", "1h")[-1]
        assert last["result"] == "operator-restricted"

    mine = f"{GUEST.name[:-1]}*"
    try:
        vmferry(pair.one, "host", "restrict", "token eve", "--vm", mine, "--to", "kvm2")
        refused("db01", "kvm1")
        vmferry(pair.two, "host", "restrict", "token eve", "--vm", "db*", "--to", "kvm2")
        refused(GUEST.name, "kvm2")
        # what the refusal says, carried out:
        vmferry(pair.two, "host", "restrict", "token eve", "--vm", GUEST.name, "--to", "kvm2")
        job = desk.vmferry("--host", "kvm1", "vm", "move", GUEST.name, "kvm2", "--include-storage")
        assert job["state"] == "done"
    finally:
        for host in pair.hosts:
            vmferry(host, "host", "unrestrict", "token eve")
    check_only_on(pair, GUEST, pair.two)


@pytest.fixture
def unpaired(pair: Pair) -> Iterator[Pair]:
    """The two hosts, which do not know each other; paired again in the end."""
    vmferry(pair.one, "--yes", "host", "unpair", "kvm2")
    try:
        yield pair
    finally:
        for host in pair.hosts:
            vmferry(host, "--yes", "host", "trust", "remove")
        pair.pair()


def test_setting_a_host_up_with_options_from_nothing_to_a_move(unpaired: Pair) -> None:
    pair = unpaired
    pair.start(GUEST)
    for host in pair.hosts:
        vmferry(host, "migration", "disable")
        vmferry(host, "host", "set", "--any-network")
    token = vmferry(pair.two, "host", "pair", "--invite")["token"]
    options = ["--operator", "@libvirt", "--network", f"{layout.MIGRATION}.0/24", "--max-migrations", "3", "--enable"]
    with pytest.raises(Failed) as raised:
        vmferry(pair.one, "--yes", "host", "setup", "--network", "10.99.0.0/24")
    assert raised.value.problem["code"] == "network-not-here"
    for host, known in ((pair.one, ["--with", "kvm2", "--token-file", "-"]), (pair.two, ["--with", "kvm1"])):
        done = host.run("vmferry", "--yes", "--output", "json", "host", "setup", *options, *known, text=token)
        answer = json.loads(done.stdout)
        assert {one["name"] for one in answer["changes"]} >= {"migration", "any_network", "max_migrations", "operators"}
        assert [(one["host"], one["ok"]) for one in answer["hosts"]] == [(known[1], True)]
        again = vmferry(host, "--yes", "host", "setup", *options, *known[:2])
        assert again["changes"] == []
    move(pair, GUEST, pair.one)
    check_only_on(pair, GUEST, pair.two)
    vmferry(pair.one, "--yes", "host", "unpair", "kvm2")
    for host in pair.hosts:
        vmferry(host, "host", "set", "--operator", "", "--max-migrations", "2")


def join(host: LabHost, authority: Authority) -> None:
    """Do what an administrator does to make a host one of the site."""
    host.run("vmferry", "host", "trust", "set", "-", text=authority.pem)
    request = host.run("vmferry", "host", "certificate", "request").stdout
    host.run("vmferry", "host", "certificate", "install", "-", text=authority.sign(request))


def test_hosts_of_a_site_move_a_vm_there_and_back_without_pairing(unpaired: Pair) -> None:
    pair = unpaired
    pair.start(GUEST)
    with pytest.raises(Failed) as raised:
        vmferry(pair.one, "vm", "move", GUEST.name, "kvm2", "--include-storage")
    assert raised.value.problem["code"] == "host-unknown"
    authority = Authority()
    join(pair.one, authority)
    join(pair.two, Authority())
    with pytest.raises(Failed) as raised:
        vmferry(pair.one, "vm", "move", GUEST.name, "kvm2", "--include-storage")
    assert (raised.value.code, raised.value.problem["code"]) == (Exit.ACCESS, "site-certificate-issuer-wrong")
    join(pair.two, authority)
    foretold = vmferry(pair.one, "vm", "check", GUEST.name, "kvm2", "--include-storage", "--predict")
    assert foretold["prediction"]["verdict"] == "converges", foretold["findings"]
    move(pair, GUEST, pair.one)
    check_only_on(pair, GUEST, pair.two)
    job = move(pair, GUEST, pair.two)
    check_only_on(pair, GUEST, pair.one)
    assert actions(pair.one, job)[0] == ("offer_vm", "kvm2", "ok")
    assert [host["known_by"] for host in vmferry(pair.one, "host", "list")] == ["site"]
