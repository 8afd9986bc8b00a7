"""`vmferry doctor`: examine this host, other hosts, and the routes between them."""

from collections.abc import Callable, Mapping, Sequence

import click

from vmferry import config
from vmferry.cli.terminal import complete, output
from vmferry.cli.terminal.context import Command, CommandLine, pass_command_line
from vmferry.core import codes
from vmferry.core.errors import Exit, UnreachableError
from vmferry.core.messages.diagnosis import HostReport, Matrix, PairReport
from vmferry.core.messages.finding import Finding, blocker
from vmferry.preflight.doctor import service

_WELL = "ok"
_SELF = "-"


@click.command(
    "doctor",
    cls=Command,
    example="""
vmferry doctor
vmferry doctor kvm2 kvm3
vmferry doctor --all --output json
""",
)
@click.argument("hosts", nargs=-1, metavar="[HOST]...", shell_complete=complete.hosts)
@click.option("--all", "every", is_flag=True, help="This host and all paired hosts.")
@pass_command_line
@click.pass_context
def doctor(ctx: click.Context, cli: CommandLine, hosts: tuple[str, ...], every: bool) -> None:
    """Examine this host. With HOSTs, also examine these paired hosts and every route between two of them.

    The routes are shown as a matrix, from the host of the row to the host of the column: ok, or the code of the first
    problem that prevents a move. The remedies follow below. Nothing is changed.
    Exit code 3 if a problem prevents moves, 0 otherwise. docs/doctor.md has all codes.
    """
    if hosts and every:
        raise click.UsageError("Name hosts or use --all, not both.")
    try:
        client = cli.client()
        if not hosts and not every:
            reports, matrix = [client.examine()], None
        else:
            names = list(hosts) or [host.name for host in client.hosts()]
            if names:
                cli.message(f"Examining this host, {', '.join(names)} and the routes between them.")
            else:
                cli.message("Examining this host. It knows no other host.")
            matrix = client.diagnose(names)
            reports = matrix.hosts
    except UnreachableError as error:
        if error.code.name != codes.DAEMON_UNREACHABLE.name:
            raise
        reports, matrix = [_unreachable(service.away(error))], None
    if matrix is None:
        _show_host(cli, reports[0])
    else:
        _show_matrix(cli, matrix)
    pairs = matrix.pairs if matrix else []
    found = [finding for one in reports for finding in one.findings] + [
        finding for pair in pairs for finding in pair.findings
    ]
    if blocker(found) is not None:
        ctx.exit(Exit.PREFLIGHT)


def _unreachable(finding: Finding) -> HostReport:
    """Return the report of a host whose vmferryd does not answer."""
    name = config.load().name
    untold = ["everything else: only vmferryd can check it"]
    return HostReport(name=name, vmferry="", libvirt="", qemu="", migration=None, findings=[finding], untold=untold)


def _show_host(cli: CommandLine, report: HostReport) -> None:
    if cli.json:
        output.show(cli, report, {})
        return
    output.show(cli, report, _facts(report))
    _show_findings(cli, [report])
    _sum_up(cli, [report], [])


def _show_matrix(cli: CommandLine, matrix: Matrix) -> None:
    if cli.json:
        output.show(cli, matrix, {})
        return
    _show_findings(cli, matrix.hosts)
    cells = {(pair.source, pair.destination): _cell(pair) for pair in matrix.pairs}
    names = [report.name for report in matrix.hosts]
    columns: dict[str, Callable[[HostReport], str]] = {"from \\ to": lambda report: report.name}
    for name in names:
        columns[name] = _column(cells, name)
    output.show_list(cli, matrix.hosts, columns)
    for pair in matrix.pairs:
        if pair.findings:
            worst = pair.findings[0]
            cli.message(f"{pair.source} to {pair.destination}: {worst.detail} {worst.remedy} ({worst.code})")
    _sum_up(cli, matrix.hosts, matrix.pairs)


def _column(cells: Mapping[tuple[str, str], str], to: str) -> Callable[[HostReport], str]:
    return lambda report: cells.get((report.name, to), _SELF)


def _facts(report: HostReport) -> dict[str, str]:
    migration = {True: "enabled", False: "disabled (`vmferry migration enable`)", None: "not known"}
    return {
        "host": report.name,
        "vmferry": report.vmferry or "not known",
        "libvirt": report.libvirt or "not known",
        "QEMU": report.qemu or "not known",
        "migration": migration[report.migration],
        **({"not checked": "\n".join(report.untold)} if report.untold else {}),
    }


def _show_findings(cli: CommandLine, reports: Sequence[HostReport]) -> None:
    rows = [_Row(host=report.name, **dict(finding)) for report in reports for finding in report.findings]
    if rows:
        output.show_list(
            cli,
            rows,
            {
                "host": lambda row: row.host,
                "code": lambda row: row.code,
                "severity": lambda row: row.severity.value,
                "seen": lambda row: row.source or row.destination or row.detail,
                "remedy": lambda row: row.remedy,
            },
        )


class _Row(Finding):
    """A finding with the name of its host."""

    host: str


def _cell(pair: PairReport) -> str:
    """Return the code of the first blocker; warnings do not count."""
    found = blocker(pair.findings)
    return found.code if found else _WELL


def _sum_up(cli: CommandLine, hosts: Sequence[HostReport], pairs: Sequence[PairReport]) -> None:
    ill = [report.name for report in hosts if blocker(report.findings) is not None]
    bad = [f"{pair.source} to {pair.destination}" for pair in pairs if blocker(pair.findings) is not None]
    if ill or bad:
        cli.message(f"Problems prevent moves: {', '.join(ill + bad)}.")
    else:
        cli.message("No problem prevents moves.")
