"""`vmferry host restrict` and `unrestrict`: limit operators to some VMs and destinations."""

import click

from vmferry.cli.host.settings import show_change
from vmferry.cli.terminal import complete
from vmferry.cli.terminal.context import Command, CommandLine, pass_command_line
from vmferry.core.policy.restrictions import Restriction


@click.command(
    "restrict",
    cls=Command,
    example="vmferry host restrict ann --vm 'web*' --to kvm2\nvmferry host restrict @web --vm 'web*'",
)
@click.argument("who")
@click.option(
    "--vm", "vms", metavar="GLOB", multiple=True, required=True, help="VMs that they may move; may be repeated."
)
@click.option(
    "--to",
    metavar="GLOB",
    multiple=True,
    shell_complete=complete.hosts,
    help="Hosts to which they may move them; may be repeated. This host's name allows moves to it. Default: any.",
)
@pass_command_line
def restrict(cli: CommandLine, who: str, vms: tuple[str, ...], to: tuple[str, ...]) -> None:
    """Limit WHO, an operator, to some VMs and destinations. Limits that WHO already has stay.

    WHO is a user, @GROUP, or 'token NAME'. They still see all VMs. Operators without a limit may move every VM, and
    administrators are never limited. Each host has its own limits, and the destination checks its own, too.
    """
    client = cli.client()
    before = client.settings()
    answer = client.restrict(Restriction(who=who, vms=list(vms), to=list(to) or ["*"]))
    show_change(cli, before, answer, f"No changes: {who} already has this limit.")


@click.command("unrestrict", cls=Command, example="vmferry host unrestrict ann")
@click.argument("who")
@pass_command_line
def unrestrict(cli: CommandLine, who: str) -> None:
    """Remove all limits of WHO. An operator may then move every VM to any host, unless a group of theirs is limited."""
    client = cli.client()
    before = client.settings()
    show_change(cli, before, client.unrestrict(who), f"No changes: {who} has no limit on this host.")
