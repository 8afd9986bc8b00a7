"""`vmferry audit`: who did what on this host, and with which result."""

import click

from vmferry.cli import complete
from vmferry.cli.context import Group, Settings, pass_settings
from vmferry.cli.output import moment, show_list
from vmferry.cli.units import parse_span, parsed
from vmferry.core.audit import AuditRecord


@click.group(cls=Group)
def audit() -> None:
    """See who did what on this host, and with which result."""


@audit.command("list", example="vmferry audit list --since 1h\nvmferry audit list --job 7f3a9c")
@click.option("--since", metavar="TIME", callback=parsed(parse_span), help="Only what is younger: 90s, 15m, 1h, 30d.")
@click.option("--job", "job_id", metavar="JOB", shell_complete=complete.jobs, help="Only what is about this move.")
@pass_settings
def list_(settings: Settings, since: float | None, job_id: str | None) -> None:
    """List what was changed on this host, or was to be: the newest thousand records, the oldest of them first.

    It shows both ends of a move: what people asked of this host, and what other hosts did. Only administrators see it.
    """
    show_list(
        settings,
        settings.client().audit(since, job_id),
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


def _who(record: AuditRecord) -> str:
    who = record.caller or "a stranger"
    return f"{who} for {record.on_behalf_of}" if record.on_behalf_of else who
