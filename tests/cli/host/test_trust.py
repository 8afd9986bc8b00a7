"""`vmferry host trust` and `vmferry host certificate`."""

import io
import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.cli.fake import FakeClient


def changes(daemon: FakeClient) -> list[tuple[object, ...]]:
    return [call for call in daemon.calls if call != ("close",)]


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "ca.pem").write_text("PEM")
    return str(tmp_path / "ca.pem")


def test_trust_set(vmferry: Run, daemon: FakeClient, file: str) -> None:
    code, out, err = vmferry("host", "trust", "set", file)
    assert code == 0
    assert changes(daemon) == [("set_trust", "PEM", ["*"], ["*"])]
    assert "CN=Site CA until 2026-03-04 05:06:07, SHA-256 ef" in out
    assert "hosts                all" in out
    assert "may start moves for  any user" in out
    assert err == "A note.\n"
    vmferry("host", "trust", "set", file, "--for", "ann", "--for", "bob", "--names", "*.kvm.example.org")
    assert changes(daemon)[-1] == ("set_trust", "PEM", ["ann", "bob"], ["*.kvm.example.org"])


def test_trust_show_and_remove(vmferry: Run, daemon: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(vmferry("host", "trust", "show", "--output", "json")[1])["notes"] == ["A note."]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert vmferry("host", "trust", "remove")[0] == 2
    assert changes(daemon) == []
    assert vmferry("host", "trust", "remove", "--yes") == (0, "", "No authority is trusted now.\n")
    assert changes(daemon) == [("remove_trust",)]


def test_request_goes_to_stdout_alone(vmferry: Run, daemon: FakeClient) -> None:
    code, out, err = vmferry("host", "certificate", "request", "--name", "kvm1.example.org")
    assert (code, out) == (0, "CSR\n")
    assert "kvm1.example.org" in err
    assert json.loads(vmferry("host", "certificate", "request", "--output", "json")[1]) == {
        "request": "CSR\n",
        "names": ["kvm1"],
    }


def test_install_and_show(vmferry: Run, daemon: FakeClient, file: str) -> None:
    code, out, err = vmferry("host", "certificate", "install", file)
    assert (code, err) == (0, "Hosts of the site now know this host as kvm1.example.org.\n")
    assert "issued by    CN=Site CA" in out
    assert changes(daemon) == [("install_certificate", "PEM")]
    assert vmferry("host", "certificate", "show")[1] == out


@pytest.mark.parametrize("command", [("trust", "set"), ("certificate", "install")])
def test_keys_stay_where_they_are(vmferry: Run, daemon: FakeClient, tmp_path: Path, command: tuple[str, str]) -> None:
    (tmp_path / "both.pem").write_text("-----BEGIN EC PRIVATE KEY-----\nsecret\n")
    code, _, err = vmferry("host", *command, str(tmp_path / "both.pem"))
    assert code == 2
    assert "(private-key)" in err
    assert "secret" not in err
    assert vmferry("host", *command, str(tmp_path / "none.pem"))[0] == 2
    assert changes(daemon) == []
