"""`vmferry host trust`: trust an authority of the site, instead of pairing each two hosts."""

import click

from vmferry.cli.terminal.context import CommandLine, Group, pass_command_line
from vmferry.cli.terminal.output import moment, show
from vmferry.cli.terminal.pem import read_pem
from vmferry.core.messages.siteapi import TrustAnswer, TrustRequest


@click.group(cls=Group)
def trust() -> None:
    """Trust the hosts that the site's authority certifies, without pairing."""


@trust.command(
    "set",
    example="vmferry host trust set /etc/ssl/kvm-ca.pem\n"
    "vmferry host trust set kvm-ca.pem --names '*.kvm.example.org' --for ann",
)
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--for",
    "callers",
    metavar="USER",
    multiple=True,
    help="User for whom hosts of the site may move VMs to this one; may be repeated. Default: all that they allow.",
)
@click.option(
    "--names",
    metavar="PATTERN",
    multiple=True,
    help="Trust only hosts with such names, e.g. '*.kvm.example.org'; may be repeated. Default: all.",
)
@pass_command_line
def set_(cli: CommandLine, file: str, callers: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Trust the authorities in FILE (PEM; -: standard input), instead of the previous ones.

    Every host that they certify, for TLS servers and clients, can then exchange VMs with this host like a paired host.
    So use an authority that certifies only your hosts, or use --names.
    """
    request = TrustRequest(certificates=read_pem(file), callers=list(callers) or ["*"], names=list(names) or ["*"])
    _show(cli, cli.client().set_trust(request))


@trust.command("show", example="vmferry host trust show")
@pass_command_line
def show_(cli: CommandLine) -> None:
    """Show which authorities are trusted, and what hosts of the site require before they accept this one."""
    _show(cli, cli.client().trust())


@trust.command("remove", example="vmferry host trust remove")
@pass_command_line
def remove(cli: CommandLine) -> None:
    """Stop trusting the authorities. Paired hosts stay paired."""
    client = cli.client()
    cli.confirm("Stop trusting the authorities? VMs can then move only to and from paired hosts.")
    client.remove_trust()
    cli.message("No authority is trusted now.")


def _show(cli: CommandLine, answer: TrustAnswer) -> None:
    for note in answer.notes:
        cli.message(note)
    lines = [f"{one.subject} until {moment(one.not_after)}, SHA-256 {one.fingerprint}" for one in answer.authorities]
    shown = {"authorities": "\n".join(lines) or "none"}
    if answer.authorities:
        shown["hosts"] = "all" if answer.names == ["*"] else ", ".join(answer.names)
        shown["may start moves for"] = "any user" if answer.callers == ["*"] else ", ".join(answer.callers)
        shown["set by"] = answer.set_by or "-"
    show(cli, answer, shown)
