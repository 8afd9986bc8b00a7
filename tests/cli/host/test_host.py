"""`vmferry host`."""

import io
import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.cli.fake import FakeClient

from vmferry.core import codes
from vmferry.core.errors import AccessError, UnreachableError


def unreachable() -> UnreachableError:
    return UnreachableError(codes.HOST_UNREACHABLE, host="kvm2", address="kvm2 port 6601", why="no such name")


def test_list_shows_the_paired_hosts(vmferry: Run, daemon: FakeClient) -> None:
    code, out, _ = vmferry("host", "list")
    assert code == 0
    assert out.splitlines()[1].split() == [
        "kvm2",
        "10.77.0.2",
        "6601",
        "any",
        "user",
        "pairing",
        "2026-03-04",
        "05:06:07",
        "root",
    ]
    assert json.loads(vmferry("host", "list", "--output", "json")[1]) == [daemon.peers[0].model_dump(mode="json")]


def test_show_is_of_this_host_or_a_paired_one(vmferry: Run) -> None:
    assert "10.77.0.1 port 6601" in vmferry("host", "show")[1]
    assert "10.77.0.1 port 6601" in vmferry("host", "show", "kvm1")[1]
    assert "10.77.0.2 port 6601" in vmferry("host", "show", "kvm2")[1]
    code, _, err = vmferry("host", "show", "kvm3")
    assert code == 2
    assert "kvm1 does not know kvm3: the two are not paired" in err


def test_invitation_is_data_and_its_use_a_message(vmferry: Run, daemon: FakeClient) -> None:
    code, out, err = vmferry("host", "pair", "--invite", "--for", "ann", "--for", "ben")
    assert (code, out) == (0, "VMF1-secret\n")
    assert "vmferry host pair 10.77.0.1" in err
    assert "VMF1-secret" not in err
    assert daemon.calls[0] == ("invite", "ann", "ben")
    assert json.loads(vmferry("host", "pair", "--invite", "--output", "json")[1])["token"] == "VMF1-secret"


def test_token_comes_from_a_file(vmferry: Run, daemon: FakeClient, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("VMF1-x\n")
    code, out, err = vmferry("host", "pair", "kvm2:7000", "--token-file", str(tmp_path / "token"))
    assert code == 0
    assert daemon.calls[0] == ("pair", "VMF1-x", "kvm2:7000", "*")
    assert "This host and kvm2 are paired." in err
    assert "10.77.0.2" in out


def test_token_comes_from_standard_input(vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("  VMF1-x\n"))
    assert vmferry("host", "pair", "--token-file", "-", "--for", "ann")[0] == 0
    assert daemon.calls[0] == ("pair", "VMF1-x", None, "ann")


def test_token_is_never_an_argument(vmferry: Run, daemon: FakeClient) -> None:
    assert vmferry("host", "pair", "kvm2", "VMF1-x")[0] == 2
    assert vmferry("host", "pair", "kvm2", "--token", "VMF1-x")[0] == 2
    assert daemon.calls == []


def test_without_a_terminal_the_way_to_give_the_token_is_named(
    vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, _, err = vmferry("host", "pair", "kvm2")
    assert code == 2
    assert "--token-file" in err
    assert [call for call in daemon.calls if call[0] == "pair"] == []


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_token_file_that_cannot_be_read(vmferry: Run, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    code, _, err = vmferry("host", "pair", "kvm2", "--token-file", str(tmp_path / "token"))
    assert code == 2
    assert str(tmp_path / "token") in err


def test_name_that_leads_nowhere_falls_back_to_the_tokens_own_address(
    vmferry: Run, daemon: FakeClient, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("VMF1-x")
    daemon.trouble = [unreachable()]
    code, _, err = vmferry("host", "pair", "kvm2", "--token-file", str(tmp_path / "token"))
    assert code == 0
    assert [call[2] for call in daemon.calls if call[0] == "pair"] == ["kvm2", None]
    assert "Trying the address that the token names." in err


def test_refused_token_is_not_tried_elsewhere(vmferry: Run, daemon: FakeClient, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("VMF1-x")
    daemon.trouble = [AccessError(codes.TOKEN_WRONG, host="kvm2")]
    code, _, err = vmferry("host", "pair", "kvm2", "--token-file", str(tmp_path / "token"))
    assert code == 4
    assert "(pairing-token-wrong)" in err
    assert len([call for call in daemon.calls if call[0] == "pair"]) == 1


def test_invite_takes_nothing_else(vmferry: Run, daemon: FakeClient) -> None:
    assert vmferry("host", "pair", "kvm2", "--invite")[0] == 2
    assert daemon.calls == []


def test_unpair_asks_first(vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO("n\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    code, _, err = vmferry("host", "unpair", "kvm2")
    assert code == 130
    assert "Unpair kvm2?" in err
    assert [call for call in daemon.calls if call[0] == "unpair"] == []


def test_unpair_with_yes_does_not_ask(vmferry: Run, daemon: FakeClient) -> None:
    for arguments in (("--yes", "host", "unpair", "kvm2"), ("host", "unpair", "kvm2", "--yes")):
        daemon.calls.clear()
        assert vmferry(*arguments) == (0, "", "kvm2 is no longer paired with this host.\n")
        assert daemon.calls[0] == ("unpair", "kvm2")
    vmferry("--yes", "host", "unpair", "kvm2", "--force")
    assert ("unpair", "kvm2", "force") in daemon.calls


def test_unpair_without_anybody_to_ask_needs_yes(
    vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    code, _, err = vmferry("host", "unpair", "kvm2")
    assert code == 2
    assert "Add --yes" in err
    assert [call for call in daemon.calls if call[0] == "unpair"] == []
