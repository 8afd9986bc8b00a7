"""`vmferry network`: the networks that moves use."""

import click

from vmferry.cli.terminal import complete
from vmferry.cli.terminal.context import CommandLine, Group, pass_command_line
from vmferry.cli.terminal.output import show, show_list
from vmferry.core.messages.api import NetworkChange, SettingsAnswer

_priority = click.option(
    "--priority",
    type=click.IntRange(0, 9999),
    metavar="N",
    help="Networks with lower numbers are tried first. Default for a new network: 100.",
)


@click.group(cls=Group)
def network() -> None:
    """Choose the networks that moves use."""


@network.command("list", example="vmferry network list")
@pass_command_line
def list_(cli: CommandLine) -> None:
    """List the networks in the order in which they are tried, with this host's addresses in each."""
    client = cli.client()
    show_list(
        cli,
        client.networks(),
        {
            "subnet": lambda network: network.subnet,
            "priority": lambda network: str(network.priority),
            "addresses": lambda network: ", ".join(network.addresses) or "none",
        },
    )
    if not cli.json:
        any_network = client.settings().any_network
        cli.message("Any other network may be used too." if any_network else "No other network is used.")


@network.command("add", example="vmferry network add 10.20.0.0/24 --priority 10\nvmferry network add fd20::/64")
@click.argument("subnet")
@_priority
@pass_command_line
def add(cli: CommandLine, subnet: str, priority: int | None) -> None:
    """Add a network to the list: a subnet, or one address of this host.

    It takes effect with the next move. Listed networks are tried in the order of their priority. After
    `vmferry host set --only-listed-networks`, no other network is used.
    """
    answer = cli.client().add_network(subnet, priority)
    _tell(cli, answer)


@network.command("set", example="vmferry network set 10.20.0.0/24 --priority 5")
@click.argument("subnet", shell_complete=complete.networks)
@_priority
@click.option("--subnet", "other", metavar="SUBNET", help="New subnet.")
@pass_command_line
def set_(cli: CommandLine, subnet: str, priority: int | None, other: str | None) -> None:
    """Change the priority or the subnet of a listed network."""
    if priority is None and other is None:
        raise click.UsageError("Use --priority or --subnet.")
    _tell(cli, cli.client().set_network(subnet, NetworkChange(subnet=other, priority=priority)))


@network.command("remove", example="vmferry network remove 10.20.0.0/24")
@click.argument("subnet", shell_complete=complete.networks)
@pass_command_line
def remove(cli: CommandLine, subnet: str) -> None:
    """Remove a network from the list."""
    _tell(cli, cli.client().remove_network(subnet))


def _tell(cli: CommandLine, answer: SettingsAnswer) -> None:
    for note in answer.notes:
        cli.message(note)
    listed = ", ".join(f"{network.subnet} ({network.priority})" for network in answer.settings.networks)
    show(cli, answer, {"networks": listed or "none"})
