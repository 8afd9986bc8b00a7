"""vmferry.toml: defaults, what is refused, and a reference that can be used as it is."""

import tomllib
from pathlib import Path

import pytest

from vmferry import config
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import VmferryError


def test_missing_default_file_means_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VMFERRY_CONFIG", raising=False)
    monkeypatch.setattr(config, "DEFAULT_PATH", tmp_path / "none.toml")
    assert config.load().port == 6601


def test_file_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "vmferry.toml"
    file.write_text('name = "kvm7"\ndata_ports = [7000, 7001]\n')
    monkeypatch.setenv("VMFERRY_CONFIG", str(file))
    assert config.load().name == "kvm7"
    assert config.load().data_ports == (7000, 7001)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("port = 0", "port"),
        ("colour = 1", "colour"),
        ("port = \n", "line 1"),
        ("data_ports = [2, 1]", "data_ports"),
        ('name = "a b"', "name"),
        ('name = "../x"', "name"),
        ('launcher = "init"', "launcher"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "vmferry.toml"
    file.write_text(text)
    with pytest.raises(VmferryError) as caught:
        config.load(file)
    assert caught.value.code is codes.CONFIG_INVALID
    assert why in caught.value.reason
    assert str(file) in caught.value.reason


def test_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(VmferryError) as caught:
        config.load(tmp_path / "none.toml")
    assert caught.value.code is codes.CONFIG_INVALID


def test_reference_holds_every_default(tmp_path: Path) -> None:
    text = config.reference()
    assert tomllib.loads(text) == {}
    set_lines = "\n".join(line.removeprefix("#") for line in text.splitlines() if not line.startswith("# "))
    file = tmp_path / "vmferry.toml"
    file.write_text(set_lines)
    shown = config.load(file)
    assert shown.model_copy(update={"advertise": None}) == Config()
    assert set(tomllib.loads(set_lines)) == set(Config.model_fields)


@pytest.mark.parametrize(
    ("listen", "advertise", "address"),
    [
        (["0.0.0.0", "10.1.2.3"], None, "10.1.2.3"),
        (["::", "10.1.2.3"], "kvm1.example", "kvm1.example"),
        (["fd00::1"], None, "fd00::1"),
    ],
)
def test_address_for_peers(listen: list[str], advertise: str | None, address: str) -> None:
    here = Config(listen=listen, advertise=advertise)
    assert here.address == here.set_address == address


def test_wildcards_alone_name_no_address() -> None:
    here = Config(listen=["0.0.0.0", "::"])
    assert here.set_address is None
    assert here.address not in ("", "0.0.0.0", "::")
