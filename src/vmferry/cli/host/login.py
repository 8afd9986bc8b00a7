"""`vmferry host login` and `logout`: tokens for hosts that the user reaches over the network."""

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
@click.option(
    "--fingerprint", metavar="HEX", help="SHA-256 of the host's certificate, as shown by `host token create`."
)
@click.option(
    "--authority",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="PEM file of the host's authority, instead of a fingerprint; the certificate must name ADDRESS.",
)
@click.option("--name", metavar="NAME", help="Name for --host. Default: the host's own name.")
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
    """Save a token for the host at ADDRESS (HOST or HOST:PORT), so that --host can reach it from here.

    An administrator creates the token on that host with `vmferry host token create`, which prints the command to run
    here. The token is read on the terminal, never from the command line. It is sent only after the host has shown the
    right certificate, and saved in a file that only you can read: ~/.config/vmferry/tokens.toml, or the file that
    $VMFERRY_TOKEN_FILE names.
    """
    if (fingerprint is None) == (authority is None):
        raise click.UsageError("Use either --fingerprint or --authority.")
    plain = fingerprint.replace(":", "").lower() if fingerprint else None
    if plain is not None and (len(plain) != 64 or set(plain) - set("0123456789abcdef")):
        raise click.UsageError("--fingerprint takes the 64 hexadecimal digits of a SHA-256.")
    name_or_address, port = host_port(address, 6601)
    known = logins.load()  # before the question: it may be refused
    secret = read_secret("Token", token_file, UsageError(codes.API_TOKEN_NEEDED))
    made = SavedLogin(address=name_or_address, port=port, fingerprint=plain, authority=authority, token=secret)
    with made.client() as client:
        found = client.host()
    name = name or found.name
    logins.save(known | {name: made})
    cli.message(f"The token is saved. Use it like this: vmferry --host {name} vm list")
    show(cli, found, {"name": found.name, "version": found.version, "address": f"{name_or_address} port {port}"})


@click.command("logout", cls=Command, example="vmferry host logout kvm1")
@click.argument("name", shell_complete=complete.logins)
@pass_command_line
def logout(cli: CommandLine, name: str) -> None:
    """Remove the saved token for a host. The token stays valid; `vmferry host token revoke` on the host ends it."""
    known = logins.load()
    if name not in known:
        raise AccessError(codes.LOGIN_MISSING, host=name, path=str(logins.path()))
    logins.save({other: login for other, login in known.items() if other != name})
    cli.message(f"The saved token for {name} is removed.")
