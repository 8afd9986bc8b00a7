"""Starts transfer processes, in a place of their own: what ends vmferryd must not end them."""

import os
import subprocess
from dataclasses import dataclass
from typing import Any

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import InternalError
from vmferry.core.message import load
from vmferry.jobs import supervision
from vmferry.jobs.supervision import StartRequest, StatusRequest, SupervisorRequest
from vmferry.net import localsockets

LIMIT = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class Launcher:
    """Asks systemd, or vmferry-supervisor where there is none (agent/services.py: Launcher)."""

    config: Config

    def start(self, job: str) -> None:
        """Start the transfer process of a job, unless it runs.

        Raises:
            InternalError: it cannot be started.
        """
        try:
            if self.config.launcher == "systemd":
                self._systemd(job)
            else:
                self._supervisor(job)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            why = f"the transfer process of job {job} cannot be started ({error})"
            raise InternalError(codes.INTERNAL, why=why) from error

    def trouble(self) -> str | None:
        """Say why it could start no transfer process; None: it could. Nothing is started."""
        try:
            if self.config.launcher == "systemd":
                state = _systemctl("show", "--property=LoadState", "--value", "vmferry-transfer@doctor.service")
                return None if state == "loaded" else f"systemd says of vmferry-transfer@.service: {state}"
            self._ask(StatusRequest())
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            asked = "systemd" if self.config.launcher == "systemd" else "vmferry-supervisor"
            return f"{asked} does not answer ({error})"
        return None

    def neglect(self) -> str | None:
        """Say why nothing would start this vmferryd again; None: something does, or it is not known."""
        try:
            if self.config.launcher == "systemd":
                state = _systemctl("is-enabled", "vmferryd.service")
                return None if state.startswith(("enabled", "static", "alias")) else f"its unit is {state or 'unknown'}"
            kept = supervision.is_kept(self._ask(StatusRequest()), os.getpid())
        except (OSError, ValueError, subprocess.SubprocessError):
            return None  # `trouble` tells
        if not kept:
            return "vmferry-supervisor keeps another vmferryd than the one that answers"
        return None

    def _systemd(self, job: str) -> None:
        done = subprocess.run(
            ["systemctl", "start", "--no-block", f"vmferry-transfer@{job}.service"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        if done.returncode != 0:
            raise ValueError(done.stderr.strip() or f"systemctl ended with {done.returncode}")

    def _supervisor(self, job: str) -> None:
        self._ask(StartRequest(job))

    def _ask(self, request: SupervisorRequest) -> dict[str, Any]:
        with localsockets.dial(str(self.config.run_folder / "supervisor.sock"), os.geteuid(), LIMIT) as connection:
            connection.settimeout(LIMIT)
            connection.sendall(supervision.write(request))
            with connection.makefile("rb") as lines:
                answer = load(lines.readline(64 << 10) or b"{}")
        if not isinstance(answer, dict) or not answer.get("ok"):
            said = answer.get("error") if isinstance(answer, dict) else None
            raise ValueError(str(said or "the supervisor gave no answer"))
        return dict(answer)


def _systemctl(*arguments: str) -> str:
    """Ask systemd for one word."""
    done = subprocess.run(
        ["systemctl", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return done.stdout.strip() or done.stderr.strip()
