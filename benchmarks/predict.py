"""Compares predictions with the moves that follow them, over a grid of links, dirty rates and disks.

    python benchmarks/predict.py                                  the whole grid
    python benchmarks/predict.py --links 100mbit --rates 0,20     a part of it; the split stays that of the whole
    python benchmarks/predict.py --save FILE                      adds each case to a file of JSON lines
    python benchmarks/predict.py --replay FILE                    scores such a file with the model as it is now

For each case the guest is set to a rate, is measured (from its own ticks: an emulated guest does not reach every rate),
`vmferry vm check --predict` is asked, and the VM is moved at once. A move that has not ended after --limit seconds is
cancelled and counts as one that does not converge.

The constants of core/prediction.py may be fitted to the tuning half of the grid alone; the other half is scored. A case
is of the tuning half when the sum of its places in RATES, LINKS and DISKS is even: so neither half lacks a rate, a
link or a disk.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vmferry.core.prediction import Convergence, Measured, Prediction, Wish, predict
from vmferry.lab import network
from vmferry.lab.lab import Lab
from vmferry.lab.vms.observer import Observer
from vmferry.lab.vms.vm import Guest, GuestDisk, remove_all

RATES = (0, 5, 20, 60)  # MiB/s of memory that the guest is told to change
LINKS = ("100mbit", "400mbit", "1gbit", "unlimited")
DISKS = (0, 200)  # MiB of disk that go with it
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Case:
    """One prediction, and what became of it. Rates in bytes a second, times in seconds, sizes in bytes."""

    rate: int
    link: str
    disk: int
    dirty_rate: float  # as the guest's ticks tell
    measured: dict[str, Any]  # for the prediction
    options: dict[str, Any]  # Wish's
    ended: bool
    total: float
    pause: float  # from outside
    memory: int  # that went through the workers
    load: float  # of the machine in the minute before (getloadavg(3)): others may use it

    @property
    def tuning(self) -> bool:
        """Whether constants may be fitted to it."""
        return (RATES.index(self.rate) + LINKS.index(self.link) + DISKS.index(self.disk)) % 2 == 0

    def foretold(self) -> Prediction:
        """Predict it with the model as it is now."""
        return predict(Measured.model_validate(self.measured), Wish(**self.options))


class Bench:
    """Two hosts and a guest that goes to and fro between them."""

    def __init__(self, lab: Lab, busy: int, limit: float) -> None:
        self.lab = lab
        self.limit = limit
        self.hosts = [lab.host("kvm1"), lab.host("kvm2")]
        self.observer = Observer(lab.layout, ["kvm1", "kvm2"])
        self.busy = busy
        self.guest = Guest("bench01")

    def prepare(self) -> None:
        """Pair the hosts."""
        one, two = self.hosts
        token = json.loads(two.run("vmferry", "--output", "json", "host", "pair", "--invite").stdout)["token"]
        one.run("vmferry", "host", "pair", "kvm2", "--token-file", "-", text=token)

    def start(self, disk: int) -> None:
        """Start a guest whose disk is copied, or seen by both hosts."""
        for host in self.hosts:
            remove_all(host)
        for file in self.lab.layout.shared.iterdir():
            file.unlink()
        # Where the disk is on storage that both see, nothing of it is copied.
        made = (
            GuestDisk(size=disk + 128, filled=disk) if disk else GuestDisk(size=128, folder=str(self.lab.layout.shared))
        )
        self.guest = Guest("bench01", memory=self.busy + 200, busy=self.busy, rate=60, records=2, disks=(made,))
        self.guest.create(self.hosts[0])
        self.observer.wait(lambda tick: tick.pages_changed > 0, timeout=300)

    def run(self, rate: int, link: str, disk: int) -> Case:
        """Predict a move, make it, and take its times."""
        for host in self.hosts:
            network.limit(self.lab.layout, host.name, "migration", None if link == "unlimited" else link)
        self.observer.command(f"rate {rate}")
        source, destination = self.hosts
        time.sleep(2.0)  # until it has settled at the rate
        load = os.getloadavg()[0]
        began = time.monotonic()
        storage = ["--include-storage"] if disk else []
        words = ["vmferry", "--output", "json", "vm", "check", self.guest.name, destination.name, "--predict", *storage]
        report = json.loads(source.run(*words).stdout)
        dirty = self._changed(began, time.monotonic())
        if report["prediction"] is None:
            raise RuntimeError(f"no prediction: {report['findings']}")
        began = time.monotonic()
        move = ["vmferry", "vm", "move", self.guest.name, destination.name, "--detach", *storage]
        job = self._follow(source.run(*move).stdout.strip())
        ended = job["state"] == "done"
        total = job["summary"]["total_time"] if ended else time.monotonic() - began
        pause = 0.0
        if ended:
            self.observer.wait_ticking(destination.name, timeout=20)
            pause = self.observer.pause(began, time.monotonic())
            self.hosts.reverse()
        memory = job["summary"]["memory_bytes"] if ended else 0
        measured = report["prediction"]["measured"]
        return Case(rate, link, disk, dirty, measured, {}, ended, total, pause, memory, load)

    def _changed(self, since: float, until: float) -> float:
        ticks = [tick for tick in self.observer.ticks(since=since) if tick.at <= until]
        return (ticks[-1].pages_changed - ticks[0].pages_changed) * 4096 / (ticks[-1].at - ticks[0].at)

    def _follow(self, job: str) -> dict[str, Any]:
        """Wait for a job's end, or bring it about when it takes too long."""
        began, cancelled = time.monotonic(), False
        with self.hosts[0].client() as client:
            while not (found := client.job(job)).state.ended:
                if not cancelled and time.monotonic() - began > self.limit:
                    client.cancel(job)
                    cancelled = True
                time.sleep(0.1)
        with self.hosts[1].client() as client:
            while not client.job(job).state.ended:
                time.sleep(0.1)
        return found.model_dump(mode="json")


HEAD = (
    "link",
    "MiB/s changed: set, real, by libvirt",
    "disk MiB",
    "half",
    "verdict",
    "right",
    "total s: foretold, real",
    "error",
    "pause ms: foretold, real",
)


@dataclass(frozen=True, slots=True)
class Score:
    """How well one case was foretold; errors as shares of what was, None without an end of move or prediction."""

    right: bool
    total: float | None
    pause: float | None


def score(case: Case) -> Score:
    """Compare a case with its prediction."""
    found = case.foretold()
    right = case.ended == (found.verdict is Convergence.CONVERGES)
    if not case.ended or found.total_time is None or found.downtime is None:
        return Score(right, None, None)
    return Score(right, abs(found.total_time / case.total - 1), abs(found.downtime / case.pause - 1))


def line(case: Case) -> str:
    """Write one line of the table."""
    found, scored = case.foretold(), score(case)
    total = pause = error = "-"
    if scored.total is not None and found.downtime is not None:
        total, error = f"{found.total_time:.1f}, {case.total:.1f}", percent(scored.total)
        pause = f"{1000 * found.downtime:.0f}, {1000 * case.pause:.0f}"
    cells = (
        case.link,
        f"{case.rate}, {case.dirty_rate / MIB:.1f}, {case.measured['dirty_rate'] / MIB:.0f}",
        case.disk,
        "tuning" if case.tuning else "scored",
        found.verdict.value,
        "yes" if scored.right else "**no**",
        total,
        error,
        pause,
    )
    return row(cells)


def row(cells: Sequence[object]) -> str:
    """Write a line of a table."""
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def report(cases: Sequence[Case]) -> None:
    """Print every case, and the scores of both halves."""
    print(row(HEAD))
    print(row(["---"] * len(HEAD)))
    for case in cases:
        print(line(case))
    for tuning, name in ((True, "tuning"), (False, "scored")):
        scores = [score(case) for case in cases if case.tuning is tuning]
        totals = [one.total for one in scores if one.total is not None]
        pauses = [one.pause for one in scores if one.pause is not None]
        if totals:
            print(
                f"\n{name}: {len(scores)} cases, verdict right in {sum(one.right for one in scores)}; over the ", end=""
            )
            print(
                f"{len(totals)} that ended, median error of the total time {percent(statistics.median(totals))} ",
                end="",
            )
            print(f"(greatest {percent(max(totals))}), of the pause {percent(statistics.median(pauses))}")


def percent(share: float) -> str:
    """Write a share."""
    return f"{100 * share:.0f} %"


def measure(arguments: argparse.Namespace) -> list[Case]:
    """Run the cases that were asked for."""
    lab = Lab.named(arguments.lab)
    lab.down()
    cases = []
    try:
        lab.up()
        bench = Bench(lab, arguments.busy, arguments.limit)
        bench.prepare()
        for disk in arguments.disks:
            bench.start(disk)
            for link in arguments.links:
                for rate in arguments.rates:
                    case = bench.run(rate, link, disk)
                    cases.append(case)
                    found = case.foretold()
                    print(f"{link} {rate} {disk}: {found.total_time} {case.total:.2f}", asdict(case), flush=True)
                    if arguments.save:
                        with arguments.save.open("a") as file:
                            file.write(json.dumps(asdict(case)) + "\n")
        bench.observer.close()
    finally:
        lab.down()
    return cases


def main() -> None:
    """Measure or replay, and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=lambda text: [int(one) for one in text.split(",")], default=list(RATES))
    parser.add_argument("--links", type=lambda text: text.split(","), default=list(LINKS))
    parser.add_argument("--disks", type=lambda text: [int(one) for one in text.split(",")], default=list(DISKS))
    parser.add_argument("--busy", type=int, default=160, help="MiB of memory that the guest changes in turn")
    parser.add_argument("--limit", type=float, default=45.0, help="seconds after which a move is cancelled")
    parser.add_argument("--lab", default="predict", help="name of the lab")
    parser.add_argument("--save", type=Path, help="add the cases to this file")
    parser.add_argument("--replay", type=Path, help="score this file's cases and move nothing")
    arguments = parser.parse_args()
    if arguments.replay:
        cases = [Case(**json.loads(line)) for line in arguments.replay.read_text().splitlines()]
    else:
        cases = measure(arguments)
    report(cases)


if __name__ == "__main__":
    main()
