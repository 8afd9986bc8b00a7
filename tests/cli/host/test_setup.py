"""`vmferry host setup`: what it asks, in which order, and what it does with the answers."""

import io
import json
import re
from pathlib import Path

import pytest
from tests.authority import Authority
from tests.cli.conftest import Run
from tests.cli.fake import FakeClient
from tests.cli.host.test_settings import terminal

from vmferry.core import codes
from vmferry.core.errors import UnreachableError, UsageError
from vmferry.core.messages.api import Problem
from vmferry.core.policy.settings import Authentication


def changes(daemon: FakeClient) -> list[tuple[object, ...]]:
    return [call for call in daemon.calls if call != ("close",)]


@pytest.fixture
def alone(daemon: FakeClient, monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """Return a daemon that trusts no authority, and no terminal."""
    daemon.trusting = False
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    return daemon


def test_every_answer_can_be_an_option(vmferry: Run, alone: FakeClient, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("vmf1-secret\n")
    arguments = ["--operator", "ann", "--operator", "@ops", "--administrator", "bob", "--viewer", "carol"]
    arguments += ["--network", "10.20.0.7/24", "--network", "fd20::/64", "--max-migrations", "4"]
    arguments += ["--max-storage-migrations", "1", "--enable", "--with", "kvm9", "--with", "kvm2"]
    alone.now = alone.now.model_copy(update={"migration": False})
    code, out, err = vmferry("host", "setup", "--yes", *arguments, "--token-file", str(tmp_path / "token"))
    assert (code, out) == (3, ""), err  # the host is not in fd20::/64: said before that step changes anything
    assert "fd20::/64" in err
    assert "(network-not-here)" in err
    alone.calls.clear()
    arguments[arguments.index("fd20::/64")] = "10.20.0.0/25"
    code, out, err = vmferry("host", "setup", "--yes", *arguments, "--token-file", str(tmp_path / "token"))
    assert code == 0, err
    listed = [{"subnet": "10.20.0.0/24", "priority": 10}, {"subnet": "10.20.0.0/25", "priority": 20}]
    assert changes(alone) == [
        ("PATCH", "/host/settings", {"operators": ["@ops", "ann"]}),
        ("PATCH", "/host/settings", {"administrators": ["bob"]}),
        ("PATCH", "/host/settings", {"viewers": ["carol"]}),
        ("PATCH", "/host/settings", {"any_network": False, "networks": listed}),
        ("PATCH", "/host/settings", {"max_migrations": 4}),
        ("PATCH", "/host/settings", {"max_storage_migrations": 1}),
        ("POST", "/host/migration/enable", None),
        ("pair", "vmf1-secret", "kvm9", "*"),
        ("try_host", "kvm2"),
        ("try_host", "kvm2"),
    ]
    assert "kvm2            connected in both directions" in out


def test_without_options_the_known_hosts_are_tried_and_nothing_changes(vmferry: Run, alone: FakeClient) -> None:
    code, out, err = vmferry("host", "setup", "--yes", "--output", "json")
    assert code == 0, err
    shown = json.loads(out)
    assert shown["changes"] == []
    assert [host["host"] for host in shown["hosts"]] == ["kvm2"]
    assert changes(alone) == [("try_host", "kvm2")]


def test_nobody_to_ask_and_nothing_said(vmferry: Run, alone: FakeClient) -> None:
    code, _, err = vmferry("host", "setup")
    assert code == 2
    assert "--yes" in err
    assert changes(alone) == []


def test_done_again_it_changes_nothing(vmferry: Run, alone: FakeClient) -> None:
    alone.now = alone.now.model_copy(update={"any_network": False})
    assert vmferry("host", "setup", "--network", "10.20.0.1/24", "--enable", "--with", "10.77.0.2")[0] == 0
    assert changes(alone) == [("try_host", "kvm2")]  # listed and enabled already; known by its address


def test_a_host_that_does_not_work_is_shown_and_is_the_exit_code(vmferry: Run, alone: FakeClient) -> None:
    error = UnreachableError(codes.HOST_UNREACHABLE, host="kvm1", address="10.77.0.1 port 6601", why="no route")
    alone.wrong = Problem.model_validate(error.problem())
    code, out, err = vmferry("host", "setup", "--yes")
    assert code == 5
    assert "the connection back fails: kvm1 does not answer" in out
    assert "(host-unreachable)" in err


def test_questions_come_in_their_order_and_return_keeps_everything(
    vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.trusting = False
    terminal(monkeypatch, "\n" * 9)
    code, _, err = vmferry("host", "setup")
    assert code == 0, err
    asked = [
        "Operators",
        "Administrators",
        "Authentication",
        "PEM file of the authority",
        "Networks, or any [any]",
        "Moves at once [2]",
    ]
    asked += ["Moves of storage at once [2]", "Enable migration (yes, no) [yes]", "Hosts [kvm2]: "]
    positions = [err.index(question) for question in asked]
    assert positions == sorted(positions)
    assert "This host is in 10.20.0.0/24 (eth1)." in " ".join(err.split())
    assert changes(daemon) == [("try_host", "kvm2")]


def test_an_answer_that_cannot_be_is_asked_for_again(
    vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.trusting = False
    daemon.trouble = [UsageError(codes.PERSON_UNKNOWN, host="kvm1", kind="user", name="an")]
    networks = "10.99.0.0/24\nnonsense\n10.20.0.0/24\n"
    terminal(monkeypatch, f"an\nann\n\nntlm\n\n/no/such/file\n\n{networks}many\n200\n3\n\nmaybe\n\n\n\n")
    code, _, err = vmferry("host", "setup")
    assert code == 0, err
    for said in (
        "kvm1 has no user an.",
        "ntlm is not one of",
        "No such file",
        "no address inside 10.99.0.0/24",
        "neither a subnet",
        "many is not a whole number from 1 to 100.",
        "200 is not a whole number from 1 to 100.",
        "maybe is neither yes nor no.",
        "max_migrations: 2 -> 3",
        "operators: nobody -> ann",
    ):
        assert said in " ".join(err.split())
    assert "Errno" not in err
    assert "Input should" not in err
    network = {"subnet": "10.20.0.0/24", "priority": 10}
    wanted = {"operators": ["ann"], "any_network": False, "networks": [network], "max_migrations": 3}
    assert [call[2] for call in changes(daemon) if call[0] == "PATCH"] == [wanted]  # once, after the summary


@pytest.mark.parametrize("answers", ["ann\n\x03", "ann\n" + "\n" * 7 + "n\n"])
def test_an_end_before_the_end_says_that_nothing_was_saved(
    vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch, answers: str
) -> None:
    daemon.trusting = False
    terminal(monkeypatch, answers.partition("\x03")[0])  # the end of the input aborts as Ctrl-C does
    code, out, err = vmferry("host", "setup")
    assert (code, out) == (130, "")
    assert err.endswith("Stopped. Nothing was saved.\n")
    assert [call for call in changes(daemon) if call[0] == "PATCH"] == []


def test_an_end_after_the_summary_says_what_was_saved(
    vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.trusting = False
    terminal(monkeypatch, "ann\n" + "\n" * 7 + "y\n")
    code, _, err = vmferry("host", "setup")
    assert code == 130
    assert err.endswith("Stopped. Saved: operators.\n")


def test_each_question_is_explained_and_lines_break_between_words(
    vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.trusting = False
    monkeypatch.setenv("COLUMNS", "60")
    terminal(monkeypatch, "?\n\n" * 9)
    code, _, err = vmferry("host", "setup")
    assert code == 0, err
    for said in (
        "@kvm-ops",
        "docs/kerberos.md",
        "fd20::/64",
        "from 1 to 100",
        "Known: kvm2.",
        "`vmferry migration disable`",
    ):
        assert said in err
    prompts = ("Authentication (", "PEM file", "Enable migration")
    lines = re.split(r"\n|(?:\]|Operators|Administrators): ", err)  # nobody types: a prompt does not end its line
    assert [line for line in lines if len(line) > 60 and not line.startswith(prompts)] == []


def test_a_host_without_an_address_is_not_asked_a_token_for(
    vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.trusting = False
    terminal(monkeypatch, "\n" * 8 + "kvm9.invalid\n\n")
    code, _, err = vmferry("host", "setup")
    assert code == 0, err
    assert "kvm9.invalid has no address" in err
    assert "Token" not in err


def test_an_authority_and_a_certificate(vmferry: Run, alone: FakeClient, tmp_path: Path) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_text(authority.pem)
    code, _, err = vmferry("host", "setup", "--yes", "--authority", str(tmp_path / "ca.pem"))
    assert code == 0, err
    assert changes(alone)[0][:2] == ("set_trust", authority.pem)
    alone.calls.clear()
    alone.trusting = True
    (tmp_path / "host.pem").write_text("PEM")
    assert vmferry("host", "setup", "--yes", "--certificate", str(tmp_path / "host.pem"))[0] == 0
    assert changes(alone)[0] == ("install_certificate", "PEM")
    assert vmferry("host", "setup", "--yes", "--authority", "pairing")[0] == 0
    assert ("remove_trust",) in changes(alone)


def test_a_host_of_the_site_needs_no_token(vmferry: Run, daemon: FakeClient) -> None:
    assert vmferry("host", "setup", "--yes", "--with", "kvm9.example.org")[0] == 0
    assert changes(daemon) == [("try_host", "kvm9.example.org")]


def test_a_host_that_is_not_known_takes_a_token(vmferry: Run, alone: FakeClient) -> None:
    code, _, err = vmferry("host", "setup", "--yes", "--with", "kvm9")
    assert code == 2
    assert "(pairing-token-needed)" in err


def test_hosts_of_a_domain_need_no_pairing(vmferry: Run, alone: FakeClient) -> None:
    code, _, err = vmferry("host", "setup", "--yes", "--authentication", "kerberos")
    assert code == 0, err
    assert ("PATCH", "/host/settings", {"authentication": "kerberos"}) in changes(alone)
    alone.now = alone.now.model_copy(update={"authentication": Authentication.KERBEROS})
    code, _, err = vmferry("host", "setup", "--yes")
    assert code == 0
    assert "vmferry delegation grant A B" in err
    assert vmferry("host", "setup", "--yes", "--authentication", "ntlm")[0] == 2
