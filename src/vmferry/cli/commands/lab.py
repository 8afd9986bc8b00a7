"""`vmferry lab`: test hosts on one machine, to try vmferry without servers."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from vmferry.cli.terminal.context import CommandLine, Group, pass_command_line
from vmferry.cli.terminal.units import parsed
from vmferry.lab import domain, network, tree
from vmferry.lab.controller import Controller
from vmferry.lab.lab import MACHINE, Lab
from vmferry.lab.vms import play
from vmferry.lab.vms.demo import demo as run_demo

_NEWER = "trixie"
_PEOPLE = {person.name: one for one in (domain.TRUSTED, domain.HOME) for person in one.people}

_name = click.option(
    "--name", default="lab", show_default=True, metavar="NAME", help="Name of the lab; several labs may be up at once."
)


def _release(text: str) -> tuple[str, str]:
    host, _, release = text.partition("=")
    if not host or release not in tree.RELEASES:
        raise ValueError(f"{text} is not HOST=RELEASE with one of {', '.join(tree.RELEASES)}, such as kvm2=trixie")
    return host, release


@click.group(cls=Group)
def lab() -> None:
    """Run test hosts on this machine, to try vmferry (requires root)."""


@lab.command(
    "up",
    example="vmferry lab up --hosts 3 --bandwidth 1gbit\nvmferry lab up --release kvm2=trixie\nvmferry lab up --domain",
)
@_name
@click.option("--hosts", type=click.IntRange(1, 9), default=2, show_default=True, help="Number of hosts.")
@click.option(
    "--bandwidth", metavar="RATE", help="Bandwidth of the migration network, in the units of tc(8). Default: no limit."
)
@click.option(
    "--release",
    "releases",
    callback=parsed(_release),
    metavar="HOST=RELEASE",
    multiple=True,
    help="Use another Debian release than this machine's for a host, e.g. kvm2=trixie; may be repeated.",
)
@click.option("--domain", "with_domain", is_flag=True, help="Create an Active Directory domain with the hosts in it.")
@click.option(
    "--samba",
    type=click.Choice(["machine", "newer"]),
    default="machine",
    show_default=True,
    help="Samba of the domain controller: this machine's, or that of Debian 13 (implies --domain).",
)
@click.option("--trust", is_flag=True, help="Create a second domain that the first one trusts (implies --domain).")
@click.option(
    "--mirror",
    metavar="URL",
    help="Mirror from which another release is installed. Default: the mirror that this machine's apt uses.",
)
@click.option(
    "--bare", is_flag=True, help="Leave the hosts as they are after installation: not paired, and without a VM."
)
@pass_command_line
def up(
    cli: CommandLine,
    name: str,
    hosts: int,
    bandwidth: str | None,
    releases: Sequence[tuple[str, str]],
    with_domain: bool,
    samba: str,
    trust: bool,
    mirror: str | None,
    bare: bool,
) -> None:
    """Start the lab, or what is missing of it: paired hosts with migration enabled, and a VM, web01.

    A host of another release has that release's libvirt, QEMU and Python, and the same vmferry. Its root file system is
    created once, which takes a minute, and kept in /var/cache/vmferry-lab for all labs: docs/lab.md.
    """
    found = Lab.named(name)
    chosen = _NEWER if samba == "newer" else MACHINE if with_domain or trust else None
    found.up(hosts, bandwidth, dict(releases), chosen, mirror, cli.message, trust=trust, new=bare)
    which = "" if name == "lab" else f"--name {name} "
    look = "vmferry host show"
    if not bare:
        if not found.controllers:  # hosts of a domain know each other
            play.pair(found.hosts)
        if not any(host.vms() for host in found.hosts):
            cli.message(f"Starting {play.FIRST} on kvm1 ...")
            play.add(found, play.FIRST, found.host("kvm1"))
        look = f"vmferry vm move {play.FIRST} kvm2 --include-storage" if len(found.hosts) > 1 else "vmferry vm list"
    cli.message(f"The lab is up. Try: vmferry lab exec {which}kvm1 -- {look}")
    _show(cli, found)


@lab.group("vm", cls=Group)
def vm() -> None:
    """Create VMs in the lab."""


@vm.command("add", example="vmferry lab vm add db01\nvmferry lab vm add db01 --host kvm2 --memory 512 --disk 2048")
@_name
@click.argument("vm_name", metavar="VM")
@click.option("--memory", type=click.IntRange(64, 65536), default=256, show_default=True, metavar="MIB")
@click.option("--disk", type=click.IntRange(128, 1 << 20), default=1024, show_default=True, metavar="MIB")
@pass_command_line
def add(cli: CommandLine, name: str, vm_name: str, memory: int, disk: int) -> None:
    """Create a VM on kvm1, or on the host that --host names, and start it.

    It runs a small Linux that changes memory and writes to its disk all the time, so that a move has something to
    transfer. docs/lab.md describes how to use a VM of your own.
    """
    found = Lab.named(name)
    host = found.host(cli.host or "kvm1")
    play.add(found, vm_name, host, memory, disk)
    cli.message(f"{vm_name} runs on {host.name}.")


@lab.command("down", example="vmferry lab down")
@_name
@pass_command_line
def down(cli: CommandLine, name: str) -> None:
    """Stop the lab and remove all that it created, except for reusable files in /var/cache/vmferry-lab."""
    Lab.named(name).down()
    cli.message("The lab is down.")


@lab.command("status", example="vmferry lab status")
@_name
@pass_command_line
def status(cli: CommandLine, name: str) -> None:
    """Show the status of each host of the lab."""
    _show(cli, Lab.named(name))


@lab.command(
    "exec",
    example="vmferry lab exec kvm1 -- vmferry vm list\nvmferry lab exec --as operator kvm1 -- klist",
    context_settings={"ignore_unknown_options": True},
)
@_name
@click.option(
    "--as", "person", type=click.Choice(list(_PEOPLE)), help="With a new Kerberos ticket of this domain user."
)
@click.argument("where", metavar="HOST")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_command_line
def exec_(_cli: CommandLine, name: str, person: str | None, where: str, command: tuple[str, ...]) -> None:
    """Run a command on a host of the lab, or on its domain controller, dc, and return its exit code.

    With --as, the ticket is in a cache of its own, which is removed when the command ends. The command still runs as
    root on the host; services on the network see the ticket.
    """
    found = Lab.named(name)
    machine = found.machine(where)
    with ExitStack() as stack:
        ticket = None
        if person:
            ticket = stack.enter_context(Controller.of(found.layout, _PEOPLE[person]).ticket(person, machine))
        done = subprocess.run(machine.command(*command, environment=ticket), check=False)
    sys.exit(done.returncode)


@lab.command(
    "link", example="vmferry lab link migration --bandwidth 1gbit\nvmferry lab link migration --down --host kvm2"
)
@_name
@click.argument("link", type=click.Choice(["management", "migration"]))
@click.option("--bandwidth", metavar="RATE", help="In the units of tc(8), or `unlimited`.")
@click.option("--up/--down", "cable", default=None, help="Connect or disconnect the cable.")
@pass_command_line
def link_(cli: CommandLine, name: str, link: str, bandwidth: str | None, cable: bool | None) -> None:
    """Change a link while the hosts run: of one host (--host), or of all."""
    if bandwidth is None and cable is None:
        raise click.UsageError("Use --bandwidth, --up or --down.")
    found = Lab.named(name)
    if cli.host in domain.DOMAINS and link == "migration":
        raise click.UsageError(f"{cli.host} is connected only to the management network.")
    for one in [found.machine(cli.host)] if cli.host else found.hosts or [found.host("kvm1")]:
        if bandwidth:
            network.limit(found.layout, one.name, link, None if bandwidth == "unlimited" else bandwidth)
        if cable is not None:
            network.set_link(found.layout, one.name, link, up=cable)


@lab.command("demo", example="vmferry lab demo\nvmferry lab demo --keep")
@click.option("--name", default="demo", show_default=True, metavar="NAME", help="Lab to use; VMs in it are removed.")
@click.option("--keep", is_flag=True, help="Leave the lab up afterwards.")
@pass_command_line
def demo(_cli: CommandLine, name: str, keep: bool) -> None:
    """Move a busy VM with its disk from one host to another, and verify it."""
    sys.exit(run_demo(Lab.named(name), keep=keep))


def _show(cli: CommandLine, found: Lab) -> None:
    rows = found.status()
    if cli.json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    table = Table("HOST", "STATE", "RELEASE", "MANAGEMENT", "MIGRATION", "VMS", box=None, pad_edge=False)
    for row in rows:
        state, vms = "up" if row.up else "down", ", ".join(row.vms) or "-"
        release = f"{row.release} (Samba {row.samba})" if row.samba else row.release
        table.add_row(row.host, state, release, row.management, row.migration or "-", vms)
    Console().print(table if rows else "The lab is down.")
