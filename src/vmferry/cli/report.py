"""What the checks before a move found, for a person."""

from collections.abc import Sequence

from vmferry.cli import output
from vmferry.cli.context import Settings
from vmferry.core.finding import Finding, Severity, blocker
from vmferry.core.offer import Report


def show_report(settings: Settings, report: Report) -> None:
    """Print a report: a table of findings and what it comes to, or a JSON object."""
    if settings.json:
        output.show(settings, report, {})
        return
    if report.findings:
        output.show_list(
            settings,
            report.findings,
            {
                "code": lambda finding: finding.code,
                "severity": lambda finding: finding.severity.value,
                f"on {report.source}": lambda finding: finding.source or "-",
                f"on {report.destination}": lambda finding: finding.destination or "-",
                "mend": lambda finding: finding.mend,
            },
        )
    if blocker(report.findings) is None:
        settings.message(f"{report.vm} can move from {report.source} to {report.destination}.")
    else:
        settings.message(f"{report.vm} cannot move from {report.source} to {report.destination} as things are.")


def warn(settings: Settings, findings: Sequence[Finding]) -> None:
    """Tell of what does not stop a move."""
    for finding in findings:
        if finding.severity is Severity.WARNS:
            settings.message(f"Warning: {finding.detail} {finding.mend} ({finding.code})")
