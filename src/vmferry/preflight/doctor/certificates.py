"""Certificates of a host and of its paired hosts: whether one can be used, and for how long."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Check
from vmferry.preflight.doctor.health import CertificateHealth, Health

SOON = timedelta(days=30)


def dates(name: str, certificate: CertificateHealth, now: datetime, *, own: bool = True) -> Iterator[Finding]:
    """Check the dates of a certificate.

    Arguments:
        name: whose it is.
        own: False if it is the certificate of the other host of a pair.
    """

    def seen(what: str) -> tuple[str, str]:
        return (what, "") if own else ("", what)

    begins, ends = certificate.begins, certificate.ends
    if begins is not None and now < begins:
        yield Finding.blocks(codes.CERTIFICATE_EARLY, seen(f"valid from {begins:%F}"), host=name, date=f"{begins:%F}")
    if ends is not None and ends <= now:
        yield Finding.blocks(codes.CERTIFICATE_EXPIRED, seen(f"expired {ends:%F}"), host=name, date=f"{ends:%F}")
    elif ends is not None and ends - now <= SOON:
        days = (ends - now).days
        yield Finding.warns(
            codes.CERTIFICATE_EXPIRES, seen(f"expires {ends:%F}"), host=name, date=f"{ends:%F}", days=days
        )


def _certificates(health: Health) -> Iterator[Finding]:
    certificate = health.certificate
    if certificate.trouble is not None:
        yield Finding.blocks(
            codes.CERTIFICATE_UNUSABLE,
            (certificate.trouble, ""),
            host=health.name,
            why=certificate.trouble,
            path=certificate.path,
        )
    yield from dates(health.name, certificate, health.now)


CERTIFICATES = Check(
    _certificates,
    {
        codes.CERTIFICATE_UNUSABLE: "host.pem or host.key was changed, removed, or restored without the other.",
        codes.CERTIFICATE_EARLY: "A clock is far behind, or was when the certificate was made.",
        codes.CERTIFICATE_EXPIRED: "vmferry's own certificates do not expire: this one was put in its place.",
        codes.CERTIFICATE_EXPIRES: "vmferry's own certificates do not expire: this one was put in its place.",
    },
)
