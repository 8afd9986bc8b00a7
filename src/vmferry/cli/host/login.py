"""`vmferry host login` and `logout`: hosts that this user reaches over the network, with a token."""

import click

from vmferry.cli.terminal import complete, logins
from vmferry.cli.terminal.context import Command, CommandLine, pass_command_line
from vmferry.cli.terminal.logins import SavedLogin
from vmferry.cli.terminal.output import show
from vmferry.cli.terminal.secret import read_secret
from vmferry.core import codes
from vmferry.core.errors import AccessError, UsageError
from vmferry.core.hostport import host_port


@click.command(
    "login",
    cls=Command,
    example="vmferry host login kvm1.example.org --fingerprint 9f8c...\nToken: ...\nvmferry --host kvm1 vm list",
)
@click.argument("address")
@click.option("--fingerprint", metavar="HEX", help="SHA-256 of the host's certificate; `host token create` shows it.")
@click.option(
    "--authority",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="PEM file of those who may certify the host, instead; its certificate must name ADDRESS.",
)
@click.option("--name", metavar="NAME", help="What --host will call it. Default: what it calls itself.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Read the token from a file (-: standard input) instead of asking for it.",
)
@pass_command_line
def login(
    cli: CommandLine,
    address: str,
    fingerprint: str | None,
    authority: str | None,
    name: str | None,
    token_file: str | None,
) -> None:
    """Keep a token for the host at ADDRESS (HOST or HOST:PORT), so that --host reaches it from here.

    An administrator makes the token on that host (`vmferry host token create`), which shows the line to use here. The
    token is asked for on the terminal and never taken from the command line. It is shown to the host only after the
    host has shown the right certificate, and kept in a file that is yours alone: ~/.config/vmferry/tokens.toml, or the
    file that $VMFERRY_TOKEN_FILE names.
    """
    if (fingerprint is None) == (authority is None):
        raise click.UsageError("Say how the host is known: --fingerprint or --authority.")
    plain = fingerprint.replace(":", "").lower() if fingerprint else None
    if plain is not None and (len(plain) != 64 or set(plain) - set("0123456789abcdef")):
        raise click.UsageError("--fingerprint takes the 64 hexadecimal digits of a SHA-256.")
    place, port = host_port(address, 6601)
    known = logins.load()  # before the question: it may be refused
    secret = read_secret("Token", token_file, UsageError(codes.API_TOKEN_NEEDED))
    made = SavedLogin(address=place, port=port, fingerprint=plain, authority=authority, token=secret)
    with made.client() as client:
        here = client.host()
    name = name or here.name
    logins.save(known | {name: made})
    cli.message(f"Use it from now on: vmferry --host {name} vm list")
    show(cli, here, {"name": here.name, "version": here.version, "address": f"{place} port {port}"})


@click.command("logout", cls=Command, example="vmferry host logout kvm1")
@click.argument("name", shell_complete=complete.logins)
@pass_command_line
def logout(cli: CommandLine, name: str) -> None:
    """Forget the token for a host. It holds until it expires; `vmferry host token revoke` on the host ends it."""
    known = logins.load()
    if name not in known:
        raise AccessError(codes.LOGIN_MISSING, host=name, path=str(logins.path()))
    logins.save({other: login for other, login in known.items() if other != name})
    cli.message(f"The token for {name} is forgotten here.")
