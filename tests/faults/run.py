"""One run of the campaign: a move with its faults, and what is to be seen afterwards."""

import contextlib
import subprocess
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.faults import journal, kinds
from tests.faults.disk import last_record
from tests.faults.journal import Record
from tests.faults.kinds import Scene
from tests.faults.plan import AT_ANY_TIME, DESTINATION, SOURCE, Fault, Run
from tests.lab.harness import Pair, leftovers
from vmferry.core.errors import InternalError
from vmferry.lab import network
from vmferry.lab.host import LabHost
from vmferry.lab.vms.vm import IMAGES, Guest, GuestDisk, state

_REQUEST_LIMIT = 60.0  # seconds for the request of a move; a stopped daemon makes it wait
_STEP_LIMIT = 45.0  # within this a move reaches a step, or never does
_END_LIMIT = 90.0  # within this both jobs have ended once no fault is left; 20 to 30 s are usual at most
_CLEAN_LIMIT = 20.0
_TICK_LIMIT = 90.0  # an emulated guest that has a tenth of a processor is silent for half a minute at times
_SLOW = "200mbit"  # a move then copies for some 3 s instead of 1 s


@dataclass(slots=True)
class Result:
    """What a run came to; `violations` is empty when all promises were kept."""

    seed: int
    faults: list[str]
    kinds: list[str]
    source: str
    release: str  # of the source
    hit: bool  # whether every fault began at its step
    outcome: str = "refused"
    owner: str = ""
    recovery: float = 0.0  # seconds from the end of the last fault to the end of both jobs
    seconds: float = 0.0  # of the whole run
    violations: list[str] = field(default_factory=list)
    journals: dict[str, Any] = field(default_factory=dict)


def guest(shared_folder: str | None) -> Guest:
    """Return the VM of the campaign: small, so that a run is short, and busy enough that damage shows."""
    disk = GuestDisk(size=128, filled=20, folder=shared_folder or IMAGES)
    return Guest(memory=128, busy=16, rate=5, records=20, disks=(disk,))


class Campaign:
    """Runs moves with faults, one after the other, with one VM that goes to and fro between two hosts."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.guest: Guest | None = None
        self.ended = False  # whether the guest was found off after this run

    def run(self, run: Run) -> Result:
        """Make one run; a run that broke a promise leaves the lab clean for the next one."""
        began = time.monotonic()
        source = self._ready(run)
        self.pair.listen_again()
        self.pair.heard = [self.pair.observer]  # the ticks of the VM before this one have the same numbers
        self.ended = False
        for host in self.pair.hosts:
            network.limit(self.pair.lab.layout, host.name, "migration", _SLOW if run.slow else None)
        destination = next(host for host in self.pair.hosts if host.name != source.name)
        assert self.guest is not None
        result = Result(
            run.seed,
            [str(fault) for fault in run.faults],
            [fault.kind for fault in run.faults],
            source.name,
            source.release,
            hit=False,
        )
        scene = Scene(self.pair, self.guest.name, source.name)
        since, listened = time.time(), time.monotonic()
        ends = {SOURCE: source, DESTINATION: destination}
        threads = [_Hit(fault, scene, ends, since) for fault in run.faults]
        for thread in threads:
            thread.start()
        options = [] if run.shared else ["--include-storage"]
        command = ["vmferry", "vm", "move", self.guest.name, destination.name, "--detach", *options]
        if not run.encrypted:
            command += ["--encryption", "off"]
        said = _request(source, command)
        for thread in threads:
            thread.join()
        undone = time.monotonic()
        result.hit = all(thread.hit for thread in threads)
        result.violations += [f"the fault itself failed: {thread.trouble}" for thread in threads if thread.trouble]
        records = self._await_end(since, result)
        result.recovery = round(time.monotonic() - undone, 1)
        result.outcome = records[source.name].state if records.get(source.name) else f"refused: {said[-300:]}"
        result.journals = {name: asdict(record) for name, record in records.items()}
        if scene.cancelled and result.outcome == "done":
            result.violations.append("the VM was moved though a cancel was taken")
        self._judge(run, result, records, listened)
        result.seconds = round(time.monotonic() - began, 1)
        if result.violations or self.ended:
            self.guest = None  # made anew: what is left of this one would hide what the next run loses
        return result

    def _ready(self, run: Run) -> LabHost:
        """Return the host on which the VM runs; make it anew where it has to be."""
        wanted = guest(str(self.pair.lab.layout.shared) if run.shared else None)
        if self.guest == wanted:
            for host in self.pair.hosts:
                if state(host, wanted.name) == "running":
                    return host
        self.pair.clean()
        self.guest = wanted
        source = self.pair.hosts[run.seed % 2]
        self.pair.start(wanted, source)
        return source

    def _await_end(self, since: float, result: Result) -> dict[str, Record]:
        """Wait until the jobs of both hosts have ended; return what is on record of them."""
        assert self.guest is not None
        limit = time.monotonic() + _END_LIMIT
        while True:
            found = {host.name: journal.read(host, self.guest.name, since) for host in self.pair.hosts}
            records = {name: record for name, record in found.items() if record}
            if all(record.ended for record in records.values()):
                return records
            if time.monotonic() > limit:
                result.violations.append("a job has not ended")
                return records
            time.sleep(0.05)  # the database tells nobody

    def _judge(self, run: Run, result: Result, records: dict[str, Record], since: float) -> None:
        assert self.guest is not None
        pair, vm, broken = self.pair, self.guest, result.violations
        for host in pair.hosts:
            host.wait_ready()  # what was killed is being started again
        if any(observer.ran_twice(vm.number) for observer in pair.heard):
            broken.append("two copies ran")
        states = {host.name: _settled(host, vm.name) for host in pair.hosts}
        have = [host for host in pair.hosts if states[host.name] != "absent"]
        running = [host for host in have if states[host.name] in ("running", "paused")]
        if len(running) > 1:
            broken.append(f"active on both: {states}")
        if len(have) != 1:
            broken.append(f"{len(have)} hosts have the VM: {states}")
            return
        owner = have[0]
        result.owner = owner.name
        record = records.get(result.source)
        lost = record is not None and '"vm-lost-at-switch"' in record.error  # the destination has it, off
        if record and record.ended and (record.state == "done" or lost) != (owner.name != result.source):
            broken.append(f"the VM is on {owner.name}, and the job is {record.state}")
        ends = [one.state for one in records.values()]
        if len(ends) == 2 and ends.count("done") == 1:
            broken.append(f"the hosts disagree: {ends}")
        if states[owner.name] == "shut off":
            self._judge_ended(run, owner, broken, since)
        elif states[owner.name] == "paused" and "VM suspended" in result.kinds:
            owner.run("virsh", "resume", vm.name, check=False)  # it may be resumed already: then it ticks
        elif states[owner.name] != "running":
            broken.append(f"it is {states[owner.name]}")
        self._judge_guest(vm, owner, broken, since)
        other = next(host for host in pair.hosts if host.name != owner.name)
        left = _await_clean(other, owner)
        if left:
            broken.append(f"left over: {left}")

    def _judge_ended(self, run: Run, owner: LabHost, broken: list[str], since: float) -> None:
        """See that all that the guest had written is on the disk of the host that has it; start it there."""
        assert self.guest is not None
        self.ended = True
        if not run.guest_may_end:
            broken.append("it is off, and nothing ended it")
        confirmed = max((tick.records for one in self.pair.heard for tick in one.ticks(1, since)), default=0)
        written = last_record(owner, self.guest.disks[0], self.guest.name)
        if confirmed and written < confirmed - 1:
            broken.append(f"record {confirmed - 1} was confirmed, and {written} is the last on {owner.name}")
        try:
            owner.run("virsh", "start", self.guest.name)
        except subprocess.CalledProcessError as error:
            broken.append(f"it does not start on {owner.name}: {error.stderr.strip()}")

    def _judge_guest(self, vm: Guest, owner: LabHost, broken: list[str], since: float) -> None:
        observer = self.pair.observer
        numbers = [tick.number for tick in observer.ticks(vm.number, since)]
        if not self.ended and numbers != sorted(numbers):
            broken.append("the guest was started anew")
        try:
            observer.wait_ticking(owner.name, vm.number, _TICK_LIMIT)
            tick = observer.verify(vm.number)
        except InternalError as error:
            broken.append(f"the guest says nothing on {owner.name}: {error.reason} {_examined(owner, vm.name)}")
            return
        if tick.memory_errors:
            broken.append(f"{tick.memory_errors} errors in memory")
        if tick.disk_errors:
            broken.append(f"{tick.disk_errors} errors on the disk")


class _Hit(threading.Thread):
    """One fault: waits for its step, and lets it last."""

    def __init__(self, fault: Fault, scene: Scene, ends: dict[str, LabHost], since: float) -> None:
        super().__init__(name=fault.kind)
        self._fault, self._scene, self._ends, self._since = fault, scene, ends, since
        self.hit = False
        self.trouble = ""

    def run(self) -> None:
        fault, scene = self._fault, self._scene
        whose, step = fault.at
        self.hit = step == AT_ANY_TIME or journal.await_step(
            self._ends[whose], scene.vm, self._since, step, _STEP_LIMIT
        )
        if not self.hit:
            return
        time.sleep(fault.delay)
        record = journal.read(self._ends[SOURCE], scene.vm, self._since)
        scene.job = record.job if record else ""
        try:
            with kinds.apply(fault.kind, scene, self._ends[fault.side]):
                time.sleep(fault.seconds)
        except Exception as error:
            self.trouble = repr(error)


def _request(host: LabHost, command: list[str]) -> str:
    with contextlib.suppress(subprocess.TimeoutExpired, OSError):
        done = subprocess.run(
            host.command(*command), capture_output=True, text=True, timeout=_REQUEST_LIMIT, check=False
        )
        return done.stderr
    return "the request was not answered"


def _examined(host: LabHost, vm: str) -> str:
    """Return what libvirt says of a VM whose guest is silent, twice, so that it shows whether it runs at all."""
    said = [host.run("virsh", "domstats", "--state", "--cpu-total", vm, check=False).stdout for _ in range(2)]
    return " / ".join(" ".join(one.split()) for one in said)


def _settled(host: LabHost, vm: str) -> str:
    """Return a VM's state once libvirt answers, and once it is not on its way from one state to another."""
    limit = time.monotonic() + 10.0
    while True:
        found = state(host, vm)
        if found in ("running", "shut off", "absent", "paused") or time.monotonic() > limit:
            return found
        time.sleep(0.1)  # `in shutdown` passes


def _await_clean(other: LabHost, owner: LabHost) -> list[str]:
    """Wait until nothing of the move is left; return what is left after all."""
    limit = time.monotonic() + _CLEAN_LIMIT
    while True:
        left = [f"{other.name}: {one}" for one in leftovers(other)]
        mine = [one for one in leftovers(owner) if ".vmferry" in one or "socket" in one or "vmferry-transfer" in one]
        left += [f"{owner.name}: {one}" for one in mine]
        shared = [place.name for place in owner.lab.shared.iterdir() if ".vmferry" in place.name]
        left += [f"shared: {one}" for one in shared]
        if not left or time.monotonic() > limit:
            return left
        time.sleep(0.1)  # a worker stays some seconds to be heard
