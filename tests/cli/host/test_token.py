"""`vmferry host token`, `login` and `logout`."""

import json
import stat
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.cli.fake import FakeClient

from vmferry.cli.terminal import logins
from vmferry.cli.terminal.logins import SavedLogin
from vmferry.client import Client
from vmferry.core import codes
from vmferry.core.errors import AccessError

PRINT = "ab" * 32


def changes(daemon: FakeClient) -> list[tuple[object, ...]]:
    return [call for call in daemon.calls if call != ("close",)]


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_text("vmft1-secret\n")
    return str(file)


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Note how other hosts are reached, and answer for them."""
    calls: list[tuple[object, ...]] = []

    def remote(address: str, port: int, fingerprint: str | None, *, authorities: str | None, token: str) -> Client:
        calls.append((address, port, fingerprint, authorities, token))
        return FakeClient()

    monkeypatch.setattr(Client, "remote", remote)
    return calls


def test_create_shows_the_token_once_and_a_line_without_it(vmferry: Run, daemon: FakeClient) -> None:
    code, out, err = vmferry("host", "token", "create", "--role", "operator", "--name", "ci")
    assert (code, out) == (0, "vmft1-1f3a9c2e-secret\n")
    assert f"  vmferry host login 10.77.0.1 --fingerprint {'cd' * 32}\n" in err
    assert "secret" not in err
    assert changes(daemon) == [("create_token", "operator", 30 * 86400, "ci")]
    vmferry("host", "token", "create", "--role", "viewer", "--expires", "12h")
    assert changes(daemon)[-1] == ("create_token", "viewer", 43200, None)
    assert json.loads(vmferry("host", "token", "create", "--role", "viewer", "--output", "json")[1])["token"]


@pytest.mark.parametrize("wrong", [[], ["--role", "root"], ["--role", "viewer", "--expires", "400d"]])
def test_create_refuses(vmferry: Run, daemon: FakeClient, wrong: list[str]) -> None:
    assert vmferry("host", "token", "create", *wrong)[0] == 2
    assert vmferry("host", "token", "create", "--role", "viewer", "--name", "a b")[0] == 2
    assert changes(daemon) == []


def test_list_and_revoke(vmferry: Run, daemon: FakeClient) -> None:
    lines = vmferry("host", "token", "list")[1].splitlines()
    assert lines[1].split()[:4] == ["1f3a9c2e", "ci", "operator", "valid"]
    assert lines[2].split()[3] == "revoked"
    assert len(json.loads(vmferry("host", "token", "list", "--output", "json")[1])) == 2
    assert vmferry("host", "token", "revoke", "ci") == (0, "", "The token ci is revoked.\n")
    assert changes(daemon) == [("revoke_token", "ci")]


def test_login_is_used_by_host(
    vmferry: Run, reached: list[tuple[object, ...]], secret: str, token_file: Path, daemon: FakeClient
) -> None:
    code, _, err = vmferry("host", "login", "kvm1.example:7000", "--fingerprint", PRINT.upper(), "--token-file", secret)
    assert code == 0, err
    assert "vmferry --host kvm1 vm list" in err
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert vmferry("--host", "kvm1", "vm", "list")[0] == 0
    assert reached == [("kvm1.example", 7000, PRINT, None, "vmft1-secret")] * 2
    assert daemon.calls == []  # nobody asked this host
    assert vmferry("host", "logout", "kvm1")[0] == 0
    assert vmferry("host", "logout", "kvm1")[0] == 4
    assert logins.load() == {}


def test_login_by_an_authority(vmferry: Run, reached: list[tuple[object, ...]], secret: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("PEM")
    arguments = ["--authority", str(tmp_path / "ca.pem"), "--name", "far.example", "--token-file", secret]
    assert vmferry("host", "login", "fd00::1", *arguments)[0] == 0
    assert reached == [("fd00::1", 6601, None, "PEM", "vmft1-secret")]
    assert list(logins.load()) == ["far.example"]
    (tmp_path / "ca.pem").unlink()
    code, _, err = vmferry("--host", "far.example", "vm", "list")
    assert code == 4
    assert "(login-file-wrong)" in err


@pytest.mark.parametrize(
    "wrong",
    [[], ["--fingerprint", "ab"], ["--fingerprint", "x" * 64], ["--fingerprint", PRINT, "--authority", "/etc/hosts"]],
)
def test_login_wants_to_know_how_the_host_is_known(
    vmferry: Run, reached: list[tuple[object, ...]], secret: str, wrong: list[str]
) -> None:
    assert vmferry("host", "login", "kvm1", *wrong, "--token-file", secret)[0] == 2
    assert reached == []


def test_token_is_neither_an_argument_nor_in_the_environment(vmferry: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMFERRY_TOKEN", "vmft1-secret")
    assert vmferry("host", "login", "kvm1", "vmft1-secret", "--fingerprint", PRINT)[0] == 2
    code, _, err = vmferry("host", "login", "kvm1", "--fingerprint", PRINT)
    assert code == 2
    assert "(api-token-needed)" in err


def test_login_that_fails_keeps_nothing(
    vmferry: Run, monkeypatch: pytest.MonkeyPatch, secret: str, token_file: Path
) -> None:
    def refuse(*_: object, **__: object) -> Client:
        raise AccessError(codes.API_TOKEN_WRONG, host="kvm1")

    monkeypatch.setattr(Client, "remote", refuse)
    assert vmferry("host", "login", "kvm1", "--fingerprint", PRINT, "--token-file", secret)[0] == 4
    assert not token_file.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_file_that_others_can_reach_is_refused(vmferry: Run, token_file: Path, mode: int) -> None:
    logins.save({"kvm9": SavedLogin(address="kvm9", fingerprint=PRINT, token="vmft1-secret")})
    token_file.chmod(mode)
    code, _, err = vmferry("--host", "kvm9", "vm", "list")
    assert code == 4
    assert f"chmod 600 {token_file}" in err
    assert "vmft1-secret" not in err
    assert vmferry("vm", "list")[0] == 0  # this host takes none


@pytest.mark.parametrize("text", ["[", '["kvm9"]\ntoken = 5\n', '["kvm9"]\naddress = "x"\ntoken = "t"\ncolour = 1\n'])
def test_damaged_file_is_named(vmferry: Run, token_file: Path, text: str) -> None:
    token_file.write_text(text)
    token_file.chmod(0o600)
    code, _, err = vmferry("--host", "kvm9", "vm", "list")
    assert code == 4
    assert str(token_file) in err


def test_file_keeps_every_host(token_file: Path) -> None:
    known = {
        'a"b': SavedLogin(address="a", port=1, fingerprint=PRINT, token='t"\\\n'),
        "kvm2.example": SavedLogin(address="b", authority="/ca.pem", token="é"),
    }
    logins.save(known)
    assert logins.load() == known
    assert "token" not in repr(known["kvm2.example"]).replace("é", "token") or "é" not in repr(known)


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VMFERRY_TOKEN_FILE")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
    assert logins.path() == Path("/c/vmferry/tokens.toml")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert logins.path() == Path("/h/.config/vmferry/tokens.toml")
