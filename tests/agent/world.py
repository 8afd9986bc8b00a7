"""A VM, its host and another one, in the place of libvirt, processes and the network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.preflight.make import DISK, THERE, VM

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import UnreachableError, VmferryError
from vmferry.core.job import Role
from vmferry.core.kinds import CopiedBy
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import (
    Address,
    Admission,
    ArtifactPlan,
    Caller,
    Grant,
    Hold,
    MoveOptions,
    Offer,
    Proposal,
    Report,
)
from vmferry.core.messages.snapshot import HostSnapshot
from vmferry.core.messages.use import Surroundings
from vmferry.core.messages.vm import VmSnapshot
from vmferry.core.policy.admission import MoveLimits
from vmferry.core.policy.networks import Local, Network
from vmferry.core.policy.settings import HostSettings
from vmferry.identity.peer import PeerClient
from vmferry.net import interfaces
from vmferry.preflight import plan
from vmferry.preflight.case import End
from vmferry.store.admissions import Admissions
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer, Peers
from vmferry.store.settings import Settings

pytest.importorskip("libvirt")
from vmferry.agent.moves.outgoing import OutgoingMoves
from vmferry.agent.moves.precheck import Precheck

ANN = Caller(name="ann", host="kvm1", method="unix")
KVM2 = Peer("kvm2", "10.91.0.2", 6601, "PEM", "f2", ("*",), 0.0, "root")
ON = HostSettings(migration=True)
ONLY = HostSettings(migration=True, any_network=False, networks=[Network(subnet="10.92.0.0/24")])
NOWHERE = ONLY.model_copy(update={"networks": [Network(subnet="10.95.0.0/24")]})
MISSING = Finding.blocks(
    codes.NETWORK_MISSING, ("bridge br0", "br1"), host="kvm2", network="br0", here="br0", vm="web01", known="br1"
)
LATE = Finding.warns(codes.CLOCK_DIFFERS, ("1", "9"), source="kvm1", host="kvm2", seconds=8)
LATER = Finding.blocks(
    codes.DEADLINE_MISSED, ("", ""), vm="web01", host="kvm2", seconds=9.0, why="it would take 60 s", advice="wait"
)
ENDLESS = Finding.warns(codes.WILL_NOT_CONVERGE, ("", ""), vm="web01", host="kvm2", why="it writes", advice="wait")
FULL = "kvm2 takes part in 2 moves, and its limit is 2"
HERE = Admission(addresses=[Address(host="10.92.0.2", port=6610)])


class World:
    """The VM, this host, its workers and the other host, in the place of libvirt, processes and the network."""

    def __init__(self, folder: Path) -> None:
        (folder / "web01.qcow2").touch()
        self.vm = VM.model_copy(update={"disks": [DISK.model_copy(update={"path": str(folder / "web01.qcow2")})]})
        self.surroundings = Surroundings()
        self.on_describe: Callable[[], None] = lambda: None
        self.findings: list[Finding] = []
        self.run_folder = Path("/run/vmferry")
        self.foretold: list[Finding] = []
        self.addresses = ["10.92.0.2"]
        self.admission: Admission | None = None
        self.refusal: str | None = None
        self.away = False
        self.admitted = False
        self.on_admit: Callable[[], None] = lambda: None
        self.asked: list[str] = []
        self.cancelled_by = ""
        self.proposed: list[Proposal] = []
        self.nonces: list[str] = []
        self.drawn: list[str] = []
        self.tried: list[str] = []
        self.unreached: list[Finding] = []

    def describe(self, name: str) -> VmSnapshot:
        self.on_describe()
        return self.vm

    def around(self, vm: VmSnapshot) -> Surroundings:
        return self.surroundings

    def source(self) -> HostSnapshot:
        return THERE

    def start(self, job: str) -> None:
        self.asked.append("start")

    def challenge(self, uuid: str) -> str:
        self.drawn.append(uuid)
        return "5a" * 16

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
        return self._grant(offer)

    def _grant(self, offer: Offer) -> Grant:
        planned = plan.paths(offer)["vda"]
        return Grant(
            job_key="5a" * 32,
            live_xml="",
            persistent_xml="",
            artifacts=[ArtifactPlan(target="vda", path=planned, shared=False, copied_by=CopiedBy.MIRROR)],
            certificate="PEM",
            findings=self.findings,
            addresses=self.addresses,
            socket_folder=f"{self.run_folder}/jobs/{offer.job}",
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
        return self._grant(offer)

    def admit(self, job: str, proof: str) -> Admission:
        self.asked.append("admit")
        self.on_admit()
        if self.admission is None:
            raise VmferryError(codes.HOST_UNREACHABLE, host="kvm2", address="x", why="the test ends here")
        return self.admission

    def abort(self, job: str, proof: str, reason: str, cancelled_by: str = "") -> None:
        self.asked.append("abort")
        self.cancelled_by = cancelled_by

    def add(self, report: Report, vm: VmSnapshot, *rest: Any) -> Report:
        self.asked.append("foretell")
        return report.model_copy(update={"findings": report.findings + self.foretold})


@contextmanager
def of(folder: Path, world: World) -> Iterator[OutgoingMoves]:
    """Give what moves the VM of a world, which begins with nothing else."""
    addresses = [Local("10.91.0.1", 24, "mgmt"), Local("10.92.0.1", 24, "mig")]
    config = Config(name="kvm1", state_folder=folder, run_folder=folder / "run")
    world.run_folder = config.run_folder
    made: Any = world
    with Database(config.database) as database, pytest.MonkeyPatch.context() as patch:
        patch.setattr(interfaces, "addresses", lambda: addresses)
        peers = Peers(database)
        peers.add(KVM2)
        settings = Settings(database)
        settings.save(ON)
        jobs, admissions = Jobs(database, "kvm1"), Admissions(database, "kvm1")
        prospects = Precheck(
            config=config,
            jobs=jobs,
            admissions=admissions,
            peers=peers,
            settings=settings,
            inventory=made,
            snapshots=made,
            fingerprint="f1",
            forecasts=made,
            client=lambda _config, _peer: made,
            reach=world.reach,
        )
        yield OutgoingMoves(config, jobs, admissions, settings, launcher=made, prospects=prospects)


def found(moves: OutgoingMoves, options: MoveOptions | None = None) -> list[str]:
    return [finding.code for finding in moves.prospects.check("web01", "kvm2", options or MoveOptions(), ANN).findings]


def another(moves: OutgoingMoves, job: str, *, storage: bool = True) -> str:
    """Let this host take part in one more move."""
    moves.jobs.create(job, Role.DESTINATION, f"vm-{job}", "kvm3", ANN, {})
    assert moves.admissions.ask(job, storage=storage, limits=MoveLimits(moves=9, storage=9)) is None
    moves.admissions.keep(job)
    return job
