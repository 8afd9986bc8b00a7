"""Whether libvirt asks vmferry's hook before it starts a VM (jobs/startlock.py)."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from vmferry.config import Config
from vmferry.jobs import startlock

_DAEMONS = ("libvirtd", "virtqemud")
_COARSE = 2.0  # seconds: the kernel tells when it was started itself in whole ones
_STARTED = 19  # the field starttime of /proc/PID/stat, after the name (section 5 of the manual, proc)


def trouble(config: Config, path: Path = startlock.HOOK, proc: Path = Path("/proc")) -> str | None:
    """Return why libvirt would start a VM that was handed to another host; None: it asks the hook.

    Arguments:
        path: where the hook belongs.
        proc: where the kernel tells of processes.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(errors="replace")
    except OSError as error:
        return f"its hook {path} is not there" if error.errno == errno.ENOENT else f"{path}: {error.strerror}"
    if not stat.S_ISREG(mode) or not mode & 0o111:
        return f"its hook {path} is not executable"
    if text != startlock.hook(config.state_folder):
        return f"its hook {path} is not the one that this release has for {config.state_folder}"
    began = max(_started(proc), default=None)
    if began is not None and not _noticed(config, path, began):
        return f"it was started before its hook {path} was put there, and looks for hooks only as it starts"
    return None


def _noticed(config: Config, path: Path, began: float) -> bool:
    """Return whether a libvirt that was started at that time (Unix time) asks hooks of QEMU.

    It does so if it found any as it started (virHookInitialize in src/util/virhook.c), and our hook notes each call.
    """
    hooks = [path, path.parent.with_suffix(""), *_others(path)]
    found = (hook.stat() for hook in hooks if hook.is_file())
    if any(status.st_mode & 0o111 and status.st_ctime <= began + _COARSE for status in found):
        return True
    try:
        return startlock.asked(config.state_folder).stat().st_mtime >= began
    except OSError:
        return False


def _others(path: Path) -> list[Path]:
    try:
        return list(path.parent.iterdir())
    except OSError:
        return []


def _started(proc: Path) -> Iterator[float]:
    """Return when each libvirt of this host was started, in Unix time."""
    try:
        lines = (proc / "stat").read_text().splitlines()
        booted = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
        places = [place for place in proc.iterdir() if place.name.isdigit()]
    except (OSError, StopIteration):
        return
    for place in places:
        try:
            name, _, rest = (place / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it has ended
        if name in _DAEMONS:
            yield booted + int(rest.split()[_STARTED]) / os.sysconf("SC_CLK_TCK")
