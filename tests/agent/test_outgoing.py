"""A move that this host's own settings forbid: refused by name before anything is made or anybody asked."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.preflight.make import THERE, VM

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import VmferryError
from vmferry.core.networks import Network
from vmferry.core.offer import Caller, Encryption, Grant, MoveOptions, Performance
from vmferry.core.settings import HostSettings, Protection
from vmferry.core.snapshot import HostSnapshot
from vmferry.core.vm import VmSnapshot
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer, Peers
from vmferry.store.settings import Settings

pytest.importorskip("libvirt")
from vmferry.agent.outgoing import Moves
from vmferry.core.networks import Local
from vmferry.transfer import interfaces

ANN = Caller(name="ann", host="kvm1", method="unix")
KVM2 = Peer("kvm2", "10.91.0.2", 6601, "PEM", "f2", ("*",), 0.0, "root")
ON = HostSettings(migration=True)
ONLY = HostSettings(migration=True, any_network=False, networks=[Network(subnet="10.92.0.0/24")])
NOWHERE = ONLY.model_copy(update={"networks": [Network(subnet="10.95.0.0/24")]})


class Made:
    """The inventory, the launcher and the other host: note what they are asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.offered: list[str] = []
        self.addresses = ["10.92.0.2"]
        self.on_describe: Callable[[], None] = lambda: None

    def describe(self, vm: str) -> VmSnapshot:
        self.on_describe()
        return VM.model_copy(update={"disks": [], "live_xml": "<domain/>", "persistent_xml": "<domain/>"})

    def source(self) -> HostSnapshot:
        return THERE

    def start(self, job: str) -> None:
        self.asked.append("start")

    def offer(self, offer: Any) -> Grant:
        self.asked.append("offer")
        self.offered = offer.networks
        return Grant(
            job_key="5a" * 32,
            live_xml="",
            persistent_xml="",
            disks=[],
            certificate="PEM",
            addresses=self.addresses,
            socket_folder="/x",
        )

    def admit(self, job: str, proof: str) -> None:
        self.asked.append("admit")
        raise VmferryError(codes.HOST_UNREACHABLE, host="kvm2", address="x", why="the test ends here")

    def abort(self, job: str, proof: str, reason: str) -> None:
        self.asked.append("abort")


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.fixture
def moves(tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moves]:
    addresses = [Local("10.91.0.1", 24, "mgmt"), Local("10.92.0.1", 24, "mig")]
    monkeypatch.setattr(interfaces, "addresses", lambda: addresses)
    with Database(tmp_path / "vmferry.db") as database:
        peers = Peers(database)
        peers.add(KVM2)
        jobs, settings = Jobs(database, "kvm1"), Settings(database)
        config = Config(name="kvm1", state_folder=tmp_path, run_folder=tmp_path)
        stand_in: Any = made
        yield Moves(config, jobs, peers, settings, stand_in, stand_in, stand_in, "f1", lambda _config, _peer: stand_in)


def refused(moves: Moves, options: MoveOptions | None = None) -> VmferryError:
    with pytest.raises(VmferryError) as caught:
        moves.move("web01", "kvm2", options or MoveOptions(), ANN)
    return caught.value


def test_a_new_host_sends_nothing(moves: Moves, made: Made) -> None:
    error = refused(moves)
    assert error.code is codes.MIGRATION_DISABLED
    assert "kvm1" in error.reason
    assert "vmferry migration enable" in error.remedy
    assert made.asked == []
    assert moves.jobs.list() == []


def test_a_switch_that_falls_while_the_vm_is_looked_at_is_seen(moves: Moves, made: Made) -> None:
    moves.settings.save(ON)
    made.on_describe = lambda: moves.settings.save(HostSettings())
    assert refused(moves).code is codes.MIGRATION_DISABLED
    assert moves.jobs.list() == []


@pytest.mark.parametrize(
    ("settings", "options", "code"),
    [
        (ON, MoveOptions(encryption=Encryption.OFF), codes.ENCRYPTION_DIFFERS),
        (ON, MoveOptions(performance=Performance.SMB), codes.NOT_BUILT),
        (ON, MoveOptions(storage_path="/srv"), codes.STORAGE_PATH_NEEDS_STORAGE),
        (
            ONLY.model_copy(update={"networks": [Network(subnet="10.95.0.0/24")]}),
            MoveOptions(),
            codes.MIGRATION_NETWORK_MISSING,
        ),
    ],
)
def test_what_the_settings_forbid(
    moves: Moves, made: Made, settings: HostSettings, options: MoveOptions, code: object
) -> None:
    moves.settings.save(settings)
    error = refused(moves, options)
    assert error.code is code
    assert made.asked == []


def test_the_destination_is_told_where_the_move_keeps_to(moves: Moves, made: Made) -> None:
    moves.settings.save(ONLY)
    assert refused(moves).code is codes.HOST_UNREACHABLE
    assert made.offered == ["10.92.0.0/24"]
    assert "admit" in made.asked
    moves.settings.save(ON.model_copy(update={"encryption": Protection.OPTIONAL}))
    refused(moves, MoveOptions(encryption=Encryption.OFF))
    assert made.offered == []


def test_without_a_common_network_nothing_is_made_there(moves: Moves, made: Made) -> None:
    moves.settings.save(ONLY)
    made.addresses = ["10.91.0.2", "kvm2.example"]
    error = refused(moves)
    assert error.code is codes.MIGRATION_NETWORK_NOT_COMMON
    assert "10.92.0.0/24" in error.reason
    assert "10.91.0.2, kvm2.example" in error.reason
    assert made.asked == ["start", "offer", "abort"]  # the destination has a record of the job by then
