"""`vmferry migration`, `vmferry network`, `vmferry host set` and `vmferry host apply`."""

import io
import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.cli.fake import DONE, FakeClient

from vmferry.core import codes
from vmferry.core.errors import UsageError


def busy() -> UsageError:
    return UsageError(codes.MOVES_IN_PROGRESS, host="kvm1", jobs="7f3a9c: web01")


def changes(daemon: FakeClient) -> list[tuple[object, ...]]:
    return [call for call in daemon.calls if call != ("close",)]


def terminal(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    stdin = io.StringIO(text)
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", stdin)


def test_enable(vmferry: Run, daemon: FakeClient) -> None:
    assert vmferry("migration", "enable") == (0, "", "Migration is enabled.\n")
    assert changes(daemon) == [("POST", "/host/migration/enable", None)]
    daemon.notes = ["A note."]
    _, out, err = vmferry("migration", "enable", "--output", "json")
    assert json.loads(out)["settings"]["migration"] is True
    assert [json.loads(line)["message"] for line in err.splitlines()] == ["Migration is enabled already.", "A note."]


@pytest.mark.parametrize("flag", ["wait", "cancel"])
def test_disable_with_a_word_about_moves_waits_for_them(vmferry: Run, daemon: FakeClient, flag: str) -> None:
    daemon.going = ["7f3a9c"]
    code, out, err = vmferry("migration", "disable", f"--{flag}")
    assert (code, out) == (0, "")
    assert err == "Migration is disabled.\nWaiting for 7f3a9c to end.\n"
    assert changes(daemon) == [("POST", "/host/migration/disable", {"moves": flag})]


def test_disable_without_anybody_to_ask_changes_nothing(
    vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    daemon.trouble = [busy()]
    code, _, err = vmferry("migration", "disable")
    assert code == 2
    assert "7f3a9c: web01" in err
    assert "vmferry migration disable --wait" in err
    assert len(changes(daemon)) == 1


@pytest.mark.parametrize(("said", "moves"), [("wait\n", "wait"), ("cancel\n", "cancel"), ("\n", None)])
def test_disable_asks(
    vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch, said: str, moves: str | None
) -> None:
    terminal(monkeypatch, said)
    daemon.trouble = [busy()]
    code, _, err = vmferry("migration", "disable")
    assert "7f3a9c: web01" in err
    assert code == (0 if moves else 130)
    asked: list[tuple[object, ...]] = [("POST", "/host/migration/disable", {})]
    assert changes(daemon) == asked + ([("POST", "/host/migration/disable", {"moves": moves})] if moves else [])


def test_waiting_can_be_left(vmferry: Run, daemon: FakeClient) -> None:
    daemon.going = ["7f3a9c"]
    daemon.story = [KeyboardInterrupt]
    code, _, err = vmferry("migration", "disable", "--wait")
    assert code == 130
    assert "The moves continue" in err


def test_network_list(vmferry: Run, daemon: FakeClient) -> None:
    code, out, err = vmferry("network", "list")
    assert code == 0
    assert out.splitlines()[1].split() == ["10.20.0.0/24", "10", "10.20.0.1"]
    assert "Any other network" in err
    daemon.now = daemon.now.model_copy(update={"any_network": False})
    assert "No other network" in vmferry("network", "list")[2]
    shown = json.loads(vmferry("network", "list", "--output", "json")[1])
    assert shown == [{"subnet": "10.20.0.0/24", "priority": 10, "addresses": ["10.20.0.1"]}]


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["add", "10.20.0.7/24"], ("POST", "/host/networks", {"subnet": "10.20.0.7/24"})),
        (["add", "fd20::1", "--priority", "5"], ("POST", "/host/networks", {"subnet": "fd20::1", "priority": 5})),
        (["set", "10.20.0.0/24", "--priority", "0"], ("PATCH", "/host/networks/10.20.0.0%2F24", {"priority": 0})),
        (["set", "fd20::/64", "--subnet", "x"], ("PATCH", "/host/networks/fd20%3A%3A%2F64", {"subnet": "x"})),
        (["remove", "10.20.0.0/24"], ("DELETE", "/host/networks/10.20.0.0%2F24", None)),
    ],
)
def test_network_changes(vmferry: Run, daemon: FakeClient, arguments: list[str], call: tuple[object, ...]) -> None:
    daemon.notes = ["A note."]
    assert vmferry("network", *arguments) == (0, "networks  10.20.0.0/24 (10)\n", "A note.\n")
    assert changes(daemon) == [call]
    assert json.loads(vmferry("network", *arguments, "--output", "json")[1])["notes"] == ["A note."]


def test_network_set_wants_something_to_set(vmferry: Run, daemon: FakeClient) -> None:
    code, _, err = vmferry("network", "set", "10.20.0.0/24")
    assert code == 2
    assert "--priority or --subnet" in err
    assert vmferry("host", "set")[0] == 2
    assert changes(daemon) == []


@pytest.mark.parametrize(
    ("arguments", "change"),
    [
        (["--max-migrations", "4"], {"max_migrations": 4}),
        (["--max-storage-migrations", "1"], {"max_storage_migrations": 1}),
        (["--any-network"], {"any_network": True}),
        (["--only-listed-networks"], {"any_network": False}),
        (["--encryption", "optional"], {"encryption": "optional"}),
        (["--operator", "ann", "--operator", "@ops"], {"operators": ["@ops", "ann"]}),
        (["--viewer", "", "--administrator", "root"], {"viewers": [], "administrators": ["root"]}),
        (["--authentication", "kerberos"], {"authentication": "kerberos"}),
        (["--performance", "smb", "--any-network"], {"performance": "smb", "any_network": True}),
    ],
)
def test_host_set(vmferry: Run, daemon: FakeClient, arguments: list[str], change: dict[str, object]) -> None:
    code, out, err = vmferry("host", "set", *arguments)
    assert code == 0
    assert changes(daemon) == [("PATCH", "/host/settings", change)]
    assert (out, err) == ("", "No changes: the settings already match.\n")


def test_host_set_prints_what_has_changed(vmferry: Run, daemon: FakeClient) -> None:
    daemon.after, daemon.notes = daemon.now.model_copy(update={"max_migrations": 4}), ["A note."]
    assert vmferry("host", "set", "--max-migrations", "4") == (0, "max_migrations  2 -> 4\n", "A note.\n")
    said = json.loads(vmferry("host", "set", "--max-migrations", "4", "-o", "json")[1])
    assert said["settings"]["max_migrations"] == 4


def test_host_show_has_the_settings(vmferry: Run) -> None:
    out = vmferry("host", "show")[1]
    assert "enabled" in out
    assert "2 moves, 2 of storage" in out
    assert json.loads(vmferry("host", "show", "--output", "json")[1])["settings"]["migration"] is True


FILE = """
migration = false
max_migrations = 4
any_network = false
[[networks]]
subnet = "10.30.0.5/24"
priority = 10
"""


def test_apply_shows_what_it_changes_and_a_dry_run_changes_nothing(
    vmferry: Run, daemon: FakeClient, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(FILE)
    code, out, err = vmferry("host", "apply", str(file), "--dry-run")
    assert code == 0
    assert "max_migrations        2 -> 4" in out
    assert "network 10.20.0.0/24  priority 10 -> absent" in out
    assert "network 10.30.0.0/24  absent -> priority 10" in out
    assert "Dry run" in err
    assert changes(daemon) == []
    shown = json.loads(vmferry("host", "apply", str(file), "--dry-run", "--output", "json")[1])
    assert shown["applied"] is False
    assert {"name": "migration", "before": "yes", "after": "no"} in shown["changes"]


def test_apply_disables_first_and_then_changes_the_rest(
    vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(FILE))
    daemon.going = ["7f3a9c"]
    daemon.story = [DONE]
    code, _, err = vmferry("host", "apply", "-", "--wait")
    assert code == 0
    assert "Waiting for 7f3a9c to end." in err
    (_, first, moves), (_, second, change) = changes(daemon)
    assert (first, moves) == ("/host/migration/disable", {"moves": "wait"})
    assert second == "/host/settings"
    assert change == {
        "max_migrations": 4,
        "any_network": False,
        "networks": [{"subnet": "10.30.0.0/24", "priority": 10}],
    }


def test_apply_again_changes_nothing(vmferry: Run, daemon: FakeClient, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('migration = true\nencryption = "required"\n')
    code, out, err = vmferry("host", "apply", str(file))
    assert (code, out, err) == (0, "", "No changes: the settings already match.\n")
    assert changes(daemon) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("colour = 1", "colour"),
        ("max_migrations = 0", "max_migrations"),
        ("migration = \n", "line 1"),
        ('[[networks]]\nsubnet = "kvm2"', "kvm2 is neither"),
        ('[[networks]]\nsubnet = "10.0.0.0/24"\n[[networks]]\nsubnet = "10.0.0.1/24"', "twice"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_used(
    vmferry: Run, daemon: FakeClient, tmp_path: Path, text: str | None, why: str
) -> None:
    file = tmp_path / "settings.toml"
    if text is not None:
        file.write_text(text)
    code, _, err = vmferry("host", "apply", str(file))
    assert code == 2
    assert "(settings-file-invalid)" in err
    assert str(file) in err
    assert why in err
    assert changes(daemon) == []


def test_apply_refuses_what_is_not_built_before_anything_changes(
    vmferry: Run, daemon: FakeClient, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('migration = false\nperformance = "smb"\n')
    code, _, err = vmferry("host", "apply", str(file))
    assert code == 2
    assert "--performance smb is not implemented yet." in err
    assert changes(daemon) == []


def test_networks_are_completed(vmferry: Run) -> None:
    import click

    from vmferry.cli.terminal import complete

    found = complete.networks(click.Context(click.Command("x")), click.Argument(["subnet"]), "10.2")
    assert [item.value for item in found] == ["10.20.0.0/24"]
