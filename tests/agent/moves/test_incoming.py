"""What a host does with a proposal and an offer: its settings, its checks, and libvirt asked last."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from tests.preflight.make import HERE, PLACE, proposal

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import InternalError, PreflightError, UnreachableError, UsageError, VmferryError
from vmferry.core.job import Role, State
from vmferry.core.messages.api import KnownVerdict, VerdictAnswer
from vmferry.core.messages.offer import ChallengeRequest, MoveOptions, Offer, Proposal
from vmferry.core.messages.snapshot import DestinationSnapshot
from vmferry.core.move.messages import Abort
from vmferry.core.options import Encryption
from vmferry.core.policy.admission import HOLD
from vmferry.core.policy.networks import Local, Network
from vmferry.core.policy.settings import HostSettings, Protection
from vmferry.jobs import control, spec
from vmferry.jobs.requests import RequestTaken, WorkerAnswer, WorkerRequest
from vmferry.net import interfaces
from vmferry.store.admissions import Admissions
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer, Peers
from vmferry.store.settings import Settings

pytest.importorskip("libvirt")
from vmferry.agent.moves import offers
from vmferry.agent.moves.incoming import IncomingMoves

PEER = Peer("kvm1", "10.91.0.1", 6601, "PEM", "f1", ("*",), 0.0, "root")
ON = HostSettings(migration=True)
STORAGE = MoveOptions(include_storage=True)


class Seen:
    """A host as a test has it, in the place of hypervisor.snapshot.Snapshots."""

    def __init__(self) -> None:
        self.nonces: list[str | None] = []
        self.here = HERE
        self.refuses: str | None = None
        self.asked: list[str] = []
        self.taken: dict[str, int] = {}
        self.says: str | Exception = KnownVerdict.UNDECIDED
        self.meanwhile: Callable[[], object] = lambda: None

    def destination(
        self, vm: Proposal, paths: dict[str, str], nonce: str | None, *_rest: object
    ) -> DestinationSnapshot:
        self.nonces.append(nonce)
        return self.here.model_copy(
            update={"places": [PLACE.model_copy(update={"path": path}) for path in paths.values()]}
        )

    def verdict(self, job: str, proof: str) -> VerdictAnswer:
        if isinstance(self.says, Exception):
            raise self.says
        return VerdictAnswer.model_validate({"verdict": self.says})

    def resident(self, vm: str) -> int:
        return self.taken.get(vm, 0)

    def refusal(self, *xmls: str) -> str | None:
        self.asked += xmls
        self.meanwhile()
        return self.refuses


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def incoming(tmp_path: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> Iterator[IncomingMoves]:
    monkeypatch.setattr(interfaces, "addresses", lambda: [Local("10.91.0.2", 24, "mgmt")])
    config = Config(name="kvm2", state_folder=tmp_path, run_folder=tmp_path / "run", advertise="10.91.0.2")
    made: Any = seen
    nobody: Any = None
    with Database(config.database) as database:
        settings = Settings(database)
        settings.save(ON)
        peers = Peers(database)
        peers.add(PEER)
        yield IncomingMoves(
            config=config,
            jobs=Jobs(database, "kvm2"),
            admissions=Admissions(database, "kvm2"),
            peers=peers,
            settings=settings,
            snapshots=made,
            launcher=nobody,
            fingerprint="cd" * 32,
            client=lambda _config, _peer: made,
        )


def offer(**changes: Any) -> Offer:
    return Offer(**dict(proposal(**changes)), job="0123456789ab", certificate="PEM")


def test_a_check_says_how_the_vm_would_be(incoming: IncomingMoves, seen: Seen) -> None:
    report = incoming.check(proposal(), PEER)
    assert (report.vm, report.source, report.destination, report.findings) == ("web01", "kvm1", "kvm2", [])
    assert report.addresses == ["10.91.0.2"]
    assert seen.asked == [report.live_xml, report.persistent_xml]
    assert incoming.jobs.list() == []


def test_only_what_was_drawn_for_the_source_and_the_vm_is_looked_for(incoming: IncomingMoves, seen: Seen) -> None:
    def check(nonce: str) -> str | None:
        disk = proposal().disks[0].model_copy(update={"nonce": nonce, "nonce_file": "/srv/.vmferry-1-vda"})
        incoming.check(proposal(disks=[disk]), PEER)
        return seen.nonces[-1]

    drawn = incoming.challenge(ChallengeRequest(uuid=proposal().uuid), PEER).nonce
    assert check("5a" * 16) is None, "the source has made it up"
    assert check(incoming.challenge(ChallengeRequest(uuid=proposal().uuid), KVM3).nonce) is None
    assert check(incoming.challenge(ChallengeRequest(uuid="0" * 36), PEER).nonce) is None
    assert check(drawn) == drawn
    assert check(drawn) is None, "it is used up"


def test_libvirt_sees_nothing_in_which_something_was_found(incoming: IncomingMoves, seen: Seen) -> None:
    seen.here = HERE.model_copy(update={"networks": {}})
    assert [finding.code for finding in incoming.check(proposal(), PEER).findings] == ["network-missing"]
    assert seen.asked == []


def test_what_libvirt_says_is_a_finding(incoming: IncomingMoves, seen: Seen) -> None:
    seen.refuses = "unsupported configuration: no"
    (found,) = incoming.check(proposal(), PEER).findings
    assert (found.code, found.destination) == ("libvirt-refused", "unsupported configuration: no")


def test_an_offer_is_refused_at_the_first_blocker_and_leaves_no_job(incoming: IncomingMoves, seen: Seen) -> None:
    seen.here = HERE.model_copy(update={"names": {"u-8": "web01"}, "networks": {}})
    with pytest.raises(PreflightError) as caught:
        incoming.offer(offer(), PEER)
    assert caught.value.code.name == "name-taken"
    assert incoming.jobs.list() == []


def test_a_grant_carries_the_warnings(incoming: IncomingMoves, seen: Seen) -> None:
    seen.here = HERE.model_copy(update={"clock": 2000.0})
    grant = incoming.offer(offer(), PEER)
    assert [finding.code for finding in grant.findings] == ["clock-differs"]
    assert [job.id for job in incoming.jobs.list()] == ["0123456789ab"]


def test_a_host_speaks_only_for_itself(incoming: IncomingMoves) -> None:
    for ask in (
        lambda: incoming.check(proposal(source="kvm3"), PEER),
        lambda: incoming.offer(offer(source="kvm3"), PEER),
    ):
        with pytest.raises(UsageError):
            ask()


@pytest.mark.parametrize(
    ("settings", "options", "code"),
    [
        (HostSettings(), STORAGE, codes.MIGRATION_DISABLED),
        (ON, STORAGE.model_copy(update={"encryption": Encryption.OFF}), codes.ENCRYPTION_DIFFERS),
        (
            HostSettings(migration=True, any_network=False, networks=[Network(subnet="10.92.0.0/24")]),
            STORAGE,
            codes.MIGRATION_NETWORK_MISSING,
        ),
    ],
)
def test_an_offer_that_the_settings_forbid(
    incoming: IncomingMoves, settings: HostSettings, options: MoveOptions, code: object
) -> None:
    incoming.settings.save(settings)
    with pytest.raises(PreflightError) as caught:
        incoming.offer(offer(options=options), PEER)
    assert caught.value.code is code
    assert "kvm2" in caught.value.reason
    assert incoming.jobs.list() == []
    (found,) = incoming.check(proposal(options=options), PEER).findings
    assert (found.code, found.source) == (caught.value.code.name, "")
    assert found.destination


def test_networks_of_an_offer_are_checked_where_they_come_in() -> None:
    with pytest.raises(ValueError, match="neither a subnet"):
        Offer.model_validate(offer().model_dump() | {"networks": ["10.0.0.0/24; rm"]})


# --- places and bookings --------------------------------------------------------------------------------------------

ONE = HostSettings(migration=True, max_migrations=1, max_storage_migrations=1)
GIB = 1 << 30


def numbered(number: int, **changes: Any) -> Offer:
    vm = {"vm": f"web{number:02}", "uuid": f"7f0c8cc5-2d4c-4f4b-9b5a-{number:012}"}
    xmls = {
        name: getattr(proposal(), name).replace("web01", vm["vm"]).replace(proposal().uuid, vm["uuid"])
        for name in ("live_xml", "persistent_xml")
    }
    disks = [proposal().disks[0].model_copy(update={"path": f"/var/lib/libvirt/images/{vm['vm']}.qcow2"})]
    size = f"<memory unit='MiB'>{changes.get('memory', GIB) >> 20}<"
    xmls = {name: xml.replace("<memory unit='MiB'>1024<", size) for name, xml in xmls.items()}
    xmls = {name: xml.replace(proposal().disks[0].path, disks[0].path) for name, xml in xmls.items()}
    made = proposal(**(vm | xmls | {"disks": disks, "options": STORAGE} | changes))
    return Offer(**dict(made), job=f"{number:012x}", certificate="PEM")


def test_an_offer_to_a_full_host_is_authorised_and_waits(incoming: IncomingMoves) -> None:
    incoming.settings.save(ONE)
    first, second = numbered(1), numbered(2)
    assert incoming.offer(first, PEER).refusal is None
    full = "kvm2 takes part in 1 move, and its limit is 1"
    assert incoming.offer(second, PEER).refusal == full
    assert incoming.hold(second.job).refusal == full
    with pytest.raises(PreflightError) as caught:
        incoming.admit(second.job)
    assert (caught.value.code, caught.value.fields["reason"]) == (codes.LIMIT_REACHED, full)
    assert [row.state for row in incoming.jobs.list()] == [State.WAITING, State.WAITING]
    incoming.release(first.job)
    assert incoming.hold(second.job).refusal == f"kvm2 has a free slot, which goes to job {first.job}: " + (
        "it has waited for longer"
    )
    incoming.abort(first.job, "cancelled")
    assert incoming.hold(second.job).refusal is None


def test_a_move_that_is_cancelled_at_the_source_is_cancelled_here_too(incoming: IncomingMoves) -> None:
    for number, (by, state) in enumerate((("root", State.CANCELLED), ("", State.FAILED)), start=1):
        incoming.offer(numbered(number), PEER)
        incoming.abort(numbered(number).job, f"Job {number} was cancelled by root.", by)
        row = incoming.jobs.get(numbered(number).job)
        assert (row.state, row.error and row.error["code"]) == (state, "cancelled" if by else "move-failed")
        assert row.reason is not None
        assert ".." not in row.reason


def test_an_offer_that_wants_no_place_takes_none(incoming: IncomingMoves) -> None:
    incoming.settings.save(ONE)
    assert incoming.offer(numbered(1).model_copy(update={"place": False}), PEER).refusal is None
    assert incoming.admissions.entries() == []


def test_the_same_memory_is_never_counted_twice(incoming: IncomingMoves, seen: Seen) -> None:
    seen.here = HERE.model_copy(update={"memory": 5 * GIB})
    incoming.offer(numbered(1, memory=3 * GIB), PEER)
    with pytest.raises(PreflightError) as caught:
        incoming.offer(numbered(2, memory=3 * GIB), PEER)
    assert (caught.value.code, caught.value.fields["free"]) == (codes.MEMORY_SHORT, 2 * GIB)
    # What the first one has taken is not free any more; only the rest is still booked.
    seen.here = HERE.model_copy(update={"memory": 4 * GIB})
    seen.taken = {"web01": 1 * GIB}
    assert incoming.offer(numbered(3, memory=2 * GIB), PEER).refusal is None


def test_the_same_space_is_never_counted_twice(incoming: IncomingMoves) -> None:
    full = {"options": STORAGE.model_copy(update={"full_space": True})}  # 10 GiB each, and 10 are free
    incoming.offer(numbered(1), PEER)  # 2 GiB
    with pytest.raises(PreflightError) as caught:
        incoming.offer(numbered(2, **full), PEER)
    assert (caught.value.code, caught.value.fields["free"]) == (codes.STORAGE_FULL, 8 * GIB)
    incoming.abort(numbered(1).job, "cancelled")
    incoming.offer(numbered(3, **full), PEER)
    with pytest.raises(PreflightError):
        incoming.offer(numbered(4), PEER)


def test_a_move_that_waited_is_checked_again_and_books_what_it_needs_then(incoming: IncomingMoves, seen: Seen) -> None:
    incoming.settings.save(ONE)
    incoming.offer(numbered(1), PEER)
    first = incoming.offer(numbered(2), PEER)
    incoming.abort(numbered(1).job, "cancelled")
    assert incoming.hold(numbered(2).job).refusal is None
    grant = incoming.renew(numbered(2).job, numbered(2, memory=2 * GIB))
    assert (grant.job_key, grant.certificate) == (first.job_key, first.certificate)
    (entry,) = incoming.admissions.entries()
    assert (entry.memory, entry.space) == (2 * GIB, {"1": 2 * GIB})
    seen.here = HERE.model_copy(update={"networks": {}})
    with pytest.raises(PreflightError) as caught:
        incoming.renew(numbered(2).job, numbered(2))
    assert caught.value.code is codes.NETWORK_MISSING


@pytest.mark.parametrize(
    "change", [{"vm": "db01"}, {"uuid": "u"}, {"certificate": "other"}, {"caller": proposal().caller, "source": "kvm3"}]
)
def test_only_the_vm_that_was_offered_comes(incoming: IncomingMoves, change: dict[str, Any]) -> None:
    incoming.offer(numbered(1), PEER)
    with pytest.raises(UsageError):
        incoming.renew(numbered(1).job, numbered(1).model_copy(update=change))


def test_a_source_is_told_that_its_move_was_admitted_already(incoming: IncomingMoves) -> None:
    incoming.offer(numbered(1), PEER)
    assert not incoming.hold(numbered(1).job).admitted
    incoming.jobs.mark(numbered(1).job, State.RUNNING, None)
    held = incoming.hold(numbered(1).job)
    assert (held.refusal, held.admitted) == (None, True)


def test_the_source_may_offer_a_vm_anew_that_waits_here(incoming: IncomingMoves) -> None:
    incoming.offer(numbered(1), PEER)
    incoming.offer(numbered(1).model_copy(update={"job": "a" * 12}), PEER)
    assert [(row.id, row.state) for row in incoming.jobs.list()] == [
        (numbered(1).job, State.FAILED),
        ("a" * 12, State.WAITING),
    ]
    with pytest.raises(VmferryError):
        incoming.hold(numbered(1).job)


def test_disabling_migration_ends_what_waits(incoming: IncomingMoves) -> None:
    incoming.offer(numbered(1), PEER)
    incoming.settings.save(HostSettings())
    with pytest.raises(PreflightError) as caught:
        incoming.hold(numbered(1).job)
    assert caught.value.code is codes.MIGRATION_DISABLED


AWAY = UnreachableError(codes.HOST_UNREACHABLE, host="kvm1", address="x", why="no route")


@pytest.mark.parametrize(
    ("says", "age", "state"),
    [
        ("undecided", 31.0, State.WAITING),
        ("postponed", 31.0, State.WAITING),
        (AWAY, 6e5, State.WAITING),
        (AWAY, 7e5, State.FAILED),
        ("undecided", 7e5, State.FAILED),
        ("abort", 29.0, State.WAITING),
        ("abort", 31.0, State.FAILED),
        (UsageError(codes.JOB_UNKNOWN, job="x", host="kvm1"), 31.0, State.FAILED),
    ],
)
def test_what_its_source_has_given_up_waits_no_more(
    incoming: IncomingMoves,
    seen: Seen,
    monkeypatch: pytest.MonkeyPatch,
    says: str | Exception,
    age: float,
    state: State,
) -> None:
    incoming.offer(numbered(1), PEER)
    seen.says = says
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + age)
    incoming.tidy()
    assert incoming.jobs.get(numbered(1).job).state is state


# --- what one host may have here ------------------------------------------------------------------------------------

KVM3 = Peer("kvm3", "10.91.0.3", 6601, "PEM", "f3", ("*",), 0.0, "root")


def from_kvm3(made: Offer, number: int) -> Offer:
    return made.model_copy(update={"source": "kvm3", "job": f"{number:012x}"})


def test_an_offer_that_waits_keeps_no_other_host_from_its_name(incoming: IncomingMoves) -> None:
    incoming.peers.add(KVM3)
    squatter, honest = numbered(1).model_copy(update={"place": False}), from_kvm3(numbered(1), 77)
    incoming.offer(squatter, PEER)
    assert incoming.offer(honest, KVM3).refusal is None
    assert incoming.jobs.active_for(honest.vm) is None  # nor this host's own VM of that name
    incoming.jobs.create("own", Role.SOURCE, honest.vm, "kvm3", honest.caller, {})
    incoming.jobs.end("own", State.DONE)


@pytest.mark.parametrize("same", ["vm", "uuid"])
def test_only_one_of_them_is_admitted(incoming: IncomingMoves, same: str) -> None:
    incoming.peers.add(KVM3)
    first, second = numbered(1), from_kvm3(numbered(2 if same == "uuid" else 1), 77)
    second = second.model_copy(update={"uuid": first.uuid} if same == "uuid" else {})
    incoming.offer(first, PEER)
    incoming.settings.save(HostSettings(migration=True, max_migrations=9, max_storage_migrations=9))
    incoming.jobs.create(second.job, Role.DESTINATION, second.vm, "kvm3", second.caller, {}, State.WAITING)
    folder = incoming.config.state_folder
    spec.save(folder, spec.load(folder, first.job).model_copy(update={"offer": second}))
    incoming.jobs.mark(first.job, State.RUNNING, None)
    with pytest.raises(PreflightError) as refused:
        incoming.admit(second.job)
    assert refused.value.code is codes.VM_BUSY
    assert incoming.jobs.get(second.job).state is State.WAITING


def test_offers_of_one_host_are_bounded(incoming: IncomingMoves, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "MOST", 3)
    incoming.peers.add(KVM3)
    for number in range(3):
        incoming.offer(numbered(number).model_copy(update={"place": False}), PEER)
    with pytest.raises(PreflightError) as refused:
        incoming.offer(numbered(3).model_copy(update={"place": False}), PEER)
    assert refused.value.code is codes.PEER_LIMIT
    incoming.offer(from_kvm3(numbered(4), 77), KVM3)  # others have their own
    incoming.offer(numbered(2).model_copy(update={"job": "0123456789ff", "place": False}), PEER)  # anew, not more


def test_offers_of_one_host_are_bounded_by_size(incoming: IncomingMoves, monkeypatch: pytest.MonkeyPatch) -> None:
    incoming.offer(numbered(1).model_copy(update={"place": False}), PEER)
    monkeypatch.setattr(offers, "SIZE", 2 * spec.size(incoming.config.state_folder, numbered(1).job))
    incoming.offer(numbered(2).model_copy(update={"place": False}), PEER)
    with pytest.raises(PreflightError) as refused:
        incoming.offer(numbered(3).model_copy(update={"place": False}), PEER)
    assert refused.value.code is codes.PEER_LIMIT


def test_what_one_host_begins_in_a_day_is_bounded(incoming: IncomingMoves, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "DAILY", 3)
    incoming.peers.add(KVM3)
    for number in range(3):
        incoming.offer(numbered(number), PEER)
        incoming.abort(numbered(number).job, "enough")
    with pytest.raises(PreflightError) as refused:
        incoming.offer(numbered(3), PEER)
    assert refused.value.code is codes.PEER_LIMIT
    incoming.offer(from_kvm3(numbered(4), 77), KVM3)
    day = time.time() + 86401
    monkeypatch.setattr(time, "time", lambda: day)
    incoming.offer(numbered(3), PEER)


# --- what is true when a job is admitted, and not when it was offered -------------------------------------------------


@pytest.mark.parametrize("lapse", ["release", "wait"])
def test_a_place_without_what_was_booked_with_it_admits_nothing(
    incoming: IncomingMoves, monkeypatch: pytest.MonkeyPatch, lapse: str
) -> None:
    made = numbered(1)
    incoming.offer(made, PEER)
    if lapse == "release":
        incoming.release(made.job)
    else:
        later = time.time() + 2 * HOLD
        monkeypatch.setattr(incoming.admissions, "_clock", lambda: later)
    with pytest.raises(PreflightError) as refused:
        incoming.admit(made.job)
    assert refused.value.code is codes.LIMIT_REACHED
    assert incoming.jobs.get(made.job).state is State.WAITING
    assert incoming.hold(made.job).refusal is None  # what an honest source does then
    incoming.renew(made.job, made)
    begin(incoming, made.job)


def begin(incoming: IncomingMoves, job: str) -> None:
    """Admit a job whose worker fails at once."""
    failed = InternalError(codes.INTERNAL, why="no worker").problem()
    launcher: Any = Worker(lambda: incoming.jobs.end(job, State.FAILED, failed))
    with pytest.raises(InternalError, match="no worker"):
        replace(incoming, launcher=launcher).admit(job)


class Worker:
    """A launcher whose workers do one thing."""

    def __init__(self, do: Callable[[], object]) -> None:
        self._do = do

    def start(self, job: str) -> None:
        self._do()


@pytest.mark.parametrize(
    ("settings", "code"),
    [(HostSettings(), codes.MIGRATION_DISABLED), (ON, codes.ENCRYPTION_DIFFERS)],
)
def test_settings_that_were_changed_meanwhile_hold(
    incoming: IncomingMoves, settings: HostSettings, code: object
) -> None:
    incoming.settings.save(ON.model_copy(update={"encryption": Protection.OPTIONAL}))
    made = numbered(1, options=STORAGE.model_copy(update={"encryption": Encryption.OFF}))
    incoming.offer(made, PEER)
    incoming.settings.save(settings)
    with pytest.raises(PreflightError) as refused:
        incoming.admit(made.job)
    assert refused.value.code is code
    assert incoming.jobs.get(made.job).state is State.WAITING


def test_an_offer_that_was_admitted_meanwhile_is_not_dropped(incoming: IncomingMoves, seen: Seen) -> None:
    made = numbered(1)
    incoming.offer(made, PEER)
    row = incoming.jobs.get(made.job)
    incoming.jobs.mark(made.job, State.RUNNING, None)
    assert not incoming._offers.drop(row, "too late")
    assert incoming.jobs.get(made.job).state is State.RUNNING
    assert spec.load(incoming.config.state_folder, made.job).offer == made


def test_an_offer_that_is_admitted_while_it_is_renewed_stays_as_it_was(incoming: IncomingMoves, seen: Seen) -> None:
    made = numbered(1)
    incoming.offer(made, PEER)
    before = incoming.admissions.entries()
    seen.meanwhile = lambda: incoming.jobs.mark(made.job, State.RUNNING, None)
    with pytest.raises(UsageError):
        incoming.renew(made.job, numbered(1, memory=2 * GIB))
    assert spec.load(incoming.config.state_folder, made.job).offer == made
    assert incoming.admissions.entries() == before


def test_a_worker_that_has_yet_to_listen_hears_that_the_move_is_given_up(incoming: IncomingMoves) -> None:
    made = numbered(1)
    incoming.offer(made, PEER)
    incoming.jobs.mark(made.job, State.RUNNING, None)
    heard: Queue[Any] = Queue()

    def handle(request: WorkerRequest) -> WorkerAnswer:
        heard.put(request)
        return RequestTaken(ended=True)

    launcher: Any = Worker(lambda: None)
    thread = threading.Thread(target=replace(incoming, launcher=launcher).abort, args=(made.job, "enough"))
    thread.start()
    place = control.path(incoming.config.run_folder, made.job)
    place.parent.mkdir(parents=True)
    server = control.ControlServer(place, handle)
    try:
        assert heard.get(timeout=10) == Abort(why="enough")
        thread.join(10)
        assert not thread.is_alive()
        assert incoming.jobs.get(made.job).state is State.RUNNING
    finally:
        server.close()
