"""`vmferry host certificate`: this host's certificate of the site's authority."""

import click

from vmferry.cli.terminal.context import CommandLine, Group, pass_command_line
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
@pass_command_line
def request(cli: CommandLine, names: tuple[str, ...]) -> None:
    """Print a request for a certificate (PKCS #10, PEM) to be signed by the site's authority.

    The key is this host's own and does not leave it. The authority must keep the names and the usages (serverAuth and
    clientAuth) that are asked for.
    """
    made = cli.client().request_certificate(names)
    cli.message(f"A request for {', '.join(made.names)}; install what the authority makes of it.")
    if cli.json:
        show(cli, made, {})
    else:
        click.echo(made.request, nl=False)


@certificate.command("install", example="vmferry host certificate install kvm1-chain.pem")
@click.argument("chain", type=click.Path(dir_okay=False, allow_dash=True))
@pass_command_line
def install(cli: CommandLine, chain: str) -> None:
    """Use the certificate in CHAIN (PEM; -: standard input): this host's first, then the intermediate ones.

    It is looked at as other hosts would look at it. Paired hosts, and clients with this host's fingerprint, go on as
    before.
    """
    installed = cli.client().install_certificate(read_pem(chain))
    cli.message(f"Hosts of the site know this one as {installed.name} now.")
    _show(cli, installed)


@certificate.command("show", example="vmferry host certificate show")
@pass_command_line
def show_(cli: CommandLine) -> None:
    """Show this host's certificate of the site's authority."""
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
