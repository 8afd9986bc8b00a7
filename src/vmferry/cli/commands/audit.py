"""`vmferry audit`: who did what on this host, and with which result."""

import click

from vmferry.cli.terminal import complete
from vmferry.cli.terminal.context import CommandLine, Group, pass_command_line
from vmferry.cli.terminal.output import moment, show, show_list
from vmferry.cli.terminal.pick import pick
from vmferry.cli.terminal.units import parse_span, parsed
from vmferry.client import Client
from vmferry.core import codes
from vmferry.core.auditlog.chain import Break, Kind, Verification, Witness
from vmferry.core.auditlog.record import AuditRecord
from vmferry.core.errors import AccessError, UsageError


@click.group(cls=Group)
def audit() -> None:
    """See who did what on this host, and with which result."""


@audit.command("list", example="vmferry audit list --since 1h\nvmferry audit list --job 7f3a9c")
@click.option("--since", metavar="TIME", callback=parsed(parse_span), help="Only what is younger: 90s, 15m, 1h, 30d.")
@click.option("--job", "job_id", metavar="JOB", shell_complete=complete.jobs, help="Only what is about this move.")
@pass_command_line
def list_(cli: CommandLine, since: float | None, job_id: str | None) -> None:
    """List what was changed on this host, or was to be: the newest thousand records, the oldest of them first.

    It shows both ends of a move: what people asked of this host, and what other hosts did. Only administrators see it.
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
@click.option("--peers", is_flag=True, help="Ask all known hosts too: they keep the heads that moves told them.")
@pass_command_line
def verify(cli: CommandLine, peers: bool) -> None:
    """Walk along this host's audit log, rotated files too, and say whether it is as it was written.

    Each record holds the SHA-256 of the one before it: what was changed, taken out or put in shows. That the newest
    records were cut off, or all written anew, only --peers shows: hosts tell each other the newest record with each
    move. Only administrators see it. Exit code 4 and `audit-log-broken` at a break.
    """
    client = cli.client()
    found = client.verify_audit(peers=peers)
    show(cli, found, _chain(found))
    if found.wrong:
        what = [_break(found.broken)] if found.broken else []
        what += [_missed(witness) for witness in found.peers if witness.missed]
        raise AccessError(codes.AUDIT_BROKEN, host=client.host().name, what="; ".join(what))


def _whole(client: Client, word: str | None) -> str | None:
    """Return the identifier of the job that a word means; the word itself where only the log may know it.

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
    Kind.CHANGED: "record {number} was changed",
    Kind.REMOVED: "records before record {number} were taken out",
    Kind.INSERTED: "record {number} was put in or moved",
    Kind.UNREADABLE: "a line is no record",
}


def _break(broken: Break) -> str:
    said = _SAID[broken.kind].format(number=broken.number)
    return f"{said} ({broken.kind}, line {broken.line} of {broken.file})"


def _missed(witness: Witness) -> str:
    first = min(witness.missed, key=lambda missed: missed.head.number)
    said = "is not there" if first.kind is Kind.CUT else "was another one"
    return f"record {first.head.number}, of which {witness.host} was told, {said} ({first.kind})"


def _witness(witness: Witness) -> str:
    if witness.error is not None:
        return f"not asked: {witness.error}"
    if witness.missed:
        return _missed(witness)
    gone = f", {witness.older} of them of records that were rotated away" if witness.older else ""
    return f"{witness.heads} heads on record, none is missing{gone}"


def _chain(found: Verification) -> dict[str, str]:
    lines = {"records": str(found.records)}
    if found.since and found.until:
        lines |= {"from": moment(found.since), "to": moment(found.until)}
    if found.first and found.first > 1:
        lines["rotated away"] = f"{found.first - 1} older records"
    if found.unchained:
        lines["unchained"] = f"{found.unchained} lines from before there was a chain"
    lines["head"] = f"{found.head.number} {found.head.digest}"
    lines["result"] = _break(found.broken) if found.broken else "the chain holds"
    return lines | {f"as {witness.host} has it": _witness(witness) for witness in found.peers}


def _who(record: AuditRecord) -> str:
    who = record.caller or "a stranger"
    return f"{who} for {record.on_behalf_of}" if record.on_behalf_of else who
