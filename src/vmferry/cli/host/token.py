"""`vmferry host token`: API tokens for users and programs on other machines."""

import click
from pydantic import ValidationError

from vmferry.cli.terminal import complete
from vmferry.cli.terminal.context import CommandLine, Group, pass_command_line
from vmferry.cli.terminal.output import moment, show_list, show_secret
from vmferry.cli.terminal.units import parse_span, parsed
from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.hostport import bracketed
from vmferry.core.message import fault
from vmferry.core.messages.api import TokenRequest
from vmferry.core.redaction import token_identifier


@click.group(cls=Group)
def token() -> None:
    """Manage API tokens, with which users and programs on other machines use this host."""


@token.command(
    "create",
    example="vmferry host token create --role operator --expires 30d --name ci\n"
    "ws$ vmferry host login kvm1.example.org --fingerprint 9f8c...",
)
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator", "administrator"]),
    required=True,
    help="A viewer may see everything, an operator also move VMs, an administrator also change settings.",
)
@click.option(
    "--expires",
    "expires_in",
    metavar="TIME",
    default="30d",
    callback=parsed(parse_span),
    help="How long it is valid: 12h, 30d; at most 366d. Default: 30d.",
)
@click.option("--name", metavar="NAME", help="Name of its holder in the audit log. Default: its identifier.")
@pass_command_line
def create(cli: CommandLine, role: str, expires_in: float, name: str | None) -> None:
    """Create a token. It is shown once; the host keeps only a hash of it.

    The command that is shown with it contains no secret. It names this host and its certificate; it asks for the token.
    """
    try:
        request = TokenRequest.model_validate({"role": role, "expires_in": int(expires_in), "name": name})
    except ValidationError as error:
        raise UsageError(codes.BAD_REQUEST, detail=fault(error)) from error
    made = cli.client().create_token(request)
    address = bracketed(made.address)
    port = "" if made.port == 6601 else f":{made.port}"
    cli.message(
        f"Valid until {moment(made.expires_at)}. Where it is to be used, run this command, which asks for it:\n"
        f"  vmferry host login {address}{port} --fingerprint {made.fingerprint}\n"
        f"Anyone who has it is {role} of this host: treat it as a password. "
        f"`vmferry host token revoke {made.id}` revokes it."
    )
    show_secret(cli, made, made.token)


@token.command("list", example="vmferry host token list")
@pass_command_line
def list_(cli: CommandLine) -> None:
    """List the tokens. Tokens that have ended are listed for thirty days."""
    show_list(
        cli,
        cli.client().tokens(),
        {
            "id": lambda token: token.id,
            "name": lambda token: token.name,
            "role": lambda token: token.role,
            "state": lambda token: token.state,
            "expires": lambda token: moment(token.expires_at),
            "created": lambda token: moment(token.created_at),
            "by": lambda token: token.created_by,
        },
        more={
            "revoked": lambda token: moment(token.revoked_at) if token.revoked_at else "-",
            "revoked by": lambda token: token.revoked_by or "-",
        },
    )


@token.command("revoke", example="vmferry host token revoke ci")
@click.argument("word", metavar="TOKEN", shell_complete=complete.tokens)
@pass_command_line
def revoke(cli: CommandLine, word: str) -> None:
    """Revoke a TOKEN, by its identifier, its name or the token itself. Moves that it has started continue."""
    word = token_identifier(word)
    cli.client().revoke_token(word)
    cli.message(f"The token {word} is revoked.")
