"""`vmferry vm`."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run
from tests.cli.fake import DONE, JOB, WHEN, FakeClient, failed

from vmferry.core import codes
from vmferry.core.errors import CancelledError, PreflightError, UsageError, VmferryError
from vmferry.core.job import Phase, State
from vmferry.core.messages.api import PhaseEvent, StateEvent
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import MoveOptions
from vmferry.core.options import Encryption
from vmferry.core.prediction import Measured, Wish, predict


def test_list_is_a_table_for_people(vmferry: Run) -> None:
    code, out, err = vmferry("vm", "list")
    assert code == 0
    assert err == ""
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "STATE", "MEMORY", "CPUS", "AUTOSTART", "UUID"],
        ["web01", "running", "1", "GiB", "2", "yes", "u-1"],
        ["db[1]", "shut", "off", "2", "GiB", "4", "no", "u-2"],
    ]


def test_list_is_json_for_programs(vmferry: Run, daemon: FakeClient) -> None:
    expected = [vm.model_dump(mode="json") for vm in daemon.vms()]
    for arguments in (("--output", "json", "vm", "list"), ("vm", "list", "--output=json")):
        code, out, err = vmferry(*arguments)
        assert (code, json.loads(out), err) == (0, expected, "")


def test_show_names_the_disks(vmferry: Run) -> None:
    code, out, _ = vmferry("vm", "show", "web01")
    assert code == 0
    assert "vda: /srv/web01.qcow2 (qcow2, 2 GiB, 500 MiB used)" in out
    assert json.loads(vmferry("vm", "show", "web01", "--output", "json")[1])["machine"] == "pc-q35-7.2"


def test_unknown_vm_is_named_with_the_way_out(vmferry: Run) -> None:
    code, out, err = vmferry("vm", "show", "web09")
    assert (code, out) == (2, "")
    assert err == "Error: There is no VM web09 on kvm1.\nList the VMs: `vmferry vm list --host kvm1`. (vm-unknown)\n"


def test_move_is_watched_to_its_end(vmferry: Run, daemon: FakeClient) -> None:
    code, out, err = vmferry("vm", "move", "web01", "kvm2", "--include-storage")
    assert code == 0
    assert daemon.calls[0] == ("move", "web01", "kvm2", MoveOptions(include_storage=True))
    assert err.splitlines() == [
        "web01 to kvm2: connecting",
        "web01 to kvm2: copying",
        "web01 to kvm2: copying 50.0 %: 1.5 GiB of 3 GiB, 300 MiB/s, 5.0 s of about 10.0 s, "
        "1.5 GiB remaining, dirty 12 MiB/s",
        "web01 to kvm2: committing",
    ]
    assert [line.rstrip() for line in out.splitlines()] == [
        "web01 runs on kvm2.",
        "total time   12.3 s",
        "pause        247 ms",
        "on the wire  3 GiB",
        "transferred  memory 1 GiB, disks 2 GiB",
        "connections  10.77.1.1 -> 10.77.1.2:6610 (TLS)",
        "             10.77.1.2 -> 10.77.1.1:6611 (TLS)",
    ]


def test_move_for_programs(vmferry: Run) -> None:
    code, out, err = vmferry("vm", "move", "web01", "kvm2", "--output", "json")
    assert code == 0
    assert json.loads(out) == DONE.model_dump(mode="json")
    lines = [json.loads(line) for line in err.splitlines()]
    assert [next(iter(line)) for line in lines] == ["phase", "phase", "progress", "phase"]
    assert lines[2]["progress"]["percent"] == 50


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (
            ["--storage-path", "/srv/vms", "--include-storage"],
            {"include_storage": True, "storage_path": "/srv/vms"},
        ),
        (["--disk", "vda=/a=b.raw", "--disk", "vdb=/c"], {"disk_paths": {"vda": "/a=b.raw", "vdb": "/c"}}),
        (["--performance", "tcp"], {}),
        (["--encryption", "off"], {"encryption": Encryption.OFF}),
        (["--encryption", "required"], {}),
        (["--bandwidth", "100M"], {"bandwidth": 100 << 20}),
        (["--bandwidth", "800Mbit"], {"bandwidth": 100_000_000}),
        (["--max-downtime", "300ms"], {"max_downtime": 0.3}),
        (["--deadline", "10m"], {"deadline": 600.0}),
        (["--auto-converge"], {"auto_converge": True}),
        (["--keep-source-disks"], {"keep_source_disks": True}),
    ],
)
def test_options_reach_the_daemon(
    vmferry: Run, daemon: FakeClient, arguments: list[str], expected: dict[str, Any]
) -> None:
    assert vmferry("vm", "move", "web01", "kvm2", "--detach", *arguments)[0] == 0
    assert daemon.calls[0] == ("move", "web01", "kvm2", MoveOptions(**expected))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--disk", "vda"],
        ["--disk", "vda=relative"],
        ["--disk", "=/srv/a"],
        ["--bandwidth", "100"],
        ["--bandwidth", "fast"],
        ["--max-downtime", "0ms"],
        ["--deadline", "300ms"],
        ["--max-downtime", "-1s"],
        ["--encryption", "maybe"],
        ["--performance", "warp"],
        ["--post-copy"],
    ],
)
def test_bad_options_change_nothing(vmferry: Run, daemon: FakeClient, arguments: list[str]) -> None:
    code, out, err = vmferry("vm", "move", "web01", "kvm2", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert err.endswith("See `vmferry vm move --help`. (command-line)\n")
    assert daemon.calls == []


@pytest.mark.parametrize("name", ["compression", "smb"])
def test_performance_options_to_come_are_refused_by_name(vmferry: Run, daemon: FakeClient, name: str) -> None:
    code, _, err = vmferry("vm", "move", "web01", "kvm2", "--performance", name)
    assert code == 2
    assert err == f"Error: --performance {name} is not implemented yet.\nUse --performance tcp. (not-built)\n"
    assert daemon.calls == []


def test_detach_prints_the_job_alone(vmferry: Run) -> None:
    code, out, err = vmferry("vm", "move", "web01", "kvm2", "--detach")
    assert (code, out) == (0, "7f3a9c\n")
    assert "`vmferry job watch 7f3a9c`" in err
    code, out, err = vmferry("vm", "move", "web01", "kvm2", "--detach", "--output", "json")
    assert json.loads(out) == JOB.model_dump(mode="json")
    assert "vmferry job cancel 7f3a9c" in json.loads(err)["message"]


def test_ctrl_c_detaches_and_says_how_to_come_back(vmferry: Run, daemon: FakeClient) -> None:
    daemon.story[3:] = [KeyboardInterrupt]
    code, out, err = vmferry("vm", "move", "web01", "kvm2")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == (
        "Job 7f3a9c continues in the background. Watch it with `vmferry job watch 7f3a9c`, "
        "cancel it with `vmferry job cancel 7f3a9c`."
    )
    assert not [call for call in daemon.calls if call[0] == "cancel"]


def test_ctrl_c_before_there_is_a_job_says_where_to_look(
    vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(daemon, "move", interrupt)
    code, _, err = vmferry("vm", "move", "web01", "kvm2")
    assert code == 130
    assert "`vmferry job list`" in err


def test_move_that_fails_says_why(vmferry: Run, daemon: FakeClient) -> None:
    error = VmferryError(
        codes.MOVE_FAILED, vm="web01", phase="copying", why="no space", host="kvm1", advice="free some space"
    )
    daemon.story[3:] = [failed(error)]
    code, out, err = vmferry("vm", "move", "web01", "kvm2")
    assert (code, out) == (1, "")
    assert err.endswith(
        "Error: The move of web01 failed in phase copying: no space.\n"
        "web01 stays on kvm1; free some space. (move-failed)\n"
    )
    code, out, err = vmferry("vm", "move", "web01", "kvm2", "--output", "json")
    assert code == 1
    assert json.loads(out)["state"] == "failed"
    assert json.loads(err.splitlines()[-1])["problem"] == error.problem()


def test_cancelled_move_has_its_own_exit_code(vmferry: Run, daemon: FakeClient) -> None:
    error = CancelledError(codes.CANCELLED, job="7f3a9c", caller="ann", vm="web01", host="kvm1")
    daemon.story[3:] = [failed(error, State.CANCELLED)]
    code, _, err = vmferry("vm", "move", "web01", "kvm2")
    assert code == 6
    assert "was cancelled by ann" in err


def test_refused_move_shows_the_blocker(vmferry: Run, daemon: FakeClient) -> None:
    daemon.trouble = [PreflightError(codes.NAME_TAKEN, host="kvm2", vm="web01")]
    code, out, err = vmferry("vm", "move", "web01", "kvm2")
    assert (code, out) == (3, "")
    assert "(name-taken)" in err


def test_doubt_is_told(vmferry: Run, daemon: FakeClient) -> None:
    daemon.story[3:3] = [StateEvent(state=State.IN_DOUBT, reason="kvm2 does not answer")]
    assert "web01 to kvm2: in-doubt: kvm2 does not answer" in vmferry("vm", "move", "web01", "kvm2")[2]


def test_phase_is_told_once(vmferry: Run, daemon: FakeClient) -> None:
    daemon.story[0:0] = [PhaseEvent(seq=9, at=WHEN, phase=Phase.CONNECTING)]
    assert vmferry("vm", "move", "web01", "kvm2")[2].count("connecting") == 1


MISSING = Finding.blocks(
    codes.NETWORK_MISSING, ("bridge br0", "br1"), host="kvm2", network="br0", here="br0", vm="web01", known="br1"
)
NAMED_ALIKE = Finding.warns(codes.SAME_HOSTNAME, ("kvm", "kvm"), source="kvm1", host="kvm2", hostname="kvm")


def test_check_that_finds_nothing(vmferry: Run, daemon: FakeClient) -> None:
    code, out, err = vmferry("vm", "check", "web01", "kvm2", "--include-storage", "--map-network", "br0=br1")
    assert (code, out) == (0, "")
    hint = "--predict measures how long the move would take and whether it would converge.\n"
    assert err == f"web01 can move from kvm1 to kvm2.\n{hint}"
    options = MoveOptions(include_storage=True, map_networks={"br0": "br1"})
    assert daemon.calls[0] == ("check", "web01", "kvm2", options)


def test_check_that_finds_a_blocker(vmferry: Run, daemon: FakeClient) -> None:
    daemon.findings = [MISSING, NAMED_ALIKE]
    code, out, err = vmferry("vm", "check", "web01", "kvm2")
    assert code == 3
    lines = out.splitlines()
    assert lines[0].split("  ")[0] == "CODE"
    assert "ON KVM1" in lines[0]
    for word in ("network-missing", "blocks", "bridge br0"):
        assert word in lines[1]
    assert "same-hostname" in lines[2]
    assert lines[3] == "network-missing: kvm2 has no network or bridge br0, which web01 needs."
    assert lines[4].startswith("  Remedy: Create it there, or name another with --map-network br0=NAME")
    assert "cannot move" in err


def test_check_that_only_warns(vmferry: Run, daemon: FakeClient) -> None:
    daemon.findings = [NAMED_ALIKE]
    code, out, err = vmferry("vm", "check", "web01", "kvm2")
    assert code == 0
    assert "warns" in out
    assert "can move" in err


def test_check_for_programs(vmferry: Run, daemon: FakeClient) -> None:
    daemon.findings = [MISSING]
    code, out, err = vmferry("--output", "json", "vm", "check", "web01", "kvm2")
    assert (code, err) == (3, "")
    report = json.loads(out)
    assert (report["vm"], report["findings"][0]["code"]) == ("web01", "network-missing")
    assert report["findings"][0]["severity"] == "blocks"


MEASURED = Measured(memory=4 << 30, used=1 << 30, dirty_rate=10 << 20, busy=0.5, bandwidth=100 << 20)


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (MEASURED, "Prediction: converges: about 1"),
        (
            MEASURED.model_copy(update={"dirty_rate": 200.0 * (1 << 20)}),
            "Prediction: converges with auto-converge: about",
        ),
        (
            MEASURED.model_copy(update={"bandwidth": 1 << 16}),
            "Prediction: will not converge: the guest changes 10 MiB of memory a second, and 0.0625 MiB can be sent",
        ),
    ],
)
def test_check_predicts(vmferry: Run, daemon: FakeClient, measured: Measured, words: str) -> None:
    daemon.prediction = predict(measured, Wish())
    code, _, err = vmferry("vm", "check", "web01", "kvm2", "--predict")
    assert code == 0
    assert daemon.calls[0] == ("check", "web01", "kvm2", MoveOptions(), "predict")
    assert err.startswith(words)
    _, out, _ = vmferry("--output", "json", "vm", "check", "web01", "kvm2", "--predict")
    assert json.loads(out)["prediction"] == daemon.prediction.model_dump(mode="json")


def test_move_tells_what_it_is_warned_of(vmferry: Run, daemon: FakeClient) -> None:
    daemon.findings = [NAMED_ALIKE]
    code, out, err = vmferry("vm", "move", "web01", "kvm2", "--detach")
    assert (code, out) == (0, f"{JOB.id}\n")
    assert "Warning: kvm1 and kvm2 have the same host name kvm" in err
    assert "(same-hostname)" in err


def test_a_dry_run_prints_the_xml_and_moves_nothing(vmferry: Run, daemon: FakeClient) -> None:
    code, out, _ = vmferry("vm", "move", "web01", "kvm2", "--dry-run")
    assert (code, out) == (0, "<domain type='kvm'/>\n")
    assert [call[0] for call in daemon.calls] == ["check", "close"]
    daemon.findings = [MISSING]
    code, out, err = vmferry("vm", "move", "web01", "kvm2", "--dry-run")
    assert (code, out) == (3, "")
    assert "(network-missing)" in err


def test_a_network_mapping_must_be_one(vmferry: Run) -> None:
    code, _, err = vmferry("vm", "check", "web01", "kvm2", "--map-network", "br0")
    assert code == 2
    assert "br0 is not A=B" in err


def test_a_password_is_asked_for_where_hosts_take_one(
    vmferry: Run, daemon: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.password = "Secret-1"
    code, _, err = vmferry("vm", "move", "web01", "kvm2", "--detach")
    assert code == 4
    assert "password-needed" in err
    assert "--password-file" in err
    file = tmp_path / "password"
    file.write_text("Secret-1\n")
    for words in (["move", "--detach"], ["check"], ["move", "--dry-run"]):
        assert vmferry("vm", words[0], "web01", "kvm2", *words[1:], "--password-file", str(file))[0] == 0
    file.write_text("wrong")
    assert "password-wrong" in vmferry("vm", "check", "web01", "kvm2", "--password-file", str(file))[2]
    monkeypatch.setattr(
        "vmferry.cli.commands.vm.read_secret", lambda prompt, *_: "Secret-1" if "ann@LAB.TEST" in prompt else ""
    )
    assert vmferry("vm", "check", "web01", "kvm2")[0] == 0


def test_a_vm_that_has_moved_away_is_not_just_unknown(vmferry: Run, daemon: FakeClient) -> None:
    daemon.known = [DONE.model_copy(update={"vm": "old01"})]
    unknown = UsageError(codes.VM_UNKNOWN, vm="old01", host="kvm1")
    for arguments in (["check", "old01", "kvm2"], ["move", "old01", "kvm2"], ["show", "old01"]):
        daemon.trouble = [unknown] if arguments[0] != "show" else []
        code, _, err = vmferry("vm", *arguments)
        assert code == 2
        assert err.startswith("Job 7f3a9c moved old01 to kvm2 at 2026-03-04 05:06:07.\nError: There is no VM old01")
    daemon.known = [failed(unknown).model_copy(update={"vm": "old01"})]
    assert vmferry("vm", "show", "old01")[2].startswith("Error: ")
