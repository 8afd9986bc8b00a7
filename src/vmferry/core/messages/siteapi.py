"""The messages of the HTTPS API about a site's authority: the authorities that a host trusts, and its certificate."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, JsonValue

from vmferry.core.message import Exact
from vmferry.core.messages.api import ApiAnswer, ApiRequest, Callers

# For documents alone: what is wrong with a text is told by whoever reads it, in a better sentence.
_PEM: dict[str, JsonValue] = {"pattern": "-----BEGIN CERTIFICATE-----"}


class TrustRequest(ApiRequest):
    """The authorities that vouch for hosts of the site."""

    certificates: str = Field(
        max_length=256 << 10, description="PEM of one or more authorities", json_schema_extra=_PEM
    )
    callers: Callers = Field(default=["*"], description="users for whom their hosts may move VMs here")
    names: Callers = Field(default=["*"], description="patterns; a host's name must match one, as in *.kvm.example.org")


class Authority(ApiAnswer):
    """An authority that a host trusts."""

    subject: str
    fingerprint: str = Field(description="SHA-256 of its certificate, hex")
    not_after: datetime


class TrustAnswer(ApiAnswer):
    """The authorities that vouch for hosts of the site."""

    authorities: list[Authority] = Field(description="empty: only paired hosts are known")
    callers: list[str] = Field(
        description="users for whom their hosts may move VMs here; * is any user that they accept"
    )
    names: list[str] = Field(description="patterns; a host's name must match one")
    set_by: str | None
    notes: list[str] = Field(description="what is missing before hosts of the site accept this one")


class CertificateNames(ApiRequest):
    """The names for a certificate."""

    names: list[Annotated[Exact, Field(min_length=1, max_length=253)]] = Field(
        default=[], max_length=100, description="empty: the host's own name"
    )


class CertificateRequest(ApiAnswer):
    """A request for the site's authority to sign."""

    request: str = Field(description="PEM (PKCS #10)")
    names: list[str]


class CertificateInstall(ApiRequest):
    """A signed certificate."""

    chain: str = Field(
        max_length=64 << 10,
        description="PEM: the host's certificate, then the intermediate ones",
        json_schema_extra=_PEM,
    )


class HostCertificate(ApiAnswer):
    """The certificate of a host from its site's authority."""

    name: str = Field(description="the name that the hosts of the site use for this one")
    names: list[str]
    fingerprint: str = Field(description="SHA-256, hex")
    issuer: str
    not_before: datetime
    not_after: datetime
