"""`vmferry host restrict` and `unrestrict`: to which VMs and destinations an operator is limited."""

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
    help="Hosts to which they may move them; may be repeated. This host's own name lets VMs come here. Default: any.",
)
@pass_command_line
def restrict(cli: CommandLine, who: str, vms: tuple[str, ...], to: tuple[str, ...]) -> None:
    """Limit WHO, an operator, to some VMs and destinations; at once, in addition to the limits that WHO has.

    WHO is a user, @ and a group, or 'token NAME'. They see all VMs as before. Who has no limit may move every VM, and
    administrators are never limited. Each host has its own limits: the destination looks at its own, too.
    """
    client = cli.client()
    before = client.settings()
    answer = client.restrict(Restriction(who=who, vms=list(vms), to=list(to) or ["*"]))
    show_change(cli, before, answer, f"No changes: {who} has this limit already.")


@click.command("unrestrict", cls=Command, example="vmferry host unrestrict ann")
@click.argument("who")
@pass_command_line
def unrestrict(cli: CommandLine, who: str) -> None:
    """Take all limits of WHO away: an operator may then move every VM to everywhere, as far as their groups allow."""
    client = cli.client()
    before = client.settings()
    show_change(cli, before, client.unrestrict(who), f"No changes: {who} has no limit on this host.")
