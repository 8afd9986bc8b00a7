"""Starts transfer processes, in a place of their own: what ends vmferryd must not end them."""

import json
import socket
import subprocess
from dataclasses import dataclass

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import InternalError

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
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(LIMIT)
            connection.connect(str(self.config.run_folder / "supervisor.sock"))
            connection.sendall(json.dumps({"do": "start", "job": job}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline(64 << 10) or b"{}")
        if not answer.get("ok"):
            raise ValueError(str(answer.get("error", "the supervisor gave no answer")))
