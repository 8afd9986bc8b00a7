"""What packaging/ ships, judged by systemd's and AppArmor's own tools."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"
UNITS = ("vmferryd.service", "vmferry-transfer@.service")
EXPOSURE = 3.1  # of 10; not less, because it is root and the disks of all VMs must be in reach


def tool(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*arguments: str | Path) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def unit(name: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # the documented way to keep the case
    parser.read(PACKAGING / "systemd" / name)
    return parser["Service"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a root folder with the units and their programs installed, and the machine's own units."""
    binaries = tmp_path / "usr" / "bin"
    binaries.mkdir(parents=True)
    for name in ("vmferryd", "vmferry-transfer"):
        (binaries / name).write_text("#!/bin/sh\n")
        (binaries / name).chmod(0o755)
    units = tmp_path / "usr" / "lib" / "systemd" / "system"
    shutil.copytree("/usr/lib/systemd/system", units, symlinks=True)
    for name in UNITS:
        shutil.copy(PACKAGING / "systemd" / name, units)
    return tmp_path


@pytest.mark.parametrize("name", UNITS)
def test_unit_is_valid(root: Path, name: str) -> None:
    said = run(tool("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", f"--root={root}", name)
    assert said == ""


@pytest.mark.parametrize("name", UNITS)
def test_unit_is_confined(name: str) -> None:
    path = PACKAGING / "systemd" / name
    run(tool("systemd-analyze"), "security", "--offline=yes", f"--threshold={EXPOSURE * 10:.0f}", path)


def test_worker_is_not_bound_to_the_daemon() -> None:
    text = (PACKAGING / "systemd" / "vmferry-transfer@.service").read_text()
    settings = [line for line in text.splitlines() if not line.startswith("#")]
    assert not [line for line in settings if "vmferryd" in line]


@pytest.mark.parametrize("name", UNITS)
def test_sockets_of_other_moves_survive_the_end_of_a_unit(name: str) -> None:
    assert unit(name)["RuntimeDirectoryPreserve"] == "yes"


def test_both_units_have_the_same_confinement() -> None:
    def confinement(name: str) -> str:
        return (PACKAGING / "systemd" / name).read_text().partition("NoNewPrivileges")[2].partition("\n[")[0].strip()

    assert confinement(UNITS[0]) == confinement(UNITS[1])


def test_group_is_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    run(tool("systemd-sysusers"), f"--root={tmp_path}", PACKAGING / "systemd" / "vmferry.sysusers")
    assert "vmferry:" in (tmp_path / "etc" / "group").read_text()


@pytest.mark.root
def test_folders_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (tmp_path / "etc" / "group").write_text("root:x:0:\n")
    run(tool("systemd-tmpfiles"), "--create", f"--root={tmp_path}", PACKAGING / "systemd" / "vmferry.tmpfiles")
    assert (tmp_path / "run" / "vmferry").stat().st_mode & 0o777 == 0o755
    for private in ("lib", "log"):
        assert (tmp_path / "var" / private / "vmferry").stat().st_mode & 0o777 == 0o700


def test_audit_log_is_rotated_and_stays_readable_for_the_daemon(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text("a record\n")
    log.chmod(0o600)
    rules = (PACKAGING / "logrotate" / "vmferry").read_text().replace("/var/log/vmferry/audit.log", str(log))
    (tmp_path / "rules").write_text(rules)
    (tmp_path / "rules").chmod(0o600)
    run(tool("logrotate"), "--force", "--state", tmp_path / "state", tmp_path / "rules")
    assert (tmp_path / "audit.log.1").read_text() == "a record\n"  # where `vmferry audit list` looks
    assert not log.exists()


def test_apparmor_rules_are_valid(tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    profile.write_text(f"profile vm {{\n{(PACKAGING / 'apparmor' / 'libvirt-qemu').read_text()}}}\n")
    run(tool("apparmor_parser"), "--skip-kernel-load", "--skip-cache", "--debug", profile)


def installation() -> list[str]:
    """Return the lines of packaging/README.md that put files into the system."""
    lines = [line.split("  #")[0].strip() for line in (PACKAGING / "README.md").read_text().splitlines()]
    return [line for line in lines if "install -D" in line or line.startswith("vmferryd --print-config")]


def test_installation_makes_its_folders_and_the_group(tmp_path: Path) -> None:
    """On a fresh Debian there is neither /etc/sysusers.d nor /etc/bash_completion.d."""
    lines = installation()
    assert len(lines) == 10
    root = tmp_path / "root"
    (root / "etc/vmferry").mkdir(parents=True)  # systemd-tmpfiles makes it
    for line in lines:
        moved = re.sub(r" (/(?:etc|usr)/)", rf" {root}\1", line)
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
        done = subprocess.run(
            ["sh", "-c", moved], cwd=PACKAGING.parent, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (moved, done.stderr)
    run(tool("systemd-sysusers"), f"--root={root}")
    assert "vmferry:x:" in (root / "etc/group").read_text()
    found = {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()}
    assert {
        "etc/libvirt/hooks/qemu.d/vmferry",
        "etc/systemd/system/vmferryd.service",
        "etc/systemd/system/vmferry-transfer@.service",
        "etc/tmpfiles.d/vmferry.conf",
        "etc/logrotate.d/vmferry",
        "etc/vmferry/vmferry.toml",
        "etc/bash_completion.d/vmferry",
        "usr/share/zsh/vendor-completions/_vmferry",
        "etc/fish/completions/vmferry.fish",
        "usr/local/share/man/man1/vmferry.1",
    } <= found
    assert all((root / name).stat().st_size for name in found if "vmferry" in name)
