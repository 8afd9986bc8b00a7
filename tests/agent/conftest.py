"""Whole daemons in this process, on real sockets; only what moves VMs is made up, behind its interface."""

import asyncio
import os
import queue
import shutil
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.store.steps import walk

from vmferry.agent.auditlog.log import AuditLog
from vmferry.agent.daemon import Daemon
from vmferry.agent.http import server
from vmferry.agent.peers.credssp import CredSspSignIns
from vmferry.agent.peers.incoming_signin import SignIns
from vmferry.agent.services import Services, Stores
from vmferry.client import Client
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.job import Phase, Role, State
from vmferry.core.messages.api import KnownVerdict, Outcome, VerdictAnswer
from vmferry.core.messages.bandwidth import BandwidthOpening, BandwidthRequest
from vmferry.core.messages.diagnosis import Facts, FactsRequest, HostReport, Matrix, View
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import (
    Address,
    Admission,
    Caller,
    Challenge,
    ChallengeRequest,
    Grant,
    Hold,
    MoveOptions,
    Offer,
    Report,
)
from vmferry.core.messages.probe import ProbeOpening, ProbeRequest
from vmferry.core.messages.snapshot import HostSnapshot
from vmferry.core.messages.vm import VmDetail, VmSummary
from vmferry.core.policy.settings import Protection
from vmferry.identity.access import UnixUser
from vmferry.identity.certificates import host_identity
from vmferry.identity.kerberos import HostKeys
from vmferry.identity.peer import PeerClient
from vmferry.jobs import requests
from vmferry.jobs.requests import WorkerReport
from vmferry.store.admissions import Admissions
from vmferry.store.database import Database
from vmferry.store.invitations import Invitations
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer, Peers
from vmferry.store.settings import Settings
from vmferry.store.tokens import Tokens

LIMIT = 10.0  # seconds that an event may take
WEB01 = VmDetail(
    name="web01",
    uuid="7f0c8cc5-2d4c-4f4b-9b5a-0123456789ab",
    state="running",
    memory=1 << 30,
    vcpus=2,
    autostart=True,
    persistent=True,
    disks=[],
    machine="pc-q35-7.2",
    emulator="/usr/bin/qemu-system-x86_64",
    networks=["default"],
)
KEY = "5a" * 32
WELL = HostReport(name="kvm1", vmferry="0.1.0", libvirt="9.0.0", qemu="7.2.0", migration=True, findings=[], untold=[])
WARNING = Finding.warns(codes.SAME_HOSTNAME, ("kvm", "kvm"), source="kvm1", host="kvm2", hostname="kvm")

if TYPE_CHECKING:
    from tests.agent.world import World

    from vmferry.agent.moves.outgoing import OutgoingMoves


def report(vm: str) -> Report:
    return Report(
        vm=vm,
        source="kvm1",
        destination="kvm2",
        findings=[WARNING],
        disks=[],
        addresses=["10.0.0.2"],
        live_xml="<domain/>",
        persistent_xml="<domain/>",
    )


class Made:
    """Everything behind the interfaces: notes what it is asked, does what a test says."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.asked: list[tuple[Any, ...]] = []
        self.raises: Exception | None = None
        self.said = KnownVerdict.UNDECIDED
        self.full = False  # whether moves have to wait
        self.begun: queue.Queue[str] = queue.Queue()
        self.started: queue.Queue[str] = queue.Queue()
        self.reports: dict[str, asyncio.Queue[bytes | None]] = {}
        self.loop: asyncio.AbstractEventLoop | None = None

    def _note(self, *asked: Any) -> None:
        self.asked.append(asked)
        if self.raises is not None:
            raise self.raises

    # Inventory
    def vms(self) -> list[VmSummary]:
        self._note("vms")
        return [VmSummary.model_validate(WEB01.model_dump())]

    def vm(self, name: str) -> VmDetail:
        self._note("vm", name)
        if name != WEB01.name:
            raise UsageError(codes.VM_UNKNOWN, vm=name, host="kvm1")
        return WEB01

    # Outgoing and Incoming
    def check(self, vm: Any, *asked: Any, predict: bool = False, credential: Any = None) -> Report:
        self._note("check", vm, *asked, *(["predict"] if predict else []))
        return report(vm if isinstance(vm, str) else vm.vm)

    # Outgoing
    def move(
        self,
        vm: str,
        destination: str,
        options: MoveOptions,
        caller: Caller,
        *,
        wait: bool = True,
        credential: Any = None,
    ) -> tuple[str, list[Finding]]:
        self._note("move", vm, destination, options, caller, *([] if wait else ["no wait"]))
        state = State.WAITING if self.full else State.RUNNING
        self.jobs.create("0001", Role.SOURCE, vm, destination, caller, options.model_dump(mode="json"), state)
        return "0001", [WARNING]

    def begin(self, job: str) -> bool:
        self.begun.put(job)
        if self.full:
            return False
        self.jobs.mark(job, State.RUNNING, None)
        return True

    def cancel(self, job: str, caller: Caller) -> None:
        self._note("cancel", job, caller)

    def key(self, job: str) -> str:
        return KEY

    def verdict(self, job: str) -> VerdictAnswer:
        self._note("verdict", job)
        return VerdictAnswer(verdict=self.said)

    # Incoming
    def challenge(self, request: ChallengeRequest, peer: Peer) -> Challenge:
        self._note("challenge", request, peer)
        return Challenge(nonce="5a" * 16)

    def offer(self, offer: Offer, peer: Peer) -> Grant:
        self._note("offer", offer, peer)
        self.jobs.create(offer.job, Role.DESTINATION, offer.vm, peer.name, offer.caller, {})
        return Grant(
            addresses=["10.0.0.2"],
            job_key=KEY,
            live_xml="<domain/>",
            persistent_xml="<domain/>",
            artifacts=[],
            certificate="PEM",
            socket_folder="/run/vmferry/jobs/x",
        )

    def hold(self, job: str) -> Hold:
        self._note("hold", job)
        return Hold(refusal="kvm2 is full")

    def release(self, job: str) -> None:
        self._note("release", job)

    def renew(self, job: str, offer: Offer) -> Grant:
        self._note("renew", job, offer)
        raise UsageError(codes.TOO_LATE, job=job)

    def admit(self, job: str) -> Admission:
        self._note("admit", job)
        return Admission(addresses=[Address(host="10.0.0.2", port=6610)])

    def abort(self, job: str, reason: str, cancelled_by: str = "") -> None:
        self._note("abort", job, reason)

    def tidy(self) -> None:
        pass

    def go(self, job: str, *, suspended: bool = False) -> Outcome:
        self._note("go", (job, suspended))
        return Outcome(ended=False)

    # Launcher
    def start(self, job: str) -> None:
        self.started.put(job)

    # Doctor
    def examine(self) -> HostReport:
        self._note("examine")
        return WELL

    def diagnose(self, names: Sequence[str], caller: Caller) -> Matrix:
        self._note("diagnose", names, caller)
        return Matrix(hosts=[WELL], pairs=[])

    def facts(self, request: FactsRequest) -> Facts:
        self._note("facts", request)
        return Facts(
            host=HostSnapshot(uuid="11111111-1111-4111-8111-111111111111"),
            encryption=Protection.REQUIRED,
            addresses=["10.0.0.2"],
            findings=[],
        )

    def view(self, names: Sequence[str]) -> View:
        self._note("view", names)
        return View(report=WELL, pairs=[])

    # Probes
    def listen(self, request: ProbeRequest, peer: Peer) -> ProbeOpening:
        self._note("listen", request, peer)
        return ProbeOpening(addresses=[], secrets=[], answer="")

    # Bandwidths
    def open(self, request: BandwidthRequest, peer: Peer) -> BandwidthOpening:
        self._note("open", request, peer)
        return BandwidthOpening(id="x", key=KEY, certificate="PEM", addresses=[])

    # Watch
    async def watch(self, run_folder: Path, job: str) -> AsyncIterator[WorkerReport | None]:
        queue = self.reports.setdefault(job, asyncio.Queue())
        while (line := await queue.get()) is not None:
            yield requests.read_report(line)

    def report(self, job: str, report: WorkerReport | bytes) -> None:
        """Tell as the transfer process of a job would."""
        assert self.loop is not None
        line = report if isinstance(report, bytes) else requests.write_report(report)
        self.loop.call_soon_threadsafe(lambda: self.reports.setdefault(job, asyncio.Queue()).put_nowait(line))


class Node:
    """One host: a daemon with folders of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.config = Config(
            name=name,
            state_folder=folder / name / "state",
            run_folder=folder / name / "run",
            audit_folder=folder / name / "log",
            listen=["127.0.0.1"],
            port=free_port(),
            keytab=folder / name / "krb5.keytab",
        )
        self.config.run_folder.mkdir(parents=True)
        self.identity = host_identity(self.config)
        self.database = Database(self.config.database)
        self.stores = Stores(
            database=self.database,
            jobs=Jobs(self.database, name),
            admissions=Admissions(self.database, name),
            peers=Peers(self.database),
            invitations=Invitations(self.database),
            settings=Settings(self.database),
            tokens=Tokens(self.database),
        )
        self.made = Made(self.stores.jobs)
        self.client = Client.local(self.config)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the daemon."""
        started = threading.Event()
        failed: list[BaseException] = []

        async def run() -> None:
            self.made.loop = asyncio.get_running_loop()
            self.made.reports.clear()  # queues belong to one loop
            self._stop = asyncio.Event()
            made = self.made
            self.trail = AuditLog(self.config.audit_log)  # a daemon that starts knows nothing of its log but the file
            keys = HostKeys(self.config.keytab, self.config.name)
            sign_ins = SignIns(self.config, self.stores.peers, self.stores.settings, keys, self.stores.jobs)
            services = Services(
                config=self.config,
                identity=self.identity,
                stores=self.stores,
                inventory=made,
                preview=made,
                outgoing=made,
                incoming=made,
                launcher=made,
                watch=made.watch,
                doctor=made,
                probes=made,
                bandwidths=made,
                sign_ins=sign_ins,
                credssp=CredSspSignIns(sign_ins),
                keys=keys,
                domains=_no_domains,
                group_sid=lambda group: {"@ops@LAB.TEST": "S-1-5-21-1-2-3-1200"}[group],
                trail=self.trail,
            )
            daemon = Daemon(services)
            await daemon.start()
            started.set()
            await self._stop.wait()
            await daemon.stop()

        def body() -> None:
            try:
                asyncio.run(run())
            except BaseException as error:
                failed.append(error)
                started.set()

        self._thread = threading.Thread(target=body, name=self.config.name)
        self._thread.start()
        assert started.wait(LIMIT)
        if failed:
            raise failed[0]

    def stop(self) -> None:
        """Stop it."""
        if self._thread is not None and self._thread.is_alive():
            assert self.made.loop is not None
            self.made.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(LIMIT)
            assert not self._thread.is_alive()
        self._thread = None

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self.client.close()
        self.database.close()

    def pair(self, other: "Node") -> None:
        """Pair with another node, by its token."""
        self.client.pair(other.client.invite().token)

    def peer(self, other: "Node") -> PeerClient:
        """Give the client by which this node calls another that it is paired with."""
        found = self.stores.peers.get(other.config.name)
        assert found is not None
        return PeerClient(self.config, found)

    def job(self, id: str = "0001", role: Role = Role.SOURCE, peer: str = "kvm2") -> str:  # noqa: A002
        """Make a job of web01."""
        self.stores.jobs.create(id, role, "web01", peer, Caller(name="root", host="kvm1", method="unix"), {})
        return id

    def end(self, id: str = "0001", state: State = State.DONE) -> None:  # noqa: A002
        """End it."""
        self.stores.jobs.end(id, state)

    def step(self, phase: Phase, id: str = "0001") -> None:  # noqa: A002
        """Let its transfer process take a step."""
        walk(self.stores.jobs, id, phase)
        self.made.report(id, phase)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _no_domains() -> Any:
    raise AssertionError("no libvirt here")


@pytest.fixture(autouse=True)
def root_of_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the daemons take whoever runs the tests for root, so that no test needs to be run as root for that."""
    real = server._unix_user

    def user(sock: Any) -> UnixUser:
        found = real(sock)
        return UnixUser(0 if found.uid == os.geteuid() else found.uid, found.groups)

    monkeypatch.setattr(server, "_unix_user", user)


@pytest.fixture
def nodes() -> Iterator[Callable[[str], Node]]:
    """Make hosts by name, started."""
    folder = Path(tempfile.mkdtemp(prefix="vmferry-"))  # pytest's own can be too long for a unix socket
    folder.chmod(0o755)
    made: list[Node] = []

    def make(name: str) -> Node:
        made.append(Node(name, folder))
        made[-1].start()
        return made[-1]

    try:
        yield make
    finally:
        for node in made:
            node.close()
        shutil.rmtree(folder)


@pytest.fixture
def kvm1(nodes: Callable[[str], Node]) -> Node:
    return nodes("kvm1")


@pytest.fixture
def kvm2(nodes: Callable[[str], Node]) -> Node:
    return nodes("kvm2")


@pytest.fixture
def world(tmp_path: Path) -> "World":
    """A VM and two hosts, for what goes out of this one."""
    pytest.importorskip("libvirt")
    from tests.agent.world import World

    return World(tmp_path)


@pytest.fixture
def moves(tmp_path: Path, world: "World") -> "Iterator[OutgoingMoves]":
    """What moves that VM."""
    from tests.agent.world import of

    with of(tmp_path, world) as made:
        yield made
