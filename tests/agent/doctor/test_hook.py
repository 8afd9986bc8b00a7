"""libvirt's hook: what keeps it from being asked."""

import os
import time
from pathlib import Path

import pytest

from vmferry.agent.doctor import hook
from vmferry.config import Config
from vmferry.jobs import startlock


def proc(folder: Path, *daemons: tuple[str, float]) -> Path:
    """Make a /proc with processes that were started at those Unix times."""
    booted = 1_000_000_000
    folder.mkdir(exist_ok=True)
    (folder / "stat").write_text(f"cpu 1 2 3\nbtime {booted}\nprocesses 9\n")
    for number, (name, began) in enumerate(daemons, 100):
        ticks = int((began - booted) * os.sysconf("SC_CLK_TCK"))
        (folder / str(number)).mkdir()
        (folder / str(number) / "stat").write_text(f"{number} ({name}) S {' '.join(['1'] * 18)} {ticks} 1 1\n")
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(name="kvm1", state_folder=tmp_path / "state", run_folder=tmp_path)


@pytest.fixture
def place(tmp_path: Path, config: Config) -> Path:
    """The hook as it is to be."""
    found = tmp_path / "hooks" / "qemu.d" / "vmferry"
    found.parent.mkdir(parents=True)
    found.write_text(startlock.hook(config.state_folder))
    found.chmod(0o755)
    return found


def test_the_hook_that_refuses_a_start(place: Path, config: Config, tmp_path: Path) -> None:
    none = proc(tmp_path / "proc")
    assert hook.trouble(config, place, none) is None
    place.chmod(0o644)
    assert "not executable" in (hook.trouble(config, place, none) or "")
    place.chmod(0o755)
    place.write_text(startlock.hook(tmp_path / "elsewhere"))
    assert str(config.state_folder) in (hook.trouble(config, place, none) or "")
    place.unlink()
    assert "is not there" in (hook.trouble(config, place, none) or "")


@pytest.mark.parametrize("daemon", ["libvirtd", "virtqemud"])
def test_a_libvirt_that_was_started_before_its_hook_does_not_ask_it(
    place: Path, config: Config, tmp_path: Path, daemon: str
) -> None:
    now = time.time()
    before = proc(tmp_path / "before", ("bash", now), (daemon, now - 100))
    assert "started before its hook" in (hook.trouble(config, place, before) or "")
    assert hook.trouble(config, place, proc(tmp_path / "after", (daemon, now + 100))) is None
    assert hook.trouble(config, place, proc(tmp_path / "away", ("libvirtd-x", now - 100))) is None
    assert hook.trouble(config, place, tmp_path / "unreadable") is None


def test_a_libvirt_that_has_asked_is_known_to_ask(place: Path, config: Config, tmp_path: Path) -> None:
    """Its hook was put there anew, by an upgrade, say: it found one as it started."""
    before = proc(tmp_path / "proc", ("libvirtd", time.time() - 100))
    asked = startlock.asked(config.state_folder)
    asked.parent.mkdir(parents=True, exist_ok=True)
    asked.touch()
    assert hook.trouble(config, place, before) is None
    os.utime(asked, (time.time() - 200,) * 2)  # another libvirt, before
    assert hook.trouble(config, place, before) is not None


def test_the_kernel_tells_when_this_process_was_started() -> None:
    """The real /proc has the fields where they are looked for."""
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hook, "_DAEMONS", (name,))
        began = list(hook._started(Path("/proc")))
    assert any(0 <= time.time() - one < 7200 for one in began)
