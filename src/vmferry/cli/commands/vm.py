"""`vmferry vm`: the VMs of this host, and moving them."""

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
        raise ValueError(f"{text} is not TARGET=PATH with a whole path, such as vda=/srv/web01.qcow2")
    return target, path


def _mapping(text: str) -> tuple[str, str]:
    here, _, there = text.partition("=")
    if not here or not there:
        raise ValueError(f"{text} is not A=B, such as br0=br1, or br0=none")
    return here, there


@click.group(cls=Group)
def vm() -> None:
    """See VMs and move them."""


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
    """Show a VM: what it has, and which disks would move with it."""
    client = cli.client()
    with _gone(cli, client, name):
        found = client.vm(name)
    output.show(cli, found, _describe(found))


def _move_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what a move can be told: `vm check` takes all that `vm move` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.argument("name", metavar="VM", shell_complete=complete.vms),
    click.argument("destination", shell_complete=complete.hosts),
    click.option("--include-storage", is_flag=True, help="Move its disks too; without it, both hosts must see them."),
    click.option("--storage-path", metavar="PATH", help="Folder for the disks there. Default: the same as here."),
    click.option(
        "--disk",
        "disks",
        callback=parsed(_disk_path),
        metavar="TARGET=PATH",
        multiple=True,
        help="File for one disk there, e.g. vda=/srv/web01.qcow2; may be repeated.",
    ),
    click.option(
        "--map-network",
        "networks",
        callback=parsed(_mapping),
        metavar="A=B",
        multiple=True,
        help="What is on network or bridge A here goes on B there; A=none leaves it unplugged. May be repeated.",
    ),
    click.option(
        "--performance",
        type=click.Choice([choice.value for choice in Performance]),
        default=Performance.TCP.value,
        help="How the bytes travel. Default: tcp, the only one yet.",
    ),
    click.option(
        "--encryption",
        type=click.Choice([choice.value for choice in Encryption]),
        default=Encryption.REQUIRED.value,
        help="Default: required; off only where both hosts' encryption is optional (`vmferry host set`).",
    ),
    click.option(
        "--bandwidth",
        callback=parsed(parse_rate),
        metavar="RATE",
        help="At most this much a second for memory: 100M (MiB), 800Mbit.",
    ),
    click.option(
        "--max-downtime",
        callback=parsed(parse_seconds),
        metavar="TIME",
        help="How long the guest may pause: 300ms, 1s. Says beforehand if the copying would then come to no end.",
    ),
    click.option(
        "--deadline",
        callback=parsed(parse_span),
        metavar="TIME",
        help="Be done so long after this command: 90s, 10m, 2h. Refused beforehand if that is not to be expected; "
        "given up when the time is over and the VM is not handed over yet: it then runs on here.",
    ),
    click.option("--auto-converge", is_flag=True, help="Slow the guest down when it writes faster than can be sent."),
    click.option("--full-space", is_flag=True, help="Set the disks' whole size aside there, not what they hold now."),
    click.option("--keep-source-disks", is_flag=True, help="Leave the copied disks on this host, too."),
    click.option(
        "--remove-source-media",
        is_flag=True,
        help="Remove also read-only files and CD and floppy images from this host, if nobody else uses them.",
    ),
    click.option(
        "--password-file",
        metavar="FILE",
        help="Where hosts use CredSSP: a file with your password in the domain, or - for standard input, in place of "
        "the question on the terminal.",
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
@click.option(
    "--predict", is_flag=True, help="Measure network and VM for some seconds, and say how long the move would take."
)
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
    """See whether a move to DESTINATION would work, and change nothing.

    Runs the checks that `vm move` runs. Exit code 3 when something is in the way, 0 otherwise.

    With --predict (always so with --deadline or --max-downtime), says how long the move would take and the guest
    would pause, and whether the copying of its memory would come to an end at all. That is measured, for 2 to 11
    seconds: the slower the network, the longer. Nothing is measured while a move runs on either host.
    """
    options = _options(**rest)
    client = cli.client()
    measured = predict or options.foretold

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
@click.option("--dry-run", is_flag=True, help="Only check, and print the XML that the destination would start.")
@click.option("--no-wait", is_flag=True, help="Fail when one of the hosts takes part in as many moves as it may.")
@click.option("--detach", "detached", is_flag=True, help="Print the job's id and do not wait for it.")
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

    While one of the hosts takes part in as many moves as it may, the move waits for its turn.

    Its programs keep running; its network peers see a pause of a fraction of a second. If anything goes wrong
    before the very end, the VM runs on where it is. Ctrl-C stops watching; the move goes on.
    """
    options = _options(**rest)
    client = cli.client()

    def rehearse(password: str | None) -> Report:
        with _checking(cli, client, name, destination, measured=options.foretold):
            return client.check(name, destination, options, password=password)

    def begin(password: str | None) -> Job:
        with _checking(cli, client, name, destination, measured=options.foretold):
            return client.move(name, destination, options, wait=not no_wait, password=password)

    if dry_run:
        _rehearse(cli, _with_password(password_file, rehearse))
        return
    try:
        job = _with_password(password_file, begin)
    except KeyboardInterrupt:
        cli.message("The request was on its way: `vmferry job list` shows whether the move has begun.")
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
    """Ask a daemon, and once more with the user's password where it takes one (CredSSP)."""
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
    """Show on a terminal what takes so long; where a VM is not here, say where it went."""
    console = Console(stderr=True)
    shown = not cli.json and not cli.quiet and console.is_terminal
    doing = f"Measuring {name} and the way to {destination}" if measured else f"Checking {name} on {destination}"
    with console.status(f"{doing}...") if shown else nullcontext(), _gone(cli, client, name):
        yield


@contextmanager
def _gone(cli: CommandLine, client: Client, name: str) -> Iterator[None]:
    """Where a VM is not on this host, say which move took it away, if one did."""
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


def _rehearse(cli: CommandLine, report: Report) -> None:
    """Do as a move would, up to the point where it would begin.

    Raises:
        VmferryError: a finding that blocks the move.
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
