"""How a host says for whom it asks, where the domain vouches for both: the values that cross before a move.

The source shows the destination a ticket for its migration service, got in the user's name, and where storage moves a
second one for `cifs`. What it says beside them in the same request is as good as the tickets: they are bound to the TLS
connection, so that nobody else can be at its other end.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vmferry.core.settings import Authentication

Service = Literal["migration", "storage"]
PASS_HEADER = "VMFerry-Pass"  # noqa: S105 (a header's name)


class SignIn(BaseModel):
    """Source -> destination: this host acts for that user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    authentication: Authentication
    name: str = Field(max_length=64, description="of the source")
    reach: str = Field(max_length=300, description="where it is reached: ADDRESS:PORT, or :PORT at where it calls from")
    certificate: str = Field(max_length=16 << 10, description="PEM; which it shows from now on")
    proof: str = Field(max_length=4096, description="base64; the TLS connection's channel binding, signed with its key")
    tokens: dict[Service, str] = Field(description="base64; what Kerberos makes of the tickets")


class Step(BaseModel):
    """Source -> destination: one message of CredSSP; the first says who comes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session: str = Field(default="", max_length=64, description="as the first answer gave it")
    begin: SignIn | None = Field(default=None, description="in the first: who the host is; without tickets")
    token: str = Field(description="base64")


class SignedIn(BaseModel):
    """Destination -> source: who it is taken for, and a word by which later requests are known to be for the user."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="of the destination")
    tokens: dict[Service, str] = Field(description="base64; Kerberos' answers, which show that it is the right host")
    caller: str = Field(description="NAME@REALM of the user")
    secret: str = Field(description="hex; for that user, from that host, for some minutes")


class Stepped(BaseModel):
    """Destination -> source: its answer to one message of CredSSP."""

    model_config = ConfigDict(frozen=True)

    session: str
    token: str = Field(description="base64; empty: there is no more to say")
    done: SignedIn | None = Field(default=None, description="when all has been said")
