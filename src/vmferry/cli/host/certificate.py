"""`vmferry host certificate`: this host's certificate from the site's authority."""

import click

from vmferry.cli.terminal.context import CommandLine, Group, pass_command_line
from vmferry.cli.terminal.output import moment, show
from vmferry.cli.terminal.pem import read_pem
from vmferry.core.messages.siteapi import HostCertificate


@click.group(cls=Group)
def certificate() -> None:
    """Manage this host's certificate from the site's authority."""


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
    help="DNS name or address for the certificate; may be repeated. Default: the names of this host.",
)
@pass_command_line
def request(cli: CommandLine, names: tuple[str, ...]) -> None:
    """Print a certificate request (PKCS #10, PEM) for the site's authority to sign.

    The private key does not leave this host. The certificate must have the names and the key usages (serverAuth and
    clientAuth) of the request.
    """
    made = cli.client().request_certificate(names)
    cli.message(f"Request for {', '.join(made.names)}. Install the certificate that the authority issues for it.")
    if cli.json:
        show(cli, made, {})
    else:
        click.echo(made.request, nl=False)


@certificate.command("install", example="vmferry host certificate install kvm1-chain.pem")
@click.argument("chain", type=click.Path(dir_okay=False, allow_dash=True))
@pass_command_line
def install(cli: CommandLine, chain: str) -> None:
    """Install the certificates in CHAIN (PEM; -: standard input): this host's first, then intermediate ones.

    They are verified in the same way as other hosts verify them. Paired hosts, and clients that know this host by its
    fingerprint, are not affected.
    """
    installed = cli.client().install_certificate(read_pem(chain))
    cli.message(f"Hosts of the site now know this host as {installed.name}.")
    _show(cli, installed)


@certificate.command("show", example="vmferry host certificate show")
@pass_command_line
def show_(cli: CommandLine) -> None:
    """Show this host's certificate from the site's authority."""
    _show(cli, cli.client().certificate())


def _show(cli: CommandLine, certificate: HostCertificate) -> None:
    show(
        cli,
        certificate,
        {
            "known as": certificate.name,
            "names": ", ".join(certificate.names),
            "issued by": certificate.issuer,
            "valid": f"{moment(certificate.not_before)} to {moment(certificate.not_after)}",
            "certificate": f"SHA-256 {certificate.fingerprint}",
        },
    )
