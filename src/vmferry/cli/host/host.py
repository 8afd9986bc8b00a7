"""`vmferry host`: this host, and the hosts that it is paired with."""

import click

from vmferry.cli.host.certificate import certificate
from vmferry.cli.host.login import login, logout
from vmferry.cli.host.restrict import restrict, unrestrict
from vmferry.cli.host.settings import apply, lines, set_
from vmferry.cli.host.setup import setup
from vmferry.cli.host.token import token
from vmferry.cli.host.trust import trust
from vmferry.cli.terminal import complete
from vmferry.cli.terminal.context import CommandLine, Group, pass_command_line
from vmferry.cli.terminal.output import moment, show, show_list, show_secret
from vmferry.cli.terminal.secret import read_secret
from vmferry.client import Client
from vmferry.core import codes
from vmferry.core.errors import UnreachableError, UsageError
from vmferry.core.messages.api import Host, PairedHost


@click.group(cls=Group)
def host() -> None:
    """Show this host, set it up, and pair it with other hosts."""


for command in (setup, set_, restrict, unrestrict, apply, trust, certificate, token, login, logout):
    host.add_command(command)


@host.command("list", example="vmferry host list\nvmferry host list -o wide")
@pass_command_line
def list_(cli: CommandLine) -> None:
    """List the hosts that VMs can move to: paired hosts, and hosts of the site that this host has met."""
    show_list(
        cli,
        cli.client().hosts(),
        {
            "name": lambda host: host.name,
            "address": lambda host: host.address,
            "port": lambda host: str(host.port),
            "for": lambda host: _callers(host.callers),
            "known by": lambda host: host.known_by,
            "since": lambda host: moment(host.paired_at),
            "by": lambda host: host.paired_by,
        },
        more={"fingerprint": lambda host: host.fingerprint},
    )


@host.command("show", example="vmferry host show\nvmferry host show kvm2")
@click.argument("name", required=False, shell_complete=complete.hosts)
@pass_command_line
def show_(cli: CommandLine, name: str | None) -> None:
    """Show this host, or a paired host."""
    client = cli.client()
    own = client.host()
    if name is None or name == own.name:
        show(cli, own, _host(own))
        return
    found = next((peer for peer in client.hosts() if peer.name == name), None)
    if found is None:
        raise UsageError(codes.HOST_UNKNOWN, host=name, local=own.name)
    show(cli, found, _peer(found))


@host.command(
    "pair",
    example="kvm2$ vmferry host pair --invite\nkvm1$ vmferry host pair kvm2.example.com\nToken: ...",
)
@click.argument("other", required=False)
@click.option("--invite", is_flag=True, help="Create a token to use on the other host within 10 minutes.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Read the token from a file (-: standard input) instead of asking for it.",
)
@click.option(
    "--for",
    "callers",
    metavar="USER",
    multiple=True,
    help="User for whom the other host may move VMs to this one; may be repeated. Default: all users that it allows.",
)
@pass_command_line
def pair(cli: CommandLine, other: str | None, invite: bool, token_file: str | None, callers: tuple[str, ...]) -> None:
    """Pair this host with OTHER, so that VMs can move between them.

    One host creates a token (--invite), the other one asks for it on the terminal. The token works once. It is never
    read from the command line, where every user of the machine could see it.

    OTHER is HOST or HOST:PORT. Default: the address that the token names.
    """
    if invite:
        if other or token_file:
            raise click.UsageError(
                "--invite takes neither a host nor a token: the token that it creates works on any host"
            )
        _invite(cli, callers or ("*",))
        return
    client = cli.client()
    token = read_secret("Token", token_file, UsageError(codes.TOKEN_NEEDED))
    paired = _pair(cli, client, token, other, callers or ("*",))
    cli.message(f"This host and {paired.name} are paired.")
    show(cli, paired, _peer(paired))


@host.command("unpair", example="vmferry host unpair kvm2\nvmferry host unpair kvm2 --force")
@click.argument("name", shell_complete=complete.hosts)
@click.option("--force", is_flag=True, help="First cancel the moves in progress with it, even if it does not respond.")
@pass_command_line
def unpair(cli: CommandLine, name: str, force: bool) -> None:
    """Remove a paired host, and tell it to remove this one."""
    client = cli.client()
    cli.confirm(f"Unpair {name}? VMs can then no longer move between the two.")
    client.unpair(name, force=force)
    cli.message(f"{name} is no longer paired with this host.")


def _invite(cli: CommandLine, callers: tuple[str, ...]) -> None:
    client = cli.client()
    own = client.host()
    invitation = client.invite(callers)
    cli.message(
        f"Use this token on the other host, once, before {moment(invitation.expires_at)}:\n"
        f"  vmferry host pair {own.address}\n"
        "Anyone who has it can pair a host with this one: treat it as a password."
    )
    show_secret(cli, invitation, invitation.token)


def _pair(cli: CommandLine, client: Client, token: str, other: str | None, callers: tuple[str, ...]) -> PairedHost:
    try:
        return client.pair(token, other, callers)
    except UnreachableError as error:
        if other is None or error.code.name != codes.HOST_UNREACHABLE.name:
            raise
        # The token names an address and a certificate, so another address of the same host is as good.
        cli.message(f"{error.reason} Trying the address that the token names.")
        return client.pair(token, None, callers)


def _callers(callers: list[str]) -> str:
    return "any user" if callers == ["*"] else ", ".join(callers)


def _host(host: Host) -> dict[str, str]:
    return {
        "name": host.name,
        "version": host.version,
        "address": f"{host.address} port {host.port}",
        "certificate": f"SHA-256 {host.fingerprint}",
        **lines(host.settings),
        "disk folders": "\n".join(host.disk_folders),
    }


def _peer(host: PairedHost) -> dict[str, str]:
    return {
        "name": host.name,
        "address": f"{host.address} port {host.port}",
        "certificate": f"SHA-256 {host.fingerprint}",
        "may start moves for": _callers(host.callers),
        "known by": f"{host.known_by} since {moment(host.paired_at)}, by {host.paired_by}",
    }
