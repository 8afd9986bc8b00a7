"""What a host does with a proposal and an offer: its settings, its checks, and libvirt asked last."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.preflight.make import HERE, PLACE, proposal

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import PreflightError, UsageError
from vmferry.core.networks import Local, Network
from vmferry.core.offer import Encryption, MoveOptions, Offer, Proposal
from vmferry.core.settings import HostSettings
from vmferry.core.snapshot import DestinationSnapshot
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer
from vmferry.store.settings import Settings
from vmferry.transfer import interfaces

pytest.importorskip("libvirt")
from vmferry.agent.incoming import Arrivals

PEER = Peer("kvm1", "10.91.0.1", 6601, "PEM", "f1", ("*",), 0.0, "root")
ON = HostSettings(migration=True)
STORAGE = MoveOptions(include_storage=True)


class Seen:
    """A host as a test has it, in the place of hypervisor.snapshot.Snapshots."""

    def __init__(self) -> None:
        self.here = HERE
        self.refuses: str | None = None
        self.asked: list[str] = []

    def destination(self, vm: Proposal, paths: dict[str, str]) -> DestinationSnapshot:
        return self.here.model_copy(
            update={"places": [PLACE.model_copy(update={"path": path}) for path in paths.values()]}
        )

    def refusal(self, *xmls: str) -> str | None:
        self.asked += xmls
        return self.refuses


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def arrivals(tmp_path: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arrivals]:
    monkeypatch.setattr(interfaces, "addresses", lambda: [Local("10.91.0.2", 24, "mgmt")])
    config = Config(name="kvm2", state_folder=tmp_path, run_folder=tmp_path / "run", advertise="10.91.0.2")
    made: Any = seen
    nobody: Any = None
    with Database(config.database) as database:
        settings = Settings(database)
        settings.save(ON)
        yield Arrivals(config, Jobs(database, "kvm2"), settings, made, nobody, "cd" * 32)


def offer(**changes: Any) -> Offer:
    return Offer(**dict(proposal(**changes)), job="0123456789ab", certificate="PEM")


def test_a_check_says_how_the_vm_would_be(arrivals: Arrivals, seen: Seen) -> None:
    report = arrivals.check(proposal(), PEER)
    assert (report.vm, report.source, report.destination, report.findings) == ("web01", "kvm1", "kvm2", [])
    assert report.addresses == ["10.91.0.2"]
    assert seen.asked == [report.live_xml, report.persistent_xml]
    assert arrivals.jobs.list() == []


def test_libvirt_sees_nothing_in_which_something_was_found(arrivals: Arrivals, seen: Seen) -> None:
    seen.here = HERE.model_copy(update={"networks": {}})
    assert [finding.code for finding in arrivals.check(proposal(), PEER).findings] == ["network-missing"]
    assert seen.asked == []


def test_what_libvirt_says_is_a_finding(arrivals: Arrivals, seen: Seen) -> None:
    seen.refuses = "unsupported configuration: no"
    (found,) = arrivals.check(proposal(), PEER).findings
    assert (found.code, found.destination) == ("libvirt-refused", "unsupported configuration: no")


def test_an_offer_is_refused_at_the_first_blocker_and_leaves_no_job(arrivals: Arrivals, seen: Seen) -> None:
    seen.here = HERE.model_copy(update={"names": {"u-8": "web01"}, "networks": {}})
    with pytest.raises(PreflightError) as caught:
        arrivals.offer(offer(), PEER)
    assert caught.value.code.name == "name-taken"
    assert arrivals.jobs.list() == []


def test_a_grant_carries_the_warnings(arrivals: Arrivals, seen: Seen) -> None:
    seen.here = HERE.model_copy(update={"clock": 2000.0})
    grant = arrivals.offer(offer(), PEER)
    assert [finding.code for finding in grant.findings] == ["clock-differs"]
    assert [job.id for job in arrivals.jobs.list()] == ["0123456789ab"]


def test_a_host_speaks_only_for_itself(arrivals: Arrivals) -> None:
    for ask in (
        lambda: arrivals.check(proposal(source="kvm3"), PEER),
        lambda: arrivals.offer(offer(source="kvm3"), PEER),
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
    arrivals: Arrivals, settings: HostSettings, options: MoveOptions, code: object
) -> None:
    arrivals.settings.save(settings)
    with pytest.raises(PreflightError) as caught:
        arrivals.offer(offer(options=options), PEER)
    assert caught.value.code is code
    assert "kvm2" in caught.value.reason
    assert arrivals.jobs.list() == []
    (found,) = arrivals.check(proposal(options=options), PEER).findings
    assert (found.code, found.source) == (caught.value.code.name, "")
    assert found.destination


def test_networks_of_an_offer_are_checked_where_they_come_in() -> None:
    with pytest.raises(ValueError, match="neither a subnet"):
        Offer.model_validate(offer().model_dump() | {"networks": ["10.0.0.0/24; rm"]})
