"""The log of a job's transfer process on this host, wherever that writes it."""

import os
import subprocess

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import InternalError
from vmferry.core.job import folder_name
from vmferry.core.redaction import redacted
from vmferry.core.text import printable

MOST = 2000  # lines
_SIZE = 512 << 10  # bytes of a file's end that are read
_LIMIT = 10.0  # seconds


def lines(config: Config, job: str) -> list[str]:
    """Return the newest lines of a job's log, the oldest of them first; none where there is no log.

    Arguments:
        job: one that this host knows.

    Raises:
        InternalError: the log cannot be read.
    """
    name = f"vmferry-transfer@{folder_name(job)}"
    try:
        text = _journal(f"{name}.service") if config.launcher == "systemd" else _end(config, f"{name}.log")
    except FileNotFoundError:
        return []
    except (OSError, subprocess.SubprocessError) as error:
        raise InternalError(codes.INTERNAL, why=f"the log of job {job} cannot be read ({error})") from error
    return [redacted(printable(line)) for line in text.splitlines()[-MOST:]]


def _journal(unit: str) -> str:
    """Ask journalctl(1)."""
    done = subprocess.run(
        ["journalctl", f"--unit={unit}", "--quiet", "--no-pager", "--output=short-iso", f"--lines={MOST}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_LIMIT,
        check=True,
    )
    return done.stdout.decode(errors="replace")


def _end(config: Config, name: str) -> str:
    """Read the end of the file that vmferry-supervisor keeps."""
    with (config.state_folder / "log" / name).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _SIZE))
        if size > _SIZE:
            file.readline()  # the rest of a line
        return file.read().decode(errors="replace")
