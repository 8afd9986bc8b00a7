"""`make faults`: makes runs until there are as many as asked for, keeps their results, and writes docs/reliability.md.

Results are one line of JSON each, so that a campaign that was broken off goes on where it was.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tests.faults import plan
from tests.faults.run import Campaign, Result
from tests.lab.harness import Pair
from vmferry.lab.lab import Lab

_ROOT = Path(__file__).parents[2]
_DOC = _ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- campaign: begin -->", "<!-- campaign: end -->"


def main() -> int:
    """Run the campaign; return 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="how many runs there shall be in all (default: 300)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--seed", type=int, action="append", help="only this run; may be repeated")
    parser.add_argument("--results", type=Path, default=_ROOT / ".faults" / "results.jsonl")
    parser.add_argument("--lab", default="faults", help="the lab's name (default: faults)")
    parser.add_argument("--release", action="append", default=[], metavar="HOST=RELEASE", help="kvm2=trixie")
    parser.add_argument("--write", action="store_true", help="write the table of docs/reliability.md, and run nothing")
    arguments = parser.parse_args()
    if arguments.write:
        write(read(arguments.results))
        return 0
    done = {result.seed for result in read(arguments.results)}
    wanted = arguments.seed or range(arguments.first, arguments.first + arguments.runs)
    seeds = [seed for seed in wanted if seed not in done]
    releases = dict(one.split("=") for one in arguments.release)
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    with arguments.results.open("a") as file:
        for result in _runs(arguments.lab, releases, seeds):
            file.write(json.dumps(asdict(result) | {"revision": _revision()}) + "\n")
            file.flush()
            print(_line(result), flush=True)
    broken = [result for result in read(arguments.results) if result.violations]
    print(f"{len(read(arguments.results))} runs, {len(broken)} in which a promise was broken")
    return 1 if broken else 0


def _runs(name: str, releases: dict[str, str], seeds: list[int]) -> Iterable[Result]:
    lab = Lab.named(name)
    lab.down()
    try:
        lab.up(releases=releases, say=print)
        pair = Pair(lab)
        pair.pair()
        campaign = Campaign(pair)
        for seed in seeds:
            with pair.observing():
                yield campaign.run(plan.of(seed))
    finally:
        lab.down()


def read(file: Path) -> list[Result]:
    """Return the results that are on record."""
    if not file.exists():
        return []
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [Result(**{name: value for name, value in row.items() if name != "revision"}) for row in rows]


def write(results: list[Result]) -> None:
    """Write the campaign's table into docs/reliability.md."""
    text = _DOC.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _DOC.write_text(f"{before}{_BEGIN}\n{table(results)}\n{_END}{after}")


def table(results: list[Result]) -> str:
    """Return the runs by kind of fault, as a table in Markdown."""
    lines = [
        "| fault | runs | it began at its step | done | undone | violations | seconds to recover: median, most |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in plan.KINDS:
        of_kind = [result for result in results if kind in result.kinds]
        if of_kind:
            lines.append(f"| {kind} {_cells(of_kind)}")
    lines.append(f"| **all runs** {_cells(results)}")
    sources: dict[str, int] = {}
    for result in results:
        sources[result.release] = sources.get(result.release, 0) + 1
    lines += ["", "Sources: " + ", ".join(f"{count} runs from {name}" for name, count in sorted(sources.items())) + "."]
    return "\n".join(lines)


def _cells(results: list[Result]) -> str:
    recovery = [result.recovery for result in results]
    done = sum(result.outcome == "done" for result in results)
    cells = [
        len(results),
        sum(result.hit for result in results),
        done,
        len(results) - done,
        sum(bool(result.violations) for result in results),
        f"{statistics.median(recovery):.1f}, {max(recovery):.1f}" if recovery else "",
    ]
    return "".join(f"| {cell} " for cell in cells) + "|"


def _line(result: Result) -> str:
    what = "; ".join(result.faults)
    verdict = " BROKEN: " + "; ".join(result.violations) if result.violations else ""
    missed = "" if result.hit else " (not at its step)"
    return f"{result.seed}: {what}{missed}: {result.outcome[:60]}, {result.recovery} s of {result.seconds} s{verdict}"


def _revision() -> str:
    done = subprocess.run(
        ["git", "-C", str(_ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
