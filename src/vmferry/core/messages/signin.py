"""Sign-in of a host for a user, in a domain that vouches for both: the messages before a move.

The source shows the destination a ticket for its migration service, obtained in the user's name, and a second one for
`cifs` if storage moves. All else in the same request is as good as the tickets: they are bound to the TLS connection,
so nobody else can be at its other end.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from vmferry.core.message import Base64, Document, Exact, Hex, Message
from vmferry.core.policy.settings import Authentication

Service = Literal["migration", "storage"]


def _known(tokens: Any) -> Any:
    """Drop tickets for services that only a newer release has."""
    if not isinstance(tokens, dict):
        return tokens
    return {service: token for service, token in tokens.items() if service in get_args(Service)}


Tokens = Annotated[dict[Service, Base64], BeforeValidator(_known)]
PASS_HEADER = "VMFerry-Pass"  # noqa: S105 (a header's name)


class SignIn(Message):
    """Source -> destination: this host acts for that user."""

    authentication: Authentication
    name: Exact = Field(max_length=64, description="of the source")
    reach: Exact = Field(
        max_length=300, description="its address: ADDRESS:PORT, or :PORT at the address that it calls from"
    )
    certificate: Document = Field(max_length=16 << 10, description="PEM; the source shows it from now on")
    proof: Base64 = Field(
        max_length=4096, description="base64; the TLS connection's channel binding, signed with its key"
    )
    tokens: Tokens = Field(description="base64; Kerberos messages made from the tickets")


class CredSspMessage(Message):
    """Source -> destination: one message of CredSSP; the first one names the host."""

    session: Exact = Field(default="", max_length=64, description="from the first answer")
    begin: SignIn | None = Field(default=None, description="in the first message: the host's sign-in, without tickets")
    token: Base64 = Field(description="base64")


class SignedIn(Message):
    """Destination -> source: the user that it recognised, and a secret that identifies the user in later requests."""

    name: Exact = Field(description="of the destination")
    tokens: Tokens = Field(description="base64; the answers of Kerberos, which prove that it is the right host")
    caller: Exact = Field(description="NAME@REALM of the user")
    secret: Hex = Field(description="hex; for that user, from that host, for some minutes")


class CredSspAnswer(Message):
    """Destination -> source: the answer to one message of CredSSP."""

    session: Exact
    token: Base64 = Field(description="base64; empty: the exchange is complete")
    done: SignedIn | None = Field(default=None, description="when the exchange is complete")
