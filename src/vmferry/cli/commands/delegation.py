"""`vmferry delegation`: who may act for users at which host, in the domain's directory.

It runs where it is typed, as whoever has a ticket there: no daemon is asked, and no host's key is used.
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from vmferry import config
from vmferry.cli.terminal import complete
from vmferry.cli.terminal.context import CommandLine, Group, pass_command_line
from vmferry.cli.terminal.output import show, show_list
from vmferry.core import codes
from vmferry.core.ad.delegation import ALL, Change, Delegations, Kind, Link, Written
from vmferry.core.errors import Exit, UsageError
from vmferry.directory import manage
from vmferry.directory import verify as verification
from vmferry.directory.connection import DirectoryConnector
from vmferry.identity.kerberos import HostKeys

_LATER = (
    "Domain controllers tell each other within minutes, some only within hours; a user whose own ticket is older gets "
    "a new one with `kdestroy` and `kinit`. See whether it works: `vmferry delegation verify`."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
_both = click.option("--both", is_flag=True, help="The other way, too.")


def _connected(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say how the directory is reached; the command gets a connector."""

    @functools.wraps(command)
    def wrapped(
        cli: CommandLine, /, *, controller: str | None, ldaps: bool, authority: str | None, **given: Any
    ) -> None:
        command(cli, connector=DirectoryConnector(controller, tls=ldaps, authority=authority), **given)

    made: Callable[..., None] = wrapped
    for option in (
        click.option(
            "--authority",
            type=click.Path(exists=True, dir_okay=False, resolve_path=True),
            help="PEM file of who certifies the controllers, for --ldaps. Default: whom this machine trusts.",
        ),
        click.option("--ldaps", is_flag=True, help="By TLS on port 636, not sealed by Kerberos on port 389."),
        click.option("--controller", metavar="NAME", help="Which domain controller to ask. Default: the DNS says."),
    ):
        made = option(made)
    return made


@click.group(cls=Group)
def delegation() -> None:
    """Say who may act for users at which host, in an Active Directory domain.

    These commands act with your own Kerberos ticket (`kinit administrator`), on a host or a workstation.
    """


@delegation.command("show", example="vmferry delegation show\nvmferry delegation show kvm1 kvm2 --output json")
@click.argument("hosts", nargs=-1, metavar="[HOST]...", shell_complete=complete.hosts)
@pass_command_line
@_connected
def show_(cli: CommandLine, hosts: tuple[str, ...], connector: DirectoryConnector) -> None:
    """Show which host may act for users at which other, for which service, and what is missing.

    With one HOST: to and from that one. With none: all whose computer account has the migration service.
    """
    with connector() as directory:
        found = manage.show(directory, hosts)
    if cli.json:
        show(cli, found, {})
        return
    _show_matrix(cli, found)
    for one in found.hosts:
        if one.unconstrained:
            cli.message(f"{one.name} may act for everybody everywhere (unconstrained delegation): turn that off.")
        for fault in one.names:
            held = f", {' and '.join(fault.holders)} have it" if fault.holders else ""
            cli.message(
                f"The service name {fault.name} is {fault.fault}{held}: `vmferry delegation register {one.name}`."
            )


@delegation.command(
    "grant",
    example="vmferry delegation grant kvm1 kvm2 --both\n"
    "vmferry delegation grant kvm1 kvm2 --no-storage --kerberos-only --dry-run",
)
@click.argument("source", metavar="A", shell_complete=complete.hosts)
@click.argument("destination", metavar="B", shell_complete=complete.hosts)
@_both
@click.option("--no-storage", is_flag=True, help="For moves without storage alone.")
@click.option("--kerberos-only", is_flag=True, help="Only for users who come to A with a ticket, not by its socket.")
@click.option(
    "--resource-based",
    is_flag=True,
    help="Write it on B's account: takes only the right to write there, and is for all services and any protocol.",
)
@_dry_run
@pass_command_line
@_connected
def grant(
    cli: CommandLine,
    source: str,
    destination: str,
    both: bool,
    no_storage: bool,
    kerberos_only: bool,
    resource_based: bool,
    dry_run: bool,
    connector: DirectoryConnector,
) -> None:
    """Let host A act for users at host B, so that they can move VMs from A to B.

    What is there already stays, whoever wrote it; given twice, it changes nothing.
    """
    for option, given in (("--no-storage", no_storage), ("--kerberos-only", kerberos_only)):
        if resource_based and given:
            raise UsageError(codes.RESOURCE_OPTIONS, option=option)
    with connector() as directory, _telling(cli, dry_run) as tell:
        for one, two in _ways(source, destination, both):
            manage.grant(
                directory,
                one,
                two,
                services=ALL[:1] if no_storage else ALL,
                any_protocol=not kerberos_only,
                resource_based=resource_based,
                tell=tell,
                dry_run=dry_run,
            )


@delegation.command("revoke", example="vmferry delegation revoke kvm1 kvm2 --both")
@click.argument("source", metavar="A", shell_complete=complete.hosts)
@click.argument("destination", metavar="B", shell_complete=complete.hosts)
@_both
@_dry_run
@pass_command_line
@_connected
def revoke(
    cli: CommandLine,
    source: str,
    destination: str,
    both: bool,
    dry_run: bool,
    connector: DirectoryConnector,
) -> None:
    """Let host A no longer act for users at host B: take away what `grant` writes, of either kind, and nothing else.

    "Any protocol" goes with the last service that A's account lists.
    """
    with connector() as directory, _telling(cli, dry_run) as tell:
        for one, two in _ways(source, destination, both):
            manage.revoke(directory, one, two, tell=tell, dry_run=dry_run)


@delegation.command("register", example="vmferry delegation register kvm2 --dry-run")
@click.argument("name", metavar="HOST", shell_complete=complete.hosts)
@_dry_run
@pass_command_line
@_connected
def register(cli: CommandLine, name: str, dry_run: bool, connector: DirectoryConnector) -> None:
    """Give HOST's account the service names that it lacks; take them from others that have them, after asking."""
    with connector() as directory, _telling(cli, dry_run) as tell:
        manage.register(directory, name, tell=tell, confirm=cli.confirm, dry_run=dry_run)


@delegation.command("verify", example="vmferry delegation verify kvm1 kvm2 --as operator --storage")
@click.argument("source", metavar="A", shell_complete=complete.hosts)
@click.argument("destination", metavar="B", shell_complete=complete.hosts)
@click.option("--as", "user", metavar="USER", required=True, help="For whom A would act: NAME, or NAME@REALM.")
@click.option("--storage", is_flag=True, help="For moves that take storage along, too.")
@pass_command_line
@_connected
def verify(
    cli: CommandLine, source: str, destination: str, user: str, storage: bool, connector: DirectoryConnector
) -> None:
    """See whether host A may act for USER at host B, and where it may not, why.

    What the domain's directory says is seen from everywhere. The KDC itself is tried on A as root alone: that takes
    A's keys. Exit code 3 when a step failed.
    """
    here = config.load()
    keys = HostKeys(here.keytab, here.name)
    services = ALL if storage else ALL[:1]
    found = verification.verify(connector, source, destination, user, services, keys)
    if cli.json:
        show(cli, found, {})
    else:
        show_list(
            cli,
            found.steps,
            {
                "step": lambda step: step.name,
                "state": lambda step: step.state.value,
                "code": lambda step: step.code or "-",
                "seen": lambda step: step.detail,
            },
        )
        for remedy in dict.fromkeys(step.remedy for step in found.steps if step.remedy):
            cli.message(remedy)
    if found.failed:
        cli.message(_LATER)
        click.get_current_context().exit(Exit.PREFLIGHT)


@contextmanager
def _telling(cli: CommandLine, dry_run: bool) -> Iterator[Callable[[Change], None]]:
    """Print changes as they are made, so that what was done is known where a later one fails."""
    made: list[Written] = []

    def tell(change: Change) -> None:
        written = Written.of(change)
        made.append(written)
        if not cli.json:
            click.echo(f"{written.account} ({written.place}), {written.attribute}:")
            for line in change.says:
                click.echo(f"  {line}")

    try:
        yield tell
    finally:
        if cli.json:
            click.echo(json.dumps([one.model_dump(mode="json") for one in made], indent=2))
    if not made:
        cli.message("Nothing is to be changed.")
    elif dry_run:
        cli.message("Nothing was written.")
    else:
        cli.message(_LATER)


def _ways(source: str, destination: str, both: bool) -> Iterable[tuple[str, str]]:
    return ((source, destination), (destination, source)) if both else ((source, destination),)


def _show_matrix(cli: CommandLine, found: Delegations) -> None:
    show_list(
        cli,
        found.links,
        {
            "from": lambda link: link.source,
            "to": lambda link: link.destination,
            "service": lambda link: link.service,
            "kind": lambda link: "-" if link.kind is Kind.NONE else link.kind.value,
            "protocol": lambda link: "-" if link.kind is Kind.NONE else link.protocol.value,
            "missing": _missing,
        },
    )
    if not found.links:
        cli.message("There are no two hosts to show: name them.")


def _missing(link: Link) -> str:
    return "all" if link.kind is Kind.NONE else ", ".join(link.missing) or "-"
