"""The whole of the command line: how it fails, and what every command has."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from tests.cli.conftest import Run
from tests.cli.fake import FakeClient

from vmferry.cli import reference
from vmferry.cli.main import run, top
from vmferry.cli.terminal import context
from vmferry.cli.terminal.pick import newest_first
from vmferry.core import codes
from vmferry.core.errors import UnreachableError

DOCS = Path(__file__).parents[2] / "docs"
NOUNS = ("host", "vm", "job")


def every_command(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, f"{path} {name}".strip())
        else:
            yield f"{path} {name}".strip(), command


@pytest.mark.parametrize("path", [path for path, _ in every_command(top)])
def test_every_command_has_help_with_an_example(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path.split(), "--help"]) == 0
    out = capsys.readouterr().out
    example = out.partition("Example:\n")[2]
    assert f"vmferry {path}" in example
    assert "--output" in out


@pytest.mark.parametrize("name", list(reference.PAGES))
def test_reference_pages_are_true(name: str) -> None:
    assert (DOCS / name).read_text() == reference.page(DOCS / name), "run `python -m vmferry.cli.reference`"


def test_page_without_its_mark_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "errors.md").write_text("mine\n")
    with pytest.raises(ValueError, match="mark"):
        reference.page(tmp_path / "errors.md")


def test_daemon_away(tmp_path: Path) -> None:
    (tmp_path / "vmferry.toml").write_text(f'run_folder = "{tmp_path}"\n')
    done = subprocess.run(
        [sys.executable, "-m", "vmferry.cli.main", "vm", "list"],
        env={**os.environ, "VMFERRY_CONFIG": str(tmp_path / "vmferry.toml")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith(f"Error: vmferryd does not answer at {tmp_path}/api.sock: ")
    assert done.stderr.endswith("Start it: `systemctl start vmferryd`. (daemon-unreachable)\n")


def test_configuration_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("VMFERRY_CONFIG", str(tmp_path / "none.toml"))
    assert run(["vm", "list"]) == 2
    assert "(config-invalid)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["vm"], ["host"], ["job"]])
def test_nothing_asked_for_shows_the_help(vmferry: Run, arguments: list[str]) -> None:
    code, out, err = vmferry(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: vmferry" in err


@pytest.mark.parametrize("arguments", [["fly"], ["vm", "fly"], ["vm", "show"], ["vm", "list", "--nope"]])
def test_wrong_command_line_is_usage(vmferry: Run, arguments: list[str]) -> None:
    code, out, err = vmferry(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert "(command-line)" in err


@pytest.mark.parametrize("option", [["--output", "json"], ["--output=json"]])
def test_program_gets_a_problem_even_for_a_command_line_that_cannot_be_read(vmferry: Run, option: list[str]) -> None:
    for arguments in ([*option, "vm", "fly"], ["vm", "list", "--nope", *option]):
        code, out, err = vmferry(*arguments)
        assert (code, out) == (2, "")
        problem = json.loads(err)["problem"]
        assert (problem["code"], problem["exit_code"]) == ("command-line", 2)


def test_host_is_this_one_or_one_with_a_token(vmferry: Run) -> None:
    assert vmferry("--host", "kvm1", "vm", "list")[0] == 0
    assert vmferry("vm", "list", "--host", "localhost")[0] == 0
    code, out, err = vmferry("vm", "list", "--host", "kvm2")
    assert (code, out) == (4, "")
    assert "has no token for kvm2" in err
    assert "vmferry host login" in err
    assert "(login-missing)" in err


def test_host_of_the_environment(vmferry: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMFERRY_HOST", "kvm2")
    assert "has no token for kvm2" in vmferry("vm", "list")[2]
    assert vmferry("vm", "list", "--host", "kvm1")[0] == 0


def test_connection_is_closed(vmferry: Run, daemon: FakeClient) -> None:
    vmferry("vm", "list")
    assert daemon.calls == [("close",)]


def test_version(vmferry: Run) -> None:
    code, out, _ = vmferry("--version")
    assert code == 0
    assert out.startswith("vmferry ")
    assert vmferry("version")[:2] == (0, out)


def test_words_of_other_programs(vmferry: Run, daemon: FakeClient) -> None:
    assert vmferry("vm", "ls")[:2] == vmferry("vm", "list")[:2]
    assert vmferry("vm", "migrate", "web01", "kvm2", "--detach")[0] == 0
    assert vmferry("help", "vm", "list")[1] == vmferry("vm", "list", "--help")[1]
    assert vmferry("help")[1] == vmferry("--help")[1]


def test_short_options(vmferry: Run) -> None:
    assert vmferry("vm", "list", "-o", "json") == vmferry("vm", "list", "--output", "json")
    for option in (["-o", "json"], ["-ojson"]):
        assert json.loads(vmferry(*option, "vm", "fly")[2])["problem"]["code"] == "command-line"


def test_names_alone(vmferry: Run, daemon: FakeClient) -> None:
    assert vmferry("vm", "list", "-o", "name") == (0, "web01\ndb[1]\n", "")
    assert vmferry("-o", "name", "host", "list") == (0, "kvm2\n", "")
    jobs = [job.id for job in newest_first(daemon.jobs())]
    assert vmferry("job", "list", "-o", "name") == (0, "".join(f"{job}\n" for job in jobs), "")
    assert vmferry("vm", "show", "web01", "-o", "name")[1] == "web01\n"
    assert vmferry("vm", "move", "web01", "kvm2", "-q", "-o", "name")[1] == "7f3a9c\n"


def test_a_wide_table_has_more_columns_and_breaks_no_line(vmferry: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for noun, column in (("vm", "DEFINED"), ("host", "FINGERPRINT"), ("job", "PAUSE")):
        usual, wide = (vmferry(noun, "list", *more)[1].splitlines() for more in ([], ["-o", "wide"]))
        assert column in wide[0]
        assert column not in usual[0]
        assert len(wide) == len(usual)


def test_a_table_without_its_first_line(vmferry: Run) -> None:
    whole = vmferry("vm", "list")[1].splitlines()
    bare = vmferry("vm", "list", "--no-headers")[1].splitlines()
    assert [line.split() for line in bare] == [line.split() for line in whole[1:]]


def test_quiet_leaves_data_and_errors(vmferry: Run, daemon: FakeClient) -> None:
    assert vmferry("host", "pair", "--invite", "-q") == (0, "VMF1-secret\n", "")
    code, out, err = vmferry("vm", "move", "web01", "kvm2", "--quiet")
    assert (code, err) == (0, "")
    assert out.startswith("web01 runs on kvm2.\n")
    assert "(command-line)" in vmferry("-q", "vm", "fly")[2]


def test_question_mark_ends_the_sentence(vmferry: Run) -> None:
    assert vmferry("vm", "lst")[2] == (
        "Error: No such command 'lst'. Did you mean 'list'?\nSee `vmferry vm --help`. (command-line)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "incomplete", "expected"),
    [
        ([], "v", ["version", "vm"]),
        (["vm", "show"], "", ["web01", "db[1]"]),
        (["vm", "move"], "we", ["web01"]),
        (["vm", "move", "web01"], "", ["kvm2"]),
        (["host", "unpair"], "k", ["kvm2"]),
        (["job", "watch"], "", ["7f3a9c"]),
        (["job", "logs"], "7", ["7f3a9c"]),
        (["vm", "list", "-o"], "n", ["name"]),
        (["vm", "list"], "--no-h", ["--no-headers"]),
        (["job", "cancel"], "8", []),
        (["host", "token", "revoke"], "", ["ci"]),
        (["--host", "localhost", "vm", "show"], "we", ["web01"]),
    ],
)
def test_completion_knows_names(daemon: FakeClient, arguments: list[str], incomplete: str, expected: list[str]) -> None:
    complete = BashComplete(top, {}, "vmferry", "_VMFERRY_COMPLETE")
    assert [item.value for item in complete.get_completions(arguments, incomplete)] == expected


def test_completion_is_silent_when_the_daemon_is_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def connect() -> FakeClient:
        raise UnreachableError(codes.DAEMON_UNREACHABLE, address="here", why="away")

    monkeypatch.setattr(context, "connect", connect)
    complete = BashComplete(top, {}, "vmferry", "_VMFERRY_COMPLETE")
    assert complete.get_completions(["vm", "show"], "") == []
    assert capsys.readouterr() == ("", "")


def test_workstation_needs_no_native_parts() -> None:
    """Without libvirt, and without what only the daemon needs, everything but the lab works."""
    script = (
        "import sys\n"
        "absent = ('libvirt', 'cryptography', 'fastapi', 'uvicorn', 'vmferry.cli.commands.lab')\n"
        "sys.modules.update(dict.fromkeys(absent))\n"
        "from vmferry.cli.main import run\n"
        "assert run(['--help']) == 0\n"
        "assert run(['vm', 'move', '--help']) == 0\n"
        "sys.exit(run(['lab', 'up', '--hosts', '3']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "(lab-missing)" in done.stderr
    assert "Traceback" not in done.stderr


def test_reader_that_goes_away_is_no_error() -> None:
    script = (
        "import sys\n"
        "from vmferry.cli.main import run\n"
        "sys.stdout.reconfigure(line_buffering=False)\n"
        "code = [run(['--help']) for _ in range(2000)][-1]\n"
        "sys.exit(code)\n"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.readline()
    command.stdout.close()
    said = command.stderr.read()
    command.stderr.close()
    command.wait(60)
    assert "Traceback" not in said
    assert "Exception ignored" not in said
