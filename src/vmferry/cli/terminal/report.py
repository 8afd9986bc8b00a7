"""Print what the checks before a move found."""

from collections.abc import Sequence

from vmferry.cli.terminal import output
from vmferry.cli.terminal.context import CommandLine
from vmferry.cli.terminal.units import duration
from vmferry.core.messages.finding import Finding, Severity, blocker
from vmferry.core.messages.offer import Report
from vmferry.core.prediction import Convergence, Prediction

_VERDICTS = {
    Convergence.CONVERGES: "converges",
    Convergence.AUTO_CONVERGE: "converges with auto-converge",
    Convergence.NEVER: "will not converge",
}


def show_report(cli: CommandLine, report: Report, *, hint: bool = False) -> None:
    """Print a report: a table of findings, an explanation of each, and the result; or a JSON object.

    Arguments:
        hint: whether to mention the option --predict.
    """
    if cli.json:
        output.show(cli, report, {})
        return
    if report.findings:
        output.show_list(
            cli,
            report.findings,
            {
                "code": lambda finding: finding.code,
                "severity": lambda finding: finding.severity.value,
                f"on {report.source}": lambda finding: finding.source or "-",
                f"on {report.destination}": lambda finding: finding.destination or "-",
            },
        )
        for finding in report.findings:
            output.explain(f"{finding.code}: {finding.detail}", finding.remedy)
    if report.prediction is not None:
        cli.message(predicted(report.prediction))
    if blocker(report.findings) is None:
        cli.message(f"{report.vm} can move from {report.source} to {report.destination}.")
        if hint and report.prediction is None:
            cli.message("--predict measures how long the move would take and whether it would converge.")
    else:
        cli.message(f"{report.vm} cannot move from {report.source} to {report.destination}.")


def predicted(prediction: Prediction) -> str:
    """Return a prediction as a sentence."""
    words = _VERDICTS[prediction.verdict]
    if prediction.total_time is not None and prediction.downtime is not None:
        slowed = f", guest slowed down by up to {prediction.throttle:.0%}" if prediction.throttle else ""
        times = f"about {duration(prediction.total_time)} in total, pause about {duration(prediction.downtime)}"
        return f"Prediction: {words}: {times}{slowed} ({prediction.reason})."
    return f"Prediction: {words}: {prediction.reason}."


def warn(cli: CommandLine, findings: Sequence[Finding]) -> None:
    """Print the findings that do not block a move."""
    for finding in findings:
        if finding.severity is Severity.WARNS:
            cli.message(f"Warning: {finding.detail} {finding.remedy} ({finding.code})")
