"""The manual page of `vmferry`, generated from the help of the commands (man-pages(7), groff_man(7))."""

from collections.abc import Iterator

import click

from vmferry import __version__
from vmferry.cli.main import top
from vmferry.cli.terminal.context import global_options

_HEAD = f"""\
.TH VMFERRY 1 "" "vmferry {__version__}" "vmferry"
.SH NAME
vmferry \\- move running virtual machines between standalone KVM hosts
.SH SYNOPSIS
.B vmferry
.I COMMAND
[\\fIARGUMENTS\\fR] [\\fIOPTIONS\\fR]
.SH OPTIONS
Every command accepts these options, before or after the name of the command.
"""
_TAIL = """\
.SH EXIT STATUS
0 success, 1 failure, 2 usage error, 3 a check found a problem, 4 access denied, 5 a host does not answer, 6 cancelled,
130 interrupted by Ctrl\\-C.
.SH ENVIRONMENT
.TP
.B VMFERRY_HOST
the host to manage if \\-\\-host is not given
.TP
.B VMFERRY_CONFIG
the configuration file to use instead of /etc/vmferry/vmferry.toml
.TP
.B VMFERRY_TOKEN_FILE
the token file to use instead of ~/.config/vmferry/tokens.toml
.TP
.B NO_COLOR
if set, output has no colours
.SH SEE ALSO
.BR virsh (1)
"""


def page() -> str:
    """Return the page in groff's man macros."""
    general = global_options()
    parts = [_HEAD, *_options(general), ".SH COMMANDS\n"]
    names = {option.name for option in general}
    with click.Context(top, info_name="vmferry") as ctx:
        for path, command in _commands(top, ctx, ()):
            arguments = [one.make_metavar(ctx) for one in command.params if isinstance(one, click.Argument)]
            own = [one for one in command.params if isinstance(one, click.Option) and one.name not in names]
            words = " ".join(["vmferry", *path, *arguments, *(["[OPTIONS]"] if own else [])])
            parts.append(f".SS {_roff(words)}\n{_text(command.help or '')}")
            parts += _options(own)
    return "".join([*parts, _TAIL])


def _commands(
    group: click.Group, ctx: click.Context, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(ctx):
        found = group.get_command(ctx, name)
        if isinstance(found, click.Group):
            yield from _commands(found, ctx, (*path, name))
        elif found is not None and not found.hidden:
            yield (*path, name), found


def _options(options: list[click.Parameter] | list[click.Option]) -> Iterator[str]:
    for option in options:
        assert isinstance(option, click.Option)
        spelled = ", ".join([*option.opts, *option.secondary_opts])
        value = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
        yield f".TP\n.B {_roff(spelled)}{_roff(value)}\n{_text(option.help or '')}"


def _text(text: str) -> str:
    """Return text as paragraphs of the page."""
    paragraphs = [" ".join(part.split()) for part in text.replace("\b", "").split("\n\n")]
    return "".join(f"{'.PP' if number else ''}\n{_roff(part)}\n" for number, part in enumerate(paragraphs)).lstrip("\n")


def _roff(text: str) -> str:
    """Escape characters that groff would interpret."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain
