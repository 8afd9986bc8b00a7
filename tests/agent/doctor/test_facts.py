"""What a host sees of itself, on the real kernel; libvirt's part is for the lab."""

import ctypes
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.preflight.make import THERE, expired

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import UnreachableError
from vmferry.core.policy.settings import HostSettings
from vmferry.identity.certificates import NEVER, host_identity

pytest.importorskip("libvirt")
from vmferry.agent.doctor import facts
from vmferry.agent.doctor.facts import HostFacts
from vmferry.preflight.doctor.health import NetworkLink


class Parts:
    """libvirt, settings and launcher."""

    def __init__(self) -> None:
        self.away = False

    def source(self) -> Any:
        if self.away:
            raise UnreachableError(codes.LIBVIRT_UNREACHABLE, host="kvm1", why="Connection refused")
        return THERE

    def at_risk(self) -> list[str]:
        return ["web01"]

    def host(self) -> HostSettings:
        return HostSettings(migration=True)

    def trouble(self) -> str | None:
        return "not-found"

    def neglect(self) -> str | None:
        return None


@pytest.fixture
def config(tmp_path: Path) -> Config:
    found = Config(
        name="kvm1",
        state_folder=tmp_path / "state",
        run_folder=tmp_path,
        disk_folders=[tmp_path, tmp_path / "none"],
        group="vmferry-none",
    )
    host_identity(found)
    return found


def seen(config: Config, parts: Parts | None = None) -> HostFacts:
    made: Any = parts or Parts()
    return HostFacts(config, made, made, made)


def test_a_host_as_a_whole(config: Config) -> None:
    health = seen(config).health()
    assert (health.name, health.host, health.at_risk) == ("kvm1", THERE, ["web01"])
    assert (health.workers, health.kept) == ("not-found", None)
    assert (health.socket.mode, [file.mode for file in health.state]) == (None, [0o700, 0o600])
    assert health.state[0].owner == os.getuid()
    assert (health.certificate.ends, health.certificate.trouble) == (NEVER.replace(microsecond=0), None)
    here, gone = health.folders
    assert (here.exists, here.writable, here.size > here.free > 0) == (True, True, True)
    assert not gone.exists
    assert health.links["lo"].up
    assert health.group_missing == config.group
    assert seen(config.model_copy(update={"group": "root"})).health().group_missing is None
    assert health.links["lo"].mtu > 1500


def test_libvirt_is_away(config: Config) -> None:
    parts = Parts()
    parts.away = True
    health = seen(config, parts).health()
    assert (health.host, health.libvirt, list(health.at_risk)) == (None, "Connection refused", [])


def test_certificates_that_are_wrong(config: Config) -> None:
    pem, _ = expired("kvm1")
    place = config.state_folder / "host.pem"
    place.write_text(pem)
    found = seen(config).certificate()
    assert found.ends is not None
    assert found.ends < NEVER
    assert "do not belong together" in (found.trouble or "")
    place.unlink()
    gone = seen(config).certificate()
    assert (gone.ends, "No such file" in (gone.trouble or "")) == (None, True)
    place.write_text("no certificate")
    assert seen(config).certificate().trouble
    assert facts.paired("no certificate").ends is None


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")])
def test_sockets_that_listen(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        port = listener.getsockname()[1]
        assert (address, port) not in facts._listeners()
        listener.listen()
        assert (address, port) in facts._listeners()


def test_an_interface_that_is_not_there_is_down() -> None:
    assert facts._link("no-such-link") == NetworkLink(up=False, mtu=0)


def test_programs_that_are_missing_or_fail() -> None:
    assert facts._output("no-such-program") == ("", "no-such-program is not installed")
    assert facts._output("ls", "/no/such")[1] is not None
    assert facts._output("echo", "yes") == ("yes\n", None)


def test_the_firewall_may_be_closed_to_this_program(monkeypatch: pytest.MonkeyPatch, config: Config) -> None:
    monkeypatch.setattr(facts, "_output", lambda *_: ("", "nft: Operation not permitted (you must be root)"))
    health = seen(config).health()
    assert health.firewall is None
    (said,) = [one for one in health.unchecked if one.startswith("firewall: ")]
    assert "its unit has no CAP_NET_ADMIN" in said
    assert "must be root" not in said  # who reads it is
    monkeypatch.setattr(facts, "_output", lambda *_: ("not json", None))
    assert facts._firewall() == (None, "nft printed what cannot be read")


class Denied:
    """A C library that is kept from adjtimex(2), as by ProtectClock=."""

    def __init__(self, state: int) -> None:
        self._state = state

    def adjtimex(self, _buffer: Any) -> int:
        return self._state


@pytest.mark.parametrize(
    ("state", "said", "expected"),
    [
        (0, "", True),
        (1, "", True),  # a leap second is near
        (5, "", False),
        (-1, "yes\n", True),
        (-1, "no\n", False),
        (-1, "", None),
    ],
)
def test_the_clock(monkeypatch: pytest.MonkeyPatch, state: int, said: str, expected: bool | None) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Denied(state))
    monkeypatch.setattr(ctypes, "get_errno", lambda: 1)
    monkeypatch.setattr(facts, "_output", lambda *_: (said, None))
    assert facts._synchronised() is expected
