"""On a real terminal: the live display, Ctrl-C, the token that is not echoed."""

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LIMIT = 20.0
PROGRAM = """
import signal, sys
from vmferry.cli.terminal import context
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

    def __init__(
        self, arguments: list[str], then: str = "", columns: int = 100, environment: dict[str, str] | None = None
    ) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.seen = ""
        # setsid -c: the terminal becomes the one that Ctrl-C comes from and that passwords are read from.
        self.process = subprocess.Popen(
            ["setsid", "-c", "-w", sys.executable, "-c", PROGRAM.format(arguments=arguments, then=then)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "24"} | (environment or {}),
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
    assert terminal.seen.count("\x1b[?25l") == terminal.seen.count("\x1b[?25h") > 0, "the cursor stays hidden"


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


SECRET = "vmf1-" + "".join(chr(97 + number % 26) for number in range(300))


@pytest.mark.parametrize("columns", [20, 80])
@pytest.mark.parametrize("command", ["host pair --invite", "host token create --role operator"])
def test_secret_is_whole_on_a_line_of_its_own(terminals: list[Terminal], command: str, columns: int) -> None:
    terminal = Terminal(command.split(), columns=columns, environment={"VMFERRY_TEST_SECRET": SECRET})
    terminals.append(terminal)
    assert terminal.end() == 0
    assert f"\r\n{SECRET}\r\n" in terminal.seen


WORDS = {  # each command, and what of its output is there to be copied
    "host show": "cd" * 32,
    "host show kvm2": "ab" * 32,
    "host list": "10.77.0.2",
    "host trust show": "ef" * 32,
    "host certificate show": "ef" * 32,
    "host token list": "1f3a9c2e",
    "job list": "7f3a9c",
    "job show 7f3a9c": "7f3a9c",
    "audit list": "7f3a9c",
    "audit verify": "ab" * 32,
    "vm list": "db[1]",
}


@pytest.mark.parametrize("command", list(WORDS))
def test_nothing_is_cut(terminals: list[Terminal], command: str) -> None:
    terminal = Terminal(command.split(), columns=40)
    terminals.append(terminal)
    assert terminal.end() == 0
    assert "\u2026" not in terminal.seen
    assert WORDS[command] in terminal.seen


def test_no_color_holds_for_errors_and_the_bar(terminals: list[Terminal]) -> None:
    for arguments in (["vm", "fly"], ["vm", "move", "web01", "kvm2"]):
        for options, environment, wanted in (
            ([], {"NO_COLOR": "1"}, False),
            (["--color", "never"], {}, False),
            (["--color", "always"], {"NO_COLOR": "1"}, True),
        ):
            terminal = Terminal([*options, *arguments], environment=environment)
            terminals.append(terminal)
            terminal.end()
            coloured = re.search(r"\x1b\[(?:\d+;)*[349][0-7](?:;\d+)*m", terminal.seen) is not None
            assert coloured is wanted, (arguments, options, terminal.seen)


def test_a_job_is_one_line_of_80_columns(terminals: list[Terminal]) -> None:
    terminal = Terminal(["job", "list", "--limit", "0"], columns=80, environment={"VMFERRY_TEST_JOBS": "9"})
    terminals.append(terminal)
    assert terminal.end() == 0
    lines = terminal.seen.splitlines()
    assert len(lines) == 11
    assert ["copying files 42 %" in line and "d ago" in line for line in lines[1:10]].count(True) == 8


def test_the_list_is_watched_until_ctrl_c(terminals: list[Terminal]) -> None:
    terminal = Terminal(["job", "list", "--watch"])
    terminals.append(terminal)
    terminal.wait_for("web01")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l")


def test_something_is_seen_while_checks_run(terminals: list[Terminal]) -> None:
    for command in ("check", "move"):
        terminal = Terminal(["vm", command, "web01", "kvm2"])
        terminals.append(terminal)
        assert terminal.end() == 0
        assert "Checking web01 on kvm2..." in terminal.seen
