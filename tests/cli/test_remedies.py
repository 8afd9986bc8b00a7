"""Whatever is advised can be done as it is written: each command is read by what it is a command of."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from vmferry.cli.main import top
from vmferry.core.errors import VmferryError

BIN = Path(sys.executable).parent
SOURCE = Path(__file__).parents[2] / "src" / "vmferry"
# What stands for a thing of the reader's in a sentence, and something like it.
WORDS = {
    "N": "3",
    "SUBNET": "10.9.0.0/24",
    "HERTZ": "2000000000",
    "{subnet}": "10.9.0.0/24",
    "{job}": "0123456789ab",
    "{there}": "kerberos",  # of a setting, in the one remedy that has it
    "ROLE": "operator",
    "USER=NAME@REALM": "web=web@EXAMPLE.ORG",
}
_COMMAND = re.compile(r"`([^`]+)`")
_VIRSH = re.compile(r"\bvirsh (?:-c \S+ )?([a-z]+(?:-[a-z]+)*)((?: [^`;,]*)?)")
_OPTION = re.compile(r"(?<![\w`-])(--[a-z][a-z-]+)")


def _texts() -> Iterator[tuple[str, str]]:
    """Yield every text of the program, with where it is; what is filled in stands as {}."""
    for file in sorted(SOURCE.rglob("*.py")):
        where = str(file.relative_to(SOURCE))
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "{x}" for part in node.values]
                yield where, "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield where, node.value
            elif isinstance(node, ast.List):
                words = [str(word.value) if isinstance(word, ast.Constant) else "{x}" for word in node.elts]
                if words[:1] in (["virsh"], ["vmferry"]):  # a command line for shlex.join
                    yield where, f"`{' '.join(words)}`"


def _of_remedies() -> list[tuple[str, str]]:
    """Return each command of a remedy, with its code."""
    found = ((name, command) for name, text in _remedies() for command in _COMMAND.findall(text) if " " in command)
    return list(found)


def _of_texts() -> list[str]:
    """Return what looks like one of vmferry's commands in any other text; it may be cut short there."""
    found = {command for _where, text in _texts() for command in _COMMAND.findall(text)}
    found -= {command for _code, command in _of_remedies()}
    return sorted(command for command in found if command.startswith("vmferry ") and command[8] != "{")


def _remedies() -> Iterator[tuple[str, str]]:
    yield from ((name, code.remedy) for name, (_kind, code) in sorted(VmferryError.registry.items()))


def _filled(command: str) -> list[str]:
    """Return a command's words, with something in each place that is the reader's to fill."""
    text = re.sub(r"\{[a-z_]+\}", lambda match: WORDS.get(match[0], "x"), command)
    return [WORDS.get(word, word) for word in shlex.split(text)]


class NoWordsError(click.UsageError):
    """A group of commands is named, and none of them."""


def parse(words: list[str]) -> None:
    """Have the command line's own parser read a command; nothing is run.

    Raises:
        click.UsageError: it is none.
    """
    command: click.Command = top
    context = click.Context(command, info_name="vmferry")
    words = words[1:]
    while isinstance(command, click.Group):
        _options_of_group, words, _order = command.make_parser(context).parse_args(words)
        if not words:
            raise NoWordsError(command.name or "")
        name, inner, words = command.resolve_command(context, words)
        assert inner is not None
        command, context = inner, click.Context(inner, info_name=name, parent=context)
    command.make_context(context.info_name, words, parent=context.parent)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CA.pem", "CHAIN.pem", "FILE", "x"):
        (tmp_path / name).touch()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("code", "command"), [one for one in _of_remedies() if one[1].startswith("vmferry ")])
def test_the_command_line_takes_each_command_of_a_remedy(code: str, command: str) -> None:
    words = _filled(command)
    if words[-1] == "...":  # the command that was tried, with more options
        with pytest.raises(NoWordsError):
            parse(words[:-1])
    else:
        parse(words)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("command", _of_texts())
def test_the_command_line_has_each_command_that_a_text_names(command: str) -> None:
    try:
        parse([word for word in _filled(command) if word != "..."])
    except (click.MissingParameter, NoWordsError):
        pass  # a command is named there, not written out


def test_a_command_that_there_is_not_is_found() -> None:
    for wrong in ("vmferry vm mvoe x y", "vmferry vm move --nosuch x y", "vmferry job watch"):
        with pytest.raises(click.UsageError):
            parse(wrong.split())


@cache
def _help(command: str) -> str:
    done = subprocess.run(["virsh", "help", command], capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout


def _virsh() -> list[tuple[str, str]]:
    """Return virsh's commands with what follows each, from every text."""
    found: set[tuple[str, str]] = set()
    for _name, text in [*_remedies(), *_texts()]:
        for command in _COMMAND.findall(text):
            found |= {(match[0], match[1].strip()) for match in _VIRSH.findall(command)}
        found |= {(match[0], "") for match in _VIRSH.findall(_COMMAND.sub("", text)) if "-" in match[0]}
    return sorted(found)


@pytest.mark.skipif(shutil.which("virsh") is None, reason="virsh is not installed")
@pytest.mark.parametrize(("command", "rest"), _virsh())
def test_virsh_has_each_command_and_option_that_is_advised(command: str, rest: str) -> None:
    said = _help(command)
    assert said, f"virsh has no {command}"
    for option in _OPTION.findall(rest):
        assert option in said, f"virsh {command} has no {option}"


def test_there_are_commands_to_look_at() -> None:
    assert len(_of_remedies()) > 60
    assert len(_virsh()) > 25


# Programs of the system that remedies name, besides those of which every command is read above.
PROGRAMS = {
    *("adcli", "ausearch", "chmod", "chown", "chronyc", "dpkg", "fuser", "groupadd", "hostnamectl", "install", "ip"),
    *("journalctl", "kinit", "make", "mkdir", "modprobe", "mv", "net", "nft", "openssl", "ping", "pip", "qemu-img"),
    *("realm", "repadmin", "rm", "rpm", "samba-tool", "sysctl", "systemctl", "timedatectl", "vmferryd"),
}
NOT_PROGRAMS = {"--controller", "-copy_extensions", "fragmentation", "{command}"}
_UNITS = {"vmferryd", "libvirtd", "vmferry-transfer@{job}"}


def _words(command: str) -> Iterator[list[str]]:
    for part in re.split(r" \| | && ", command):
        yield shlex.split(part)


def test_no_other_program_is_advised_than_those_that_are_known() -> None:
    named = {words[0] for _code, command in _of_remedies() for words in _words(command)}
    assert named - {"vmferry", "virsh"} - NOT_PROGRAMS == PROGRAMS


def test_units_and_own_programs_are_called_as_they_are() -> None:
    for _code, command in _of_remedies():
        for words in _words(command):
            if words[0] in ("systemctl", "journalctl"):
                units = [word for word in words[1:] if not word.startswith("-")]
                assert set(units[words[0] == "systemctl" :]) <= _UNITS, command
            if words[0] == "vmferryd":
                assert (
                    subprocess.run([str(BIN / words[0]), *words[1:]], capture_output=True, check=False).returncode == 0
                )
            if words[0] == "qemu-img":
                said = subprocess.run([*words[:2], "--help"], capture_output=True, text=True, check=False).stdout
                assert words[1] in said
                assert all(word in said for word in words if word.startswith("--")), command


def _options(command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _options(inner)
    for parameter in command.params:
        yield from (name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--"))


def test_each_option_that_is_advised_is_one() -> None:
    known = set(_options(top))
    for name, (_kind, code) in VmferryError.registry.items():
        for option in _OPTION.findall(_COMMAND.sub("", code.remedy)):
            assert option in known, f"{name}: {option}"
