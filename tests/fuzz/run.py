"""Fuzzes every parser of targets.py with atheris: `python -m tests.fuzz.run --seconds 600 [TARGET...]`.

Each target runs in a process of its own, for libFuzzer ends with the first finding. Findings are kept in .fuzz/, where
an input can be tried again: `python -m tests.fuzz.run --again .fuzz/pac-crash-... PAC`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_FINDINGS = Path(".fuzz")
_WHOLE = 3600  # seconds for all targets together, unless somebody says
_INPUT_SECONDS = 5  # an input that takes longer is a finding
_MEMORY = 1024  # MiB; a process that takes more is a finding
_LENGTH = 64 << 10  # bytes of an input
_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_-]{2,30}")


@dataclass(frozen=True, slots=True)
class Result:
    """How the run of one target went.

    Arguments:
        executions: how many inputs there were.
        findings: the files that were kept.
        said: what the process wrote, when it found something or failed otherwise.
    """

    name: str
    executions: int
    seconds: int
    findings: tuple[Path, ...]
    said: str

    @property
    def row(self) -> str:
        """A row of docs/reliability.md."""
        found = len(self.findings) or int(bool(self.said))
        return f"| {self.name} | {self.executions:,} | {self.seconds / 60:.1f} | {found} |"


def run(name: str, seconds: int, folder: Path = _FINDINGS) -> Result:
    """Fuzz one target.

    Arguments:
        folder: where findings are kept.
    """
    folder.mkdir(exist_ok=True)
    before = set(folder.iterdir())
    prefix = f"{folder}/{re.sub('[^A-Za-z0-9]+', '-', name).lower()}-"
    options = {
        "max_total_time": seconds,
        "timeout": _INPUT_SECONDS,
        "rss_limit_mb": _MEMORY,
        "max_len": _LENGTH,
        "artifact_prefix": prefix,
        "print_final_stats": 1,
    }
    words = [f"-{key}={value}" for key, value in options.items()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", "--child", name, *words],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds + 120,
        check=False,
    )
    counted = re.search(r"number_of_executed_units: *([0-9]+)", done.stderr)
    findings = tuple(sorted(set(folder.iterdir()) - before))
    said = f"{done.stdout}\n{done.stderr}" if done.returncode or findings or not counted else ""
    return Result(name, int(counted[1]) if counted else 0, seconds, findings, said)


def _child(name: str, options: list[str]) -> None:
    """Be the process that fuzzes one target, or tries one input."""
    import atheris

    with atheris.instrument_imports(include=["vmferry"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(target.seeds):
            Path(folder, f"seed{number}").write_bytes(seed)
        words = sorted({word for seed in target.seeds for word in _WORD.findall(seed)})
        dictionary = Path(folder, "words")
        dictionary.write_text("".join(f'"{word.decode()}"\n' for word in [b"vmferry", *words]))  # it may not be empty
        atheris.Setup([sys.argv[0], *options, f"-dict={dictionary}", folder], target)
        atheris.Fuzz()


def main() -> int:
    """Run from the command line; return 1 when there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, help="for each target; by default all take an hour together")
    parser.add_argument("--again", type=Path, help="an input that was kept, to be tried once")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*")
    arguments, options = parser.parse_known_args()
    if arguments.child:
        _child(arguments.targets[0], options)
        return 0
    from tests.fuzz.targets import TARGETS

    names = arguments.targets or list(TARGETS)
    if arguments.again:
        TARGETS[names[0]](arguments.again.read_bytes())
        return 0
    return _report(run(name, arguments.seconds or _WHOLE // len(TARGETS)) for name in names)


def _report(results: Iterable[Result]) -> int:
    print("| parser | inputs | minutes | findings |", "|---|---|---|---|", sep="\n", flush=True)
    bad = []
    for result in results:
        print(result.row, flush=True)
        if result.said:
            bad.append(result)
    for result in bad:
        print(f"\n{result.name}:", *map(str, result.findings), result.said[-4000:], sep="\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
