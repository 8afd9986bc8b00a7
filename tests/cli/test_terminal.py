"""On a real terminal: the live display, Ctrl-C, the token that is not echoed."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT = 20.0
PROGRAM = """
import signal, sys
from vmferry.cli import context
from vmferry.cli.main import run
from tests.cli.fake import FakeClient, copying, DONE

# Whoever runs the tests in the background of a shell script has SIGINT ignored, and programs inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Daemon(FakeClient):
    def events(self, id, after=0):
        yield self.story[0]
        yield copying(42, 3.0)
        {then}
        yield DONE

daemon = Daemon()
context.connect = lambda: daemon
code = run({arguments})
print("calls", daemon.calls)
sys.exit(code)
"""


class Terminal:
    """A program with a terminal of its own."""

    def __init__(self, arguments: list[str], then: str) -> None:
        self._master, slave = os.openpty()
        self.seen = ""
        # setsid -c: the terminal becomes the one that Ctrl-C comes from and that passwords are read from.
        self.process = subprocess.Popen(
            ["setsid", "-c", "-w", sys.executable, "-c", PROGRAM.format(arguments=arguments, then=then)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "24"},
        )
        os.close(slave)

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + LIMIT
        while text not in self.seen:
            assert select.select([self._master], [], [], max(0.0, end - time.monotonic()))[0], self.seen
            try:
                self.seen += os.read(self._master, 65536).decode()
            except OSError:  # EIO: the program has gone
                raise AssertionError(self.seen) from None

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                break
            self.seen += data.decode()
        return self.process.wait(LIMIT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)
        os.close(self._master)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def test_move_is_drawn_live_and_leaves_the_summary(terminals: list[Terminal]) -> None:
    terminal = Terminal(["vm", "move", "web01", "kvm2"], then="")
    terminals.append(terminal)
    assert terminal.end() == 0
    assert "web01 runs on kvm2." in terminal.seen
    assert terminal.seen.count("\x1b[?25l") == terminal.seen.count("\x1b[?25h") == 1, "the cursor stays hidden"


def test_ctrl_c_leaves_the_terminal_and_the_move_alone(terminals: list[Terminal]) -> None:
    terminal = Terminal(["vm", "move", "web01", "kvm2"], then="signal.pause()")
    terminals.append(terminal)
    terminal.wait_for("42.0 %")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.seen)
    assert "web01 to kvm2" in plain
    assert "copying" in plain
    assert "300 MiB/s" in plain
    assert "3.0 s of about 10.0 s" in plain
    terminal.type("\x03")
    terminal.wait_for("vmferry job cancel 7f3a9c")
    assert terminal.end() == 130
    assert "'cancel'" not in terminal.seen
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l")


def test_token_is_not_echoed(terminals: list[Terminal]) -> None:
    terminal = Terminal(["host", "pair", "kvm2"], then="")
    terminals.append(terminal)
    terminal.wait_for("Token: ")
    terminal.type("VMF1-hidden\n")
    assert terminal.end() == 0
    before, _, after = terminal.seen.partition("calls")
    assert "VMF1-hidden" not in before
    assert "'pair', 'VMF1-hidden', 'kvm2'" in after
