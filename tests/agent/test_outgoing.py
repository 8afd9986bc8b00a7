"""What a host checks of its VM and its own settings before it asks the destination, and what it makes of the answer."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.preflight.make import DISK, THERE, VM

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.admission import Limits
from vmferry.core.errors import PreflightError, UnreachableError, UsageError, VmferryError
from vmferry.core.finding import Finding
from vmferry.core.job import Phase, Role, State
from vmferry.core.networks import Local, Network
from vmferry.core.offer import (
    Address,
    Admission,
    Caller,
    DiskPlan,
    Encryption,
    Grant,
    Hold,
    MoveOptions,
    Offer,
    Performance,
    Proposal,
    Report,
)
from vmferry.core.settings import HostSettings, Protection
from vmferry.core.snapshot import HostSnapshot
from vmferry.core.vm import VmSnapshot
from vmferry.identity.peer import PeerClient
from vmferry.preflight.case import End
from vmferry.store.admissions import Admissions
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer, Peers
from vmferry.store.settings import Settings
from vmferry.transfer import interfaces, spec

pytest.importorskip("libvirt")
from vmferry.agent.outgoing import Moves

ANN = Caller(name="ann", host="kvm1", method="unix")
KVM2 = Peer("kvm2", "10.91.0.2", 6601, "PEM", "f2", ("*",), 0.0, "root")
ON = HostSettings(migration=True)
ONLY = HostSettings(migration=True, any_network=False, networks=[Network(subnet="10.92.0.0/24")])
NOWHERE = ONLY.model_copy(update={"networks": [Network(subnet="10.95.0.0/24")]})
MISSING = Finding.blocks(
    codes.NETWORK_MISSING, ("bridge br0", "br1"), host="kvm2", network="br0", vm="web01", known="br1"
)
LATE = Finding.warns(codes.CLOCK_DIFFERS, ("1", "9"), source="kvm1", host="kvm2", seconds=8)


class World:
    """The VM, this host, its workers and the other host, in the place of libvirt, processes and the network."""

    def __init__(self, folder: Path) -> None:
        self.vm = VM.model_copy(update={"disks": [DISK.model_copy(update={"path": str(folder / "web01.qcow2")})]})
        self.on_describe: Callable[[], None] = lambda: None
        self.findings: list[Finding] = []
        self.foretold: list[Finding] = []
        self.addresses = ["10.92.0.2"]
        self.admission: Admission | None = None
        self.refusal: str | None = None
        self.away = False
        self.admitted = False
        self.on_admit: Callable[[], None] = lambda: None
        self.asked: list[str] = []
        self.proposed: list[Proposal] = []
        self.nonces: list[str] = []
        self.tried: list[str] = []
        self.unreached: list[Finding] = []

    def describe(self, name: str) -> VmSnapshot:
        self.on_describe()
        return self.vm

    def source(self) -> HostSnapshot:
        return THERE

    def start(self, job: str) -> None:
        self.asked.append("start")

    def check(self, vm: Proposal, secret: str) -> Report:
        self.asked.append("check")
        self.proposed.append(vm)
        self.nonces = [Path(disk.nonce_file).read_text() for disk in vm.disks if disk.nonce_file]
        both = {"source": "kvm1", "destination": "kvm2", "live_xml": "", "persistent_xml": ""}
        return Report(vm=vm.vm, findings=self.findings, disks=[], addresses=self.addresses, **both)

    def reach(self, client: PeerClient, end: End, there: str) -> list[Finding]:
        self.tried.append(there)
        return self.unreached

    def offer(self, offer: Offer, secret: str) -> Grant:
        self.asked.append("offer")
        self.proposed.append(offer)
        return self._grant()

    def _grant(self) -> Grant:
        return Grant(
            job_key="5a" * 32,
            live_xml="",
            persistent_xml="",
            disks=[DiskPlan(target="vda", path="/srv/web01.qcow2", shared=False, copied_by="mirror")],
            certificate="PEM",
            findings=self.findings,
            addresses=self.addresses,
            socket_folder="/x",
            refusal=self.refusal,
        )

    def hold(self, job: str, proof: str) -> Hold:
        self.asked.append("hold")
        if self.away:
            raise UnreachableError(codes.HOST_UNREACHABLE, host="kvm2", address="x", why="no route")
        return Hold(refusal=self.refusal, admitted=self.admitted)

    def release(self, job: str, proof: str) -> None:
        self.asked.append("release")

    def renew(self, job: str, proof: str, offer: Offer) -> Grant:
        self.asked.append("renew")
        self.proposed.append(offer)
        return self._grant()

    def admit(self, job: str, proof: str) -> Admission:
        self.asked.append("admit")
        self.on_admit()
        if self.admission is None:
            raise VmferryError(codes.HOST_UNREACHABLE, host="kvm2", address="x", why="the test ends here")
        return self.admission

    def abort(self, job: str, proof: str, reason: str) -> None:
        self.asked.append("abort")

    def add(self, report: Report, vm: VmSnapshot, *rest: Any) -> Report:
        self.asked.append("foretell")
        return report.model_copy(update={"findings": report.findings + self.foretold})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def moves(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moves]:
    addresses = [Local("10.91.0.1", 24, "mgmt"), Local("10.92.0.1", 24, "mig")]
    monkeypatch.setattr(interfaces, "addresses", lambda: addresses)
    config = Config(name="kvm1", state_folder=tmp_path, run_folder=tmp_path / "run")
    made: Any = world
    with Database(config.database) as database:
        peers = Peers(database)
        peers.add(KVM2)
        settings = Settings(database)
        settings.save(ON)
        yield Moves(
            config=config,
            jobs=Jobs(database, "kvm1"),
            admissions=Admissions(database, "kvm1"),
            peers=peers,
            settings=settings,
            inventory=made,
            snapshots=made,
            launcher=made,
            fingerprint="f1",
            forecasts=made,
            client=lambda _config, _peer: made,
            reach=world.reach,
        )


def found(moves: Moves, options: MoveOptions | None = None) -> list[str]:
    return [finding.code for finding in moves.check("web01", "kvm2", options or MoveOptions(), ANN).findings]


def refused(moves: Moves, options: MoveOptions | None = None) -> VmferryError:
    with pytest.raises(VmferryError) as caught:
        moves.move("web01", "kvm2", options or MoveOptions(), ANN)
    return caught.value


def test_both_halves_make_one_report(moves: Moves, world: World) -> None:
    assert found(moves) == []
    world.findings = [MISSING, LATE]
    world.vm = world.vm.model_copy(update={"snapshots": 1})
    assert found(moves) == ["vm-has-snapshots", "network-missing", "clock-differs"]
    assert world.proposed[-1].host == THERE
    assert world.proposed[-1].caller == ANN


def test_a_check_leaves_nothing(moves: Moves, world: World, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    found(moves)
    assert world.nonces == [world.proposed[0].disks[0].nonce]
    assert {file for file in tmp_path.iterdir() if file.name.startswith(".vmferry")} == set()
    assert before <= set(tmp_path.iterdir())
    assert moves.jobs.list() == []
    assert world.asked == ["check"]


def test_a_vm_that_is_moved_already(moves: Moves) -> None:
    moves.jobs.create("0123456789ab", Role.SOURCE, "web01", "kvm2", ANN, {})
    assert found(moves) == ["vm-busy"]
    assert refused(moves).code is codes.VM_BUSY


def test_a_move_is_refused_for_the_vm_itself_before_the_destination_is_asked(moves: Moves, world: World) -> None:
    world.vm = world.vm.model_copy(update={"state": "paused", "disks": []})
    error = refused(moves)
    assert isinstance(error, PreflightError)
    assert error.code is codes.VM_NOT_RUNNING
    assert moves.jobs.list() == []
    assert world.asked == []


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (MoveOptions(include_storage=True, disk_paths={"vdz": "/srv/a"}), codes.DISK_UNKNOWN),
        (MoveOptions(map_networks={"br7": "br0"}), codes.VM_NETWORK_UNKNOWN),
        (MoveOptions(storage_path="/srv"), codes.STORAGE_PATH_NEEDS_STORAGE),
        (MoveOptions(performance=Performance.SMB), codes.NOT_BUILT),
    ],
)
def test_a_request_that_cannot_be_meant(moves: Moves, world: World, options: MoveOptions, code: Any) -> None:
    with pytest.raises(UsageError) as caught:
        moves.check("web01", "kvm2", options, ANN)
    assert caught.value.code is code
    assert refused(moves, options).code is code
    assert world.asked == []


@pytest.mark.parametrize(
    ("settings", "options", "code"),
    [
        (HostSettings(), MoveOptions(), codes.MIGRATION_DISABLED),
        (ON, MoveOptions(encryption=Encryption.OFF), codes.ENCRYPTION_DIFFERS),
        (NOWHERE, MoveOptions(), codes.MIGRATION_NETWORK_MISSING),
    ],
)
def test_what_the_settings_forbid(
    moves: Moves, world: World, settings: HostSettings, options: MoveOptions, code: object
) -> None:
    moves.settings.save(settings)
    error = refused(moves, options)
    assert error.code is code
    assert "kvm1" in error.reason
    assert world.asked == []
    assert moves.jobs.list() == []
    assert found(moves, options) == [error.code.name]
    assert world.asked == ["check"]


def test_a_switch_that_falls_while_the_vm_is_looked_at_is_seen(moves: Moves, world: World) -> None:
    world.on_describe = lambda: moves.settings.save(HostSettings())
    assert refused(moves).code is codes.MIGRATION_DISABLED
    assert moves.jobs.list() == []


def test_what_the_destination_warns_of_is_told_with_the_job(moves: Moves, world: World) -> None:
    world.findings = [LATE]
    world.admission = Admission(addresses=[Address(host="10.92.0.2", port=6610)])
    job, warnings = moves.move("web01", "kvm2", MoveOptions(), ANN)
    assert [row.id for row in moves.jobs.list()] == [job]
    assert warnings == [LATE]


def test_a_destination_without_a_network_is_not_told_of_twice(moves: Moves, world: World) -> None:
    moves.settings.save(ONLY)
    world.addresses = []
    world.findings = [
        Finding.blocks(codes.MIGRATION_NETWORK_MISSING, ("", "no address"), host="kvm2", networks="10.95.0.0/24")
    ]
    assert found(moves) == ["migration-network-missing"]


def test_the_destination_is_told_where_the_move_keeps_to(moves: Moves, world: World) -> None:
    moves.settings.save(ONLY)
    assert refused(moves).code is codes.HOST_UNREACHABLE
    assert world.proposed[-1].networks == ["10.92.0.0/24"]
    assert "admit" in world.asked
    moves.settings.save(ON.model_copy(update={"encryption": Protection.OPTIONAL}))
    refused(moves, MoveOptions(encryption=Encryption.OFF))
    assert world.proposed[-1].networks == []


def test_without_a_common_network_nothing_is_made_there(moves: Moves, world: World) -> None:
    moves.settings.save(ONLY)
    assert found(moves) == []
    world.addresses = ["10.91.0.2", "kvm2.example"]
    assert found(moves) == ["migration-network-not-common"]
    world.asked.clear()
    error = refused(moves)
    assert error.code is codes.MIGRATION_NETWORK_NOT_COMMON
    assert "10.92.0.0/24" in error.reason
    assert "10.91.0.2, kvm2.example" in error.reason
    assert world.asked == ["start", "offer", "abort"]  # the destination has a record of the job by then


# --- what cannot be promised without a prediction -------------------------------------------------------------------

LATER = Finding.blocks(
    codes.DEADLINE_MISSED, ("", ""), vm="web01", host="kvm2", seconds=9.0, why="it would take 60 s", advice="wait"
)
ENDLESS = Finding.warns(codes.WILL_NOT_CONVERGE, ("", ""), vm="web01", host="kvm2", why="it writes", advice="wait")


def test_a_check_foretells_when_it_is_asked_to_or_has_to(moves: Moves, world: World) -> None:
    for predict, options, asked in (
        (False, MoveOptions(), ["check"]),
        (True, MoveOptions(), ["check", "foretell"]),
        (False, MoveOptions(deadline=60.0), ["check", "foretell"]),
        (False, MoveOptions(max_downtime=0.1), ["check", "foretell"]),
    ):
        world.asked.clear()
        moves.check("web01", "kvm2", options, ANN, predict=predict)
        assert world.asked == asked


def test_a_move_that_cannot_be_in_time_is_refused_before_anything_is_made(moves: Moves, world: World) -> None:
    world.foretold = [LATER]
    assert refused(moves, MoveOptions(deadline=9.0)).code is codes.DEADLINE_MISSED
    assert world.asked == ["check", "foretell"]
    assert moves.jobs.list() == []
    assert nonce_files(world) == []


def test_what_is_foretold_is_warned_of_with_the_job(moves: Moves, world: World) -> None:
    world.foretold, world.admission = [ENDLESS], HERE
    _, warnings = moves.move("web01", "kvm2", MoveOptions(max_downtime=0.1), ANN)
    assert warnings == [ENDLESS]


def test_a_move_that_waits_is_given_up_at_its_deadline(moves: Moves, world: World) -> None:
    world.refusal = FULL
    job, _ = moves.move("web01", "kvm2", MoveOptions(deadline=0.2), ANN)
    late = spec.load(moves.config.state_folder, job)
    spec.save(moves.config.state_folder, late.model_copy(update={"requested_at": late.requested_at - 1}))
    assert moves.begin(job)
    row = moves.jobs.get(job)
    assert (row.state, (row.error or {})["code"]) == (State.FAILED, "deadline-passed")
    assert world.asked[-1] == "abort"


# --- waiting for a place --------------------------------------------------------------------------------------------

FULL = "kvm2 takes part in 2 moves, and its limit is 2"
HERE = Admission(addresses=[Address(host="10.92.0.2", port=6610)])


def another(moves: Moves, job: str, *, storage: bool = True) -> str:
    """Let this host take part in one more move."""
    moves.jobs.create(job, Role.DESTINATION, f"vm-{job}", "kvm3", ANN, {})
    assert moves.admissions.ask(job, storage=storage, limits=Limits(moves=9, storage=9)) is None
    moves.admissions.keep(job)
    return job


def nonce_files(world: World) -> list[Path]:
    return list(Path(world.vm.disks[0].path).parent.glob(".vmferry-*"))


def state(moves: Moves, job: str) -> tuple[State, str | None]:
    row = moves.jobs.get(job)
    return row.state, row.reason


def test_a_move_waits_while_the_destination_is_full_and_then_begins(moves: Moves, world: World) -> None:
    world.refusal, world.admission = FULL, HERE
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    assert state(moves, job) == (State.WAITING, FULL)
    assert not moves.begin(job)
    world.refusal = None
    world.vm = world.vm.model_copy(update={"memory": 7 << 30})
    assert moves.begin(job)
    assert state(moves, job) == (State.RUNNING, None)
    assert moves.jobs.get(job).phase is Phase.ADMITTED
    assert world.asked == ["start", "offer", "hold", "hold", "renew", "start", "admit"]
    offer = world.proposed[-1]
    assert isinstance(offer, Offer)
    assert (offer.job, offer.caller, offer.memory) == (job, ANN, 7 << 30)
    assert spec.load(moves.config.state_folder, job).offer == offer
    assert spec.load(moves.config.state_folder, job).addresses == HERE.addresses
    assert len(nonce_files(world)) == 1


def test_a_full_source_does_not_ask_for_a_place_at_the_destination(moves: Moves, world: World) -> None:
    world.admission = HERE
    first, second = another(moves, "a" * 12), another(moves, "b" * 12)
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    assert world.asked == ["offer"]
    assert isinstance(world.proposed[-1], Offer)
    assert not world.proposed[-1].place
    assert state(moves, job) == (State.WAITING, "kvm1 takes part in 2 moves, and its limit is 2")
    assert not moves.begin(job)
    assert world.asked == ["offer"]
    moves.settings.save(ON.model_copy(update={"max_migrations": 3, "max_storage_migrations": 3}))
    assert moves.begin(job)
    for ended in (first, second):
        moves.jobs.end(ended, State.DONE)
    assert [entry.job for entry in moves.admissions.entries()] == [job]
    assert moves.admissions.entries()[0].expires_at is None


def test_a_place_at_the_destination_is_given_back_when_there_is_none_here(moves: Moves, world: World) -> None:
    world.refusal = FULL
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    world.refusal = None

    def fill() -> None:
        for number in (1, 2):
            another(moves, str(number) * 12)

    world.on_describe = fill
    assert not moves.begin(job)
    assert world.asked[-2:] == ["renew", "release"]
    assert state(moves, job) == (State.WAITING, "kvm1 takes part in 2 moves, and its limit is 2")


def test_a_place_at_the_destination_that_went_to_another_is_waited_for(moves: Moves, world: World) -> None:
    world.refusal = FULL
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    world.refusal = None

    def gone() -> None:
        raise PreflightError(codes.LIMIT_REACHED, reason=FULL, host="kvm2")

    world.on_admit = gone
    assert not moves.begin(job)
    assert state(moves, job) == (State.WAITING, FULL)
    assert not any(entry.granted for entry in moves.admissions.entries())


def test_a_move_that_was_admitted_begins_by_that_plan_when_the_answer_was_lost(moves: Moves, world: World) -> None:
    world.refusal, world.admission = FULL, HERE
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    world.refusal = None

    def lost() -> None:
        world.admitted = True
        raise UnreachableError(codes.HOST_UNREACHABLE, host="kvm2", address="x", why="no answer")

    world.on_admit = lost
    assert not moves.begin(job)
    assert moves.jobs.get(job).state is State.WAITING
    renewed = world.proposed[-1]
    world.vm = world.vm.model_copy(update={"memory": 7 << 30})  # too late: the destination has begun
    world.on_admit = lambda: None
    assert moves.begin(job)
    assert state(moves, job) == (State.RUNNING, None)
    assert world.asked[-3:] == ["hold", "start", "admit"]
    assert spec.load(moves.config.state_folder, job).offer == renewed
    assert len(nonce_files(world)) == 1


def test_moves_to_one_destination_keep_their_order(moves: Moves, world: World) -> None:
    world.refusal, world.admission = FULL, HERE
    first, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    world.vm = world.vm.model_copy(update={"name": "web02"})
    second, _ = moves.move("web02", "kvm2", MoveOptions(), ANN)
    assert [moves.jobs.get(job).position for job in (first, second)] == [1, 2]
    world.refusal = None
    assert not moves.begin(second)
    assert state(moves, second) == (State.WAITING, "earlier moves to kvm2 wait too")
    assert moves.begin(first)
    assert moves.begin(second)


def test_a_move_that_may_not_wait_fails_and_leaves_nothing(moves: Moves, world: World) -> None:
    world.refusal = FULL
    with pytest.raises(PreflightError) as caught:
        moves.move("web01", "kvm2", MoveOptions(), ANN, wait=False)
    assert caught.value.code is codes.LIMIT_REACHED
    assert FULL in caught.value.reason
    assert world.asked[-1] == "abort"
    assert [row.state for row in moves.jobs.list()] == [State.FAILED]
    assert nonce_files(world) == []


def test_a_move_that_waits_can_be_cancelled(moves: Moves, world: World) -> None:
    world.refusal = FULL
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    moves.cancel(job, ANN)
    assert moves.jobs.get(job).state is State.CANCELLED
    assert world.asked[-1] == "abort"
    assert nonce_files(world) == []
    assert moves.begin(job)  # nothing is left to wait
    assert world.asked[-1] == "abort"
    with pytest.raises(UsageError):
        moves.cancel(job, ANN)


def test_a_move_that_waits_fails_when_it_cannot_be_any_more(moves: Moves, world: World) -> None:
    world.refusal = FULL
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    world.refusal = None
    world.vm = world.vm.model_copy(update={"state": "shut off"})
    assert moves.begin(job)
    row = moves.jobs.get(job)
    assert row.state is State.FAILED
    assert row.error is not None
    assert row.error["code"] == "vm-not-running"
    assert world.asked[-1] == "abort"


def test_a_move_waits_on_while_the_destination_is_away(moves: Moves, world: World) -> None:
    world.refusal, world.admission = FULL, HERE
    job, _ = moves.move("web01", "kvm2", MoveOptions(), ANN)
    world.away = True
    assert not moves.begin(job)
    assert "no route" in str(moves.jobs.get(job).reason)
    world.away, world.refusal = False, None
    assert moves.begin(job)


def test_a_check_tries_the_way_and_a_move_leaves_that_to_its_workers(moves: Moves, world: World) -> None:
    world.unreached = [Finding.blocks(codes.DATA_UNREACHABLE, ("", "x"), host="kvm2", addresses="x", why="y")]
    assert found(moves) == ["data-port-unreachable"]
    assert world.tried == ["kvm2"]
    moves.settings.save(NOWHERE)
    assert "data-port-unreachable" not in found(moves)
    moves.settings.save(ON)
    world.tried.clear()
    with pytest.raises(VmferryError):
        moves.move("web01", "kvm2", MoveOptions(), ANN)
    assert world.tried == []


def test_a_check_warns_of_a_host_that_is_full(moves: Moves) -> None:
    assert found(moves) == []
    for number in (1, 2):
        another(moves, str(number) * 12)
    assert found(moves) == ["limit-reached"]
