"""Every vmferry command line in the documents is one that the program understands."""

import re
import shlex
from pathlib import Path

import click
import pytest

from vmferry.cli.main import top

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "packaging" / "README.md", *(ROOT / "docs").glob("*.md")])


def command_lines(page: Path) -> list[str]:
    """Return the command lines of a page: those in its blocks, and in its text those with all their words."""
    text = page.read_text()
    blocks = re.findall(r"^ {4,}(?:\S+[#$] )?(vmferry .*)$", text, re.MULTILINE)
    inline = re.findall(r"`(vmferry [^`\n]*)`", text)
    return [
        re.split(r"\s+#|\s*[;|>]|\s&&", line)[0] for line in blocks + inline if "{" not in line and "NOUN" not in line
    ]


def understood(line: str) -> str | None:
    """Return what is wrong with a command line; None: nothing."""
    words = shlex.split(line.replace("...", ""))[1:]
    command: click.Command = top
    with click.Context(top) as ctx:
        while isinstance(command, click.Group):
            options = {name: option for option in command.params for name in option.opts + option.secondary_opts}
            while words and words[0].startswith("-"):
                name = words.pop(0).partition("=")[0]
                if name in ("--help", "-h"):
                    return None
                if name not in options:
                    return f"{name} is no option"
                if not getattr(options[name], "is_flag", False) and words:
                    words.pop(0)
            if not words:
                return None  # a group by itself, in a sentence
            found = [command.get_command(ctx, word) for word in re.split(r"\|", words.pop(0))]
            if None in found:
                return "there is no such command"
            command = found[0]  # type: ignore[assignment]
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help", "-h"}
    if "--" in words:
        words = words[: words.index("--")]
    wrong = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"{wrong} are no options" if wrong else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_of_the_documents_are_understood(page: Path) -> None:
    assert {line: wrong for line in command_lines(page) if (wrong := understood(line))} == {}


def test_a_wrong_line_is_found() -> None:
    assert understood("vmferry vm move web01 kvm2 --no-such-option")
    assert understood("vmferry vm fly")
    assert understood("vmferry vm move web01 kvm2 --include-storage") is None
