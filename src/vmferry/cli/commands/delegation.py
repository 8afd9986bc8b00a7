"""`vmferry delegation`: which hosts may act for users at which other hosts, in the domain's directory.

The commands run where they are typed, with the Kerberos ticket of the user. They use neither vmferryd nor a host's key.
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
from vmferry.core.ad.delegation import ALL, Change, DelegationKind, DelegationLink, Delegations, DirectoryChange
from vmferry.core.errors import Exit, UsageError
from vmferry.directory import manage
from vmferry.directory import verify as verification
from vmferry.directory.connection import DirectoryConnector
from vmferry.identity.kerberos import HostKeys

_LATER = (
    "Domain controllers replicate this within minutes, some only within hours. Users whose ticket is older get a new "
    "one with `kdestroy` and `kinit`. To check the result: `vmferry delegation verify`."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
_both = click.option("--both", is_flag=True, help="Also for the other direction.")


def _connected(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for reaching the directory; the command gets a connector."""

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
            help="PEM file of the controllers' authority, for --ldaps. Default: those that this machine trusts.",
        ),
        click.option("--ldaps", is_flag=True, help="Use TLS on port 636 instead of Kerberos encryption on port 389."),
        click.option("--controller", metavar="NAME", help="Domain controller to use. Default: found in the DNS."),
    ):
        made = option(made)
    return made


@click.group(cls=Group)
def delegation() -> None:
    """Manage which host may act for users at which other host, in an Active Directory domain.

    These commands use your own Kerberos ticket (`kinit administrator`), on a host or a workstation.
    """


@delegation.command("show", example="vmferry delegation show\nvmferry delegation show kvm1 kvm2 --output json")
@click.argument("hosts", nargs=-1, metavar="[HOST]...", shell_complete=complete.hosts)
@pass_command_line
@_connected
def show_(cli: CommandLine, hosts: tuple[str, ...], connector: DirectoryConnector) -> None:
    """Show which host may act for users at which other host, for which service, and what is missing.

    With one HOST, show it with every other host. Without HOST, show all hosts that have the migration service.
    """
    with connector() as directory:
        found = manage.show(directory, hosts)
    if cli.json:
        show(cli, found, {})
        return
    _show_matrix(cli, found)
    for one in found.hosts:
        if one.unconstrained:
            cli.message(f"{one.name} may act for any user at any host (unconstrained delegation). Turn that off.")
        for fault in one.names:
            held = f", held by {' and '.join(fault.holders)}" if fault.holders else ""
            cli.message(
                f"The service name {fault.name} is {fault.fault}{held}. Run `vmferry delegation register {one.name}`."
            )


@delegation.command(
    "grant",
    example="vmferry delegation grant kvm1 kvm2 --both\n"
    "vmferry delegation grant kvm1 kvm2 --no-storage --kerberos-only --dry-run",
)
@click.argument("source", metavar="A", shell_complete=complete.hosts)
@click.argument("destination", metavar="B", shell_complete=complete.hosts)
@_both
@click.option("--no-storage", is_flag=True, help="Only for moves without storage.")
@click.option(
    "--kerberos-only",
    is_flag=True,
    help="Only for users who reach A with a Kerberos ticket, not through its unix socket.",
)
@click.option(
    "--resource-based",
    is_flag=True,
    help="Write it on B's account. Requires only the right to write there; applies to all services and any protocol.",
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

    Delegations that exist stay, whoever wrote them. Run again, the command changes nothing.
    """
    for option, given in (("--no-storage", no_storage), ("--kerberos-only", kerberos_only)):
        if resource_based and given:
            raise UsageError(codes.RESOURCE_OPTIONS, option=option)
    with connector() as directory, _printing(cli, dry_run) as on_change:
        for one, two in _directions(source, destination, both):
            manage.grant(
                directory,
                one,
                two,
                services=ALL[:1] if no_storage else ALL,
                any_protocol=not kerberos_only,
                resource_based=resource_based,
                on_change=on_change,
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
    """Remove what `grant` writes: host A may no longer act for users at host B. Nothing else is removed.

    "Any protocol" is removed with the last service that A's account lists.
    """
    with connector() as directory, _printing(cli, dry_run) as on_change:
        for one, two in _directions(source, destination, both):
            manage.revoke(directory, one, two, on_change=on_change, dry_run=dry_run)


@delegation.command("register", example="vmferry delegation register kvm2 --dry-run")
@click.argument("name", metavar="HOST", shell_complete=complete.hosts)
@_dry_run
@pass_command_line
@_connected
def register(cli: CommandLine, name: str, dry_run: bool, connector: DirectoryConnector) -> None:
    """Add the service names that HOST's account lacks. If another account has one, ask before it is moved."""
    with connector() as directory, _printing(cli, dry_run) as on_change:
        manage.register(directory, name, on_change=on_change, confirm=cli.confirm, dry_run=dry_run)


@delegation.command("verify", example="vmferry delegation verify kvm1 kvm2 --as operator --storage")
@click.argument("source", metavar="A", shell_complete=complete.hosts)
@click.argument("destination", metavar="B", shell_complete=complete.hosts)
@click.option("--as", "user", metavar="USER", required=True, help="User for whom A would act: NAME, or NAME@REALM.")
@click.option("--storage", is_flag=True, help="Also check what moves with storage require.")
@pass_command_line
@_connected
def verify(
    cli: CommandLine, source: str, destination: str, user: str, storage: bool, connector: DirectoryConnector
) -> None:
    """Verify that host A may act for USER at host B; if it may not, show why.

    The domain's directory can be read from anywhere. The KDC is tried only on A and as root, because that requires A's
    keys. Exit code 3 if a step failed.
    """
    local = config.load()
    keys = HostKeys(local.keytab, local.name)
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
def _printing(cli: CommandLine, dry_run: bool) -> Iterator[Callable[[Change], None]]:
    """Print each change as soon as it is made, so that the changes are known if a later one fails."""
    made: list[DirectoryChange] = []

    def on_change(change: Change) -> None:
        written = DirectoryChange.of(change)
        made.append(written)
        if not cli.json:
            click.echo(f"{written.account} ({written.place}), {written.attribute}:")
            for line in change.says:
                click.echo(f"  {line}")

    try:
        yield on_change
    finally:
        if cli.json:
            click.echo(json.dumps([one.model_dump(mode="json") for one in made], indent=2))
    if not made:
        cli.message("No changes.")
    elif dry_run:
        cli.message("Dry run: nothing was written.")
    else:
        cli.message(_LATER)


def _directions(source: str, destination: str, both: bool) -> Iterable[tuple[str, str]]:
    return ((source, destination), (destination, source)) if both else ((source, destination),)


def _show_matrix(cli: CommandLine, found: Delegations) -> None:
    show_list(
        cli,
        found.links,
        {
            "from": lambda link: link.source,
            "to": lambda link: link.destination,
            "service": lambda link: link.service,
            "kind": lambda link: "-" if link.kind is DelegationKind.NONE else link.kind.value,
            "protocol": lambda link: "-" if link.kind is DelegationKind.NONE else link.protocol.value,
            "missing": _missing,
        },
    )
    if not found.links:
        cli.message("Fewer than two hosts were found. Name the hosts to show.")


def _missing(link: DelegationLink) -> str:
    return "all" if link.kind is DelegationKind.NONE else ", ".join(link.missing) or "-"
