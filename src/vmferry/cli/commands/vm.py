"""`vmferry vm`: list and move the VMs of this host."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import click
from rich.console import Console

from vmferry.cli.terminal import complete, output
from vmferry.cli.terminal.context import INTERRUPTED, CommandLine, Group, pass_command_line
from vmferry.cli.terminal.follow import Detached, detach, follow
from vmferry.cli.terminal.output import moment, show_list
from vmferry.cli.terminal.pick import newest_first
from vmferry.cli.terminal.report import show_report, warn
from vmferry.cli.terminal.secret import read_secret
from vmferry.cli.terminal.units import parse_rate, parse_seconds, parse_span, parsed, size
from vmferry.client import Client
from vmferry.core import codes
from vmferry.core.errors import AccessError, Exit, UsageError
from vmferry.core.job import Role, State
from vmferry.core.messages.api import Job
from vmferry.core.messages.finding import blocker, require_none
from vmferry.core.messages.offer import Artifact, MoveOptions, Report
from vmferry.core.messages.vm import VmDetail
from vmferry.core.options import Encryption, Performance
from vmferry.core.policy.settings import require_built

_Answer = TypeVar("_Answer")


def _disk_path(text: str) -> tuple[str, str]:
    target, _, path = text.partition("=")
    if not target or not path.startswith("/"):
        raise ValueError(f"{text} is not TARGET=PATH with an absolute path, such as vda=/srv/web01.qcow2")
    return target, path


def _mapping(text: str) -> tuple[str, str]:
    source, _, destination = text.partition("=")
    if not source or not destination:
        raise ValueError(f"{text} is not A=B, such as br0=br1, or br0=none")
    return source, destination


@click.group(cls=Group)
def vm() -> None:
    """List VMs and move them."""


@vm.command("list", example="vmferry vm list\nvmferry vm list -o name")
@pass_command_line
def list_(cli: CommandLine) -> None:
    """List the VMs of this host."""
    show_list(
        cli,
        cli.client().vms(),
        {
            "name": lambda vm: vm.name,
            "state": lambda vm: vm.state,
            "memory": lambda vm: size(vm.memory),
            "cpus": lambda vm: str(vm.vcpus),
            "autostart": lambda vm: "yes" if vm.autostart else "no",
            "uuid": lambda vm: vm.uuid,
        },
        more={"defined": lambda vm: "yes" if vm.persistent else "no"},
    )


@vm.command("show", example="vmferry vm show web01")
@click.argument("name", metavar="VM", shell_complete=complete.vms)
@pass_command_line
def show(cli: CommandLine, name: str) -> None:
    """Show a VM: its hardware, and the disks that would move with it."""
    client = cli.client()
    with _gone(cli, client, name):
        found = client.vm(name)
    output.show(cli, found, _describe(found))


def _move_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a move to a command: `vm check` accepts all that `vm move` accepts."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.argument("name", metavar="VM", shell_complete=complete.vms),
    click.argument("destination", shell_complete=complete.hosts),
    click.option(
        "--include-storage", is_flag=True, help="Move the disks too. Without it, both hosts must have access to them."
    ),
    click.option(
        "--storage-path",
        metavar="PATH",
        help="Folder for the disks on the destination. Default: the same as on the source.",
    ),
    click.option(
        "--disk",
        "disks",
        callback=parsed(_disk_path),
        metavar="TARGET=PATH",
        multiple=True,
        help="File for one disk on the destination, e.g. vda=/srv/web01.qcow2; may be repeated.",
    ),
    click.option(
        "--map-network",
        "networks",
        callback=parsed(_mapping),
        metavar="A=B",
        multiple=True,
        help="Connect network cards of network or bridge A to B on the destination; A=none leaves them unplugged. "
        "May be repeated.",
    ),
    click.option(
        "--performance",
        type=click.Choice([choice.value for choice in Performance]),
        default=Performance.TCP.value,
        help="How data is transferred. Default: tcp, the only one available so far.",
    ),
    click.option(
        "--encryption",
        type=click.Choice([choice.value for choice in Encryption]),
        default=Encryption.REQUIRED.value,
        help="Default: required. off needs both hosts to allow it (`vmferry host set --encryption optional`).",
    ),
    click.option(
        "--bandwidth",
        callback=parsed(parse_rate),
        metavar="RATE",
        help="Limit for the transfer of memory, per second: 100M (MiB), 800Mbit.",
    ),
    click.option(
        "--max-downtime",
        callback=parsed(parse_seconds),
        metavar="TIME",
        help="Longest pause of the guest: 300ms, 1s. Warns beforehand if the move would then not converge.",
    ),
    click.option(
        "--deadline",
        callback=parsed(parse_span),
        metavar="TIME",
        help="Finish within this time: 90s, 10m, 2h. The move is refused beforehand if that is unlikely, and cancelled "
        "if the time passes before the VM is handed over. The VM then continues to run on the source.",
    ),
    click.option(
        "--auto-converge",
        is_flag=True,
        help="Slow the guest down if it changes memory faster than the network can send it.",
    ),
    click.option(
        "--full-space",
        is_flag=True,
        help="Reserve the full size of the disks on the destination, not only what they hold now.",
    ),
    click.option("--keep-source-disks", is_flag=True, help="Keep the copied disks on the source, too."),
    click.option(
        "--remove-source-media",
        is_flag=True,
        help="Also remove read-only files and CD and floppy images from the source, if nothing else uses them.",
    ),
    click.option(
        "--password-file",
        metavar="FILE",
        help="For hosts that use CredSSP: file with your domain password, or - for standard input. Default: ask for it "
        "on the terminal.",
    ),
)


def _options(
    disks: tuple[tuple[str, str], ...],
    networks: tuple[tuple[str, str], ...],
    encryption: str,
    performance: str,
    **rest: Any,
) -> MoveOptions:
    made = MoveOptions(
        disk_paths=dict(disks),
        map_networks=dict(networks),
        encryption=Encryption(encryption),
        performance=Performance(performance),
        **rest,
    )
    require_built(made.performance)
    return made


@vm.command(
    "check",
    example="""
vmferry vm check web01 kvm2 --include-storage
vmferry vm check web01 kvm2 --include-storage --map-network br0=br-dmz
vmferry vm check web01 kvm2 --include-storage --predict
""",
)
@_move_options
@click.option("--predict", is_flag=True, help="Measure the network and the VM for some seconds, and predict the move.")
@pass_command_line
@click.pass_context
def check(
    ctx: click.Context,
    cli: CommandLine,
    /,
    name: str,
    destination: str,
    predict: bool,
    password_file: str | None,
    **rest: Any,
) -> None:
    """Check whether a move to DESTINATION would work. Nothing is changed.

    The checks are those that `vm move` runs. Exit code 3 if a problem blocks the move, 0 otherwise.

    --predict shows how long the move would take, how long the guest would pause, and whether the move would converge.
    --deadline and --max-downtime imply it. It measures for 2 to 11 seconds, longer on a slower network. It measures
    nothing while a move runs on either host.
    """
    options = _options(**rest)
    client = cli.client()
    measured = predict or options.needs_prediction

    def ask(password: str | None) -> Report:
        with _checking(cli, client, name, destination, measured=measured):
            return client.check(name, destination, options, predict=predict, password=password)

    report = _with_password(password_file, ask)
    show_report(cli, report, hint=not measured)
    if blocker(report.findings) is not None:
        ctx.exit(Exit.PREFLIGHT)


@vm.command(
    "move",
    example="""
vmferry vm move web01 kvm2 --include-storage
vmferry vm move web01 kvm2 --include-storage --storage-path /srv/vms --disk vdb=/fast/web01-db.qcow2
vmferry vm move web01 kvm2 --include-storage --map-network br0=br-dmz --dry-run
vmferry vm move web01 kvm2 --bandwidth 800Mbit --detach
vmferry vm move web01 kvm2 --deadline 10m --max-downtime 500ms
""",
)
@_move_options
@click.option("--dry-run", is_flag=True, help="Only check, and print the domain XML that the destination would use.")
@click.option("--no-wait", is_flag=True, help="Fail if one of the hosts has reached its limit of simultaneous moves.")
@click.option("--detach", "detached", is_flag=True, help="Print the job's identifier and do not wait for the move.")
@pass_command_line
@click.pass_context
def move(
    ctx: click.Context,
    cli: CommandLine,
    /,
    name: str,
    destination: str,
    dry_run: bool,
    no_wait: bool,
    detached: bool,
    password_file: str | None,
    **rest: Any,
) -> None:
    """Move a running VM to DESTINATION, a paired host.

    If one of the hosts has reached its limit of simultaneous moves, the move waits for its turn.

    The programs in the VM keep running; its network peers see a pause of a fraction of a second. If anything fails
    before the VM is handed over, it continues to run on the source. Ctrl-C stops watching; the move continues.
    """
    options = _options(**rest)
    client = cli.client()

    def check_only(password: str | None) -> Report:
        with _checking(cli, client, name, destination, measured=options.needs_prediction):
            return client.check(name, destination, options, password=password)

    def begin(password: str | None) -> Job:
        with _checking(cli, client, name, destination, measured=options.needs_prediction):
            return client.move(name, destination, options, wait=not no_wait, password=password)

    if dry_run:
        _print_dry_run(cli, _with_password(password_file, check_only))
        return
    try:
        job = _with_password(password_file, begin)
    except KeyboardInterrupt:
        cli.message("The request was already sent: `vmferry job list` shows whether the move has started.")
        ctx.exit(INTERRUPTED)
    warn(cli, job.warnings)
    if detached:
        detach(cli, job)
        if cli.json:
            output.show(cli, job, {})
        else:
            click.echo(job.id)
        return
    try:
        follow(cli, client, job)
    except Detached:
        detach(cli, job)
        ctx.exit(INTERRUPTED)


def _with_password(file: str | None, ask: Callable[[str | None], _Answer]) -> _Answer:
    """Send a request; if the host asks for the user's password (CredSSP), ask for it and send the request again."""
    if file is not None:
        return ask(read_secret("Password", file, AccessError(codes.PASSWORD_NEEDED, user="you", host="it")))
    try:
        return ask(None)
    except AccessError as error:
        if error.code is not codes.PASSWORD_NEEDED:
            raise
        return ask(read_secret(f"Password of {error.fields['user']}", None, error))


@contextmanager
def _checking(cli: CommandLine, client: Client, name: str, destination: str, *, measured: bool) -> Iterator[None]:
    """Show on a terminal that a check is running. If the VM is not on this host, print where it went."""
    console = Console(stderr=True)
    shown = not cli.json and not cli.quiet and console.is_terminal
    doing = f"Measuring {name} and the route to {destination}" if measured else f"Checking {name} on {destination}"
    with console.status(f"{doing}...") if shown else nullcontext(), _gone(cli, client, name):
        yield


@contextmanager
def _gone(cli: CommandLine, client: Client, name: str) -> Iterator[None]:
    """If the VM is not on this host, print which move took it away, if one did."""
    try:
        yield
    except UsageError as error:
        if error.code.name == codes.VM_UNKNOWN.name:
            away = [job for job in client.jobs() if job.vm == name and job.role is Role.SOURCE]
            done = [job for job in away if job.state is State.DONE and job.ended_at]
            for job in newest_first(done)[:1]:
                assert job.ended_at is not None
                cli.message(f"Job {job.id} moved {name} to {job.destination} at {moment(job.ended_at)}.")
        raise


def _print_dry_run(cli: CommandLine, report: Report) -> None:
    """Print the warnings of a report and the XML for the destination.

    Raises:
        VmferryError: a finding blocks the move.
    """
    require_none(report.findings)
    warn(cli, report.findings)
    if cli.json:
        output.show(cli, report, {})
    else:
        click.echo(report.live_xml)


def _describe(vm: VmDetail) -> dict[str, str]:
    return {
        "name": vm.name,
        "UUID": vm.uuid,
        "state": vm.state,
        "memory": size(vm.memory),
        "CPUs": str(vm.vcpus),
        "machine": vm.machine,
        "emulator": vm.emulator,
        "networks": ", ".join(vm.networks) or "none",
        "autostart": "yes" if vm.autostart else "no",
        "persistent": "yes" if vm.persistent else "no",
        "disks": "\n".join(_disk(disk) for disk in vm.disks) or "none",
    }


def _disk(disk: Artifact) -> str:
    sizes = f"{size(disk.virtual_size)}, {size(disk.allocated)} used"
    return f"{disk.target}: {disk.path} ({disk.format}, {sizes}{', read-only' if disk.readonly else ''})"
