"""`vmferry host certificate`: this host's certificate of the site's authority."""

import click

from vmferry.cli.terminal.context import Group, Settings, pass_settings
from vmferry.cli.terminal.output import moment, show
from vmferry.cli.terminal.pem import read_pem
from vmferry.core.messages.siteapi import HostCertificate


@click.group(cls=Group)
def certificate() -> None:
    """Show hosts of the site who this one is."""


@certificate.command(
    "request",
    example="vmferry host certificate request > kvm1.csr\n"
    "vmferry host certificate request --name kvm1.example.org --name 10.20.0.1",
)
@click.option(
    "--name",
    "names",
    metavar="NAME",
    multiple=True,
    help="DNS name or address that the certificate is to have; may be repeated. Default: what this host is called.",
)
@pass_settings
def request(settings: Settings, names: tuple[str, ...]) -> None:
    """Print a request for a certificate (PKCS #10, PEM) to be signed by the site's authority.

    The key is this host's own and does not leave it. The authority must keep the names and the usages (serverAuth and
    clientAuth) that are asked for.
    """
    made = settings.client().request_certificate(names)
    settings.message(f"A request for {', '.join(made.names)}; install what the authority makes of it.")
    if settings.json:
        show(settings, made, {})
    else:
        click.echo(made.request, nl=False)


@certificate.command("install", example="vmferry host certificate install kvm1-chain.pem")
@click.argument("chain", type=click.Path(dir_okay=False, allow_dash=True))
@pass_settings
def install(settings: Settings, chain: str) -> None:
    """Use the certificate in CHAIN (PEM; -: standard input): this host's first, then the intermediate ones.

    It is looked at as other hosts would look at it. Paired hosts, and clients with this host's fingerprint, go on as
    before.
    """
    installed = settings.client().install_certificate(read_pem(chain))
    settings.message(f"Hosts of the site know this one as {installed.name} now.")
    _show(settings, installed)


@certificate.command("show", example="vmferry host certificate show")
@pass_settings
def show_(settings: Settings) -> None:
    """Show this host's certificate of the site's authority."""
    _show(settings, settings.client().certificate())


def _show(settings: Settings, certificate: HostCertificate) -> None:
    show(
        settings,
        certificate,
        {
            "known as": certificate.name,
            "names": ", ".join(certificate.names),
            "issued by": certificate.issuer,
            "valid": f"{moment(certificate.not_before)} to {moment(certificate.not_after)}",
            "certificate": f"SHA-256 {certificate.fingerprint}",
        },
    )
