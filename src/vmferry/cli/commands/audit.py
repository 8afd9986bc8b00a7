"""`vmferry audit`: the audit log of this host."""

import click

from vmferry.cli.terminal import complete
from vmferry.cli.terminal.context import CommandLine, Group, pass_command_line
from vmferry.cli.terminal.output import moment, show, show_list
from vmferry.cli.terminal.pick import pick
from vmferry.cli.terminal.units import parse_span, parsed
from vmferry.client import Client
from vmferry.core import codes
from vmferry.core.auditlog.chain import Break, LogFault, Verification, Witness
from vmferry.core.auditlog.record import AuditRecord
from vmferry.core.errors import AccessError, UsageError


@click.group(cls=Group)
def audit() -> None:
    """Show and verify the audit log of this host: who did what, and with which result."""


@audit.command("list", example="vmferry audit list --since 1h\nvmferry audit list --job 7f3a9c")
@click.option(
    "--since", metavar="TIME", callback=parsed(parse_span), help="Only records newer than this: 90s, 15m, 1h, 30d."
)
@click.option("--job", "job_id", metavar="JOB", shell_complete=complete.jobs, help="Only records of this move.")
@pass_command_line
def list_(cli: CommandLine, since: float | None, job_id: str | None) -> None:
    """List the newest thousand records of the audit log, oldest first.

    The log has every change on this host and every attempt at one, by users and by other hosts. Administrators only.
    """
    client = cli.client()
    show_list(
        cli,
        client.audit(since, _whole(client, job_id)),
        {
            "when": lambda record: moment(record.at),
            "who": _who,
            "from": lambda record: record.address,
            "what": lambda record: record.action or record.request,
            "job": lambda record: record.job or "-",
            "about": lambda record: ", ".join(f"{name}={value}" for name, value in record.about.items()) or "-",
            "result": lambda record: record.result,
        },
    )


@audit.command("verify", example="vmferry audit verify\nvmferry audit verify --peers --output json")
@click.option(
    "--peers", is_flag=True, help="Also ask the other hosts: each move tells them the newest record, and they keep it."
)
@pass_command_line
def verify(cli: CommandLine, peers: bool) -> None:
    """Verify that this host's audit log has not been altered, rotated files included.

    Each record contains the SHA-256 of the one before it, which shows records that were changed, removed or inserted.
    Only --peers shows that the newest records were removed or that all were rewritten: with each move, hosts tell each
    other their newest record. Administrators only. Exit code 4 and `audit-log-broken` if the log was altered.
    """
    client = cli.client()
    found = client.verify_audit(peers=peers)
    show(cli, found, _chain(found))
    if found.wrong:
        what = [_break(found.broken)] if found.broken else []
        what += [_missed(witness) for witness in found.peers if witness.missed]
        raise AccessError(codes.AUDIT_BROKEN, host=client.host().name, what="; ".join(what))


def _whole(client: Client, word: str | None) -> str | None:
    """Return the identifier of the job that an argument names; a whole identifier may be known only to the log.

    The log also has moves that were refused before they became jobs here.
    """
    if word is None:
        return None
    try:
        return pick(client, word).id
    except UsageError as error:
        if error.code is codes.JOB_UNKNOWN and len(word) == 12:
            return word
        raise


_SAID = {
    LogFault.CHANGED: "record {number} was changed",
    LogFault.REMOVED: "records before record {number} were removed",
    LogFault.INSERTED: "record {number} was inserted or moved",
    LogFault.UNREADABLE: "a line is not a record",
}


def _break(broken: Break) -> str:
    said = _SAID[broken.kind].format(number=broken.number)
    return f"{said} ({broken.kind}, line {broken.line} of {broken.file})"


def _missed(witness: Witness) -> str:
    first = min(witness.missed, key=lambda missed: missed.head.number)
    said = "is missing" if first.kind is LogFault.CUT else "was a different one"
    return f"record {first.head.number}, which {witness.host} knows of, {said} ({first.kind})"


def _witness(witness: Witness) -> str:
    if witness.error is not None:
        return f"not asked: {witness.error}"
    if witness.missed:
        return _missed(witness)
    gone = f"; {witness.older} of them were rotated away" if witness.older else ""
    return f"knows {witness.heads} records, none is missing{gone}"


def _chain(found: Verification) -> dict[str, str]:
    lines = {"records": str(found.records)}
    if found.since and found.until:
        lines |= {"from": moment(found.since), "to": moment(found.until)}
    if found.first and found.first > 1:
        lines["rotated away"] = f"{found.first - 1} older records"
    if found.unchained:
        lines["unchained"] = f"{found.unchained} lines from before the log was a chain"
    lines["head"] = f"{found.head.number} {found.head.digest}"
    lines["result"] = _break(found.broken) if found.broken else "not altered"
    return lines | {f"compared with {witness.host}": _witness(witness) for witness in found.peers}


def _who(record: AuditRecord) -> str:
    who = record.caller or "a stranger"
    return f"{who} for {record.on_behalf_of}" if record.on_behalf_of else who
