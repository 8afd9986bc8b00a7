"""The measurement of the way between two daemons, on real sockets, and what keeps it from being made."""

import threading
from pathlib import Path
from typing import Any

import pytest
from tests.preflight.make import end

from vmferry.agent.measure.bandwidth import Bandwidths
from vmferry.agent.measure.lock import MeasurementLock
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import PreflightError, UsageError, VmferryError
from vmferry.core.job import Role, State
from vmferry.core.messages.bandwidth import BandwidthOpening, BandwidthRequest, MeasuredRoute
from vmferry.core.messages.offer import Caller
from vmferry.core.options import Encryption
from vmferry.core.policy.networks import Local
from vmferry.core.policy.settings import HostSettings
from vmferry.identity import certificates
from vmferry.net import interfaces
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer
from vmferry.store.settings import Settings

MIB = 1 << 20
ANN = Caller(name="ann", host="kvm1", method="unix")


class Two:
    """Two hosts on this machine, each able to measure the way to the other."""

    def __init__(self, folder: Path) -> None:
        self.databases, self.jobs, self.ends = [], [], []
        for name, mine in (("kvm1", "f1"), ("kvm2", "f2")):
            config = Config(name=name, state_folder=folder / name, run_folder=folder, advertise="127.0.0.1")
            database = Database(config.database)
            settings = Settings(database)
            settings.save(HostSettings(migration=True))
            jobs = Jobs(database, name)
            self.databases.append(database)
            self.jobs.append(jobs)
            self.ends.append(Bandwidths(config, settings, MeasurementLock(name, jobs), mine))
        self.requests: list[BandwidthRequest] = []

    def peer(self, name: str, fingerprint: str) -> Peer:
        return Peer(name, "127.0.0.1", 6601, "PEM", fingerprint, ("*",), 0.0, "root")

    def measure(self, request: BandwidthRequest) -> BandwidthOpening:
        """Ask the second, as the first's client would."""
        self.requests.append(request)
        return self.ends[1].open(request, self.peer("kvm1", "f1"))

    def way(self) -> MeasuredRoute:
        client: Any = self
        return self.ends[0].measure(end(), self.peer("kvm2", "f2"), client)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(interfaces, "addresses", lambda: [Local("127.0.0.1", 8, "lo")])
    made = Two(tmp_path)
    yield made
    for thread in [one for one in threading.enumerate() if one.name == "bandwidth"]:
        thread.join(10)
    for database in made.databases:
        database.close()


def test_the_way_is_measured_between_two_hosts(two: Two) -> None:
    assert two.way().bandwidth > 10 * MIB
    assert "BEGIN CERTIFICATE" in two.requests[0].certificate
    for thread in [one for one in threading.enumerate() if one.name == "bandwidth"]:
        thread.join(10)
    assert two.way().bandwidth > 10 * MIB
    assert two.requests[0].certificate != two.requests[1].certificate


@pytest.mark.parametrize("number", [0, 1])
def test_nothing_is_measured_while_a_move_runs_on_either_host(two: Two, number: int) -> None:
    jobs = two.jobs[number]
    jobs.create("0123456789ab", Role.SOURCE, "web02", "kvm3", ANN, {})
    with pytest.raises(PreflightError) as caught:
        two.way()
    assert caught.value.code is codes.BANDWIDTH_UNMEASURED
    assert f"kvm{number + 1} takes part in a move" in caught.value.reason
    assert len(two.requests) == number
    jobs.mark("0123456789ab", State.WAITING, "kvm3 is full")
    assert two.way().bandwidth > 0


def test_one_measurement_at_a_time(two: Two) -> None:
    with two.ends[1].quiet.kept("kvm3", "kvm2"), pytest.raises(PreflightError) as caught:
        two.way()
    assert "another measurement" in caught.value.reason
    assert two.ends[0].quiet.measuring.acquire(blocking=False)  # given back after the failure
    two.ends[0].quiet.give()


def test_a_host_that_takes_no_moves_takes_no_measurement(two: Two) -> None:
    two.ends[1].settings.save(HostSettings())
    with pytest.raises(PreflightError) as caught:
        two.way()
    assert caught.value.code is codes.MIGRATION_DISABLED


def test_a_stranger_with_the_address_alone_gets_nothing(two: Two) -> None:
    certificate, _ = certificates.create("kvm1")
    opening = two.measure(BandwidthRequest(certificate=certificate, encryption=Encryption.REQUIRED, networks=[]))
    assert len(opening.key) == 64
    assert opening.key not in repr(opening)


@pytest.mark.parametrize(
    "certificate", ["", "PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\u00fc"]
)
def test_a_certificate_that_is_none_is_refused_and_keeps_nothing(two: Two, certificate: str) -> None:
    with pytest.raises(UsageError) as caught:
        two.measure(BandwidthRequest(certificate=certificate, encryption=Encryption.REQUIRED, networks=[]))
    assert caught.value.code is codes.BAD_REQUEST
    assert two.way().bandwidth > 0


def test_a_destination_whose_certificate_is_none_is_an_error(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = two.measure
    monkeypatch.setattr(two, "measure", lambda asked: honest(asked).model_copy(update={"certificate": "PEM"}))
    with pytest.raises(VmferryError):
        two.way()
