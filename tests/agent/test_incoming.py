"""An offer that this host's settings forbid: refused by name, and nothing is recorded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent.test_peer import offer

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import VmferryError
from vmferry.core.networks import Local, Network
from vmferry.core.offer import Encryption, MoveOptions, Offer
from vmferry.core.settings import HostSettings
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer
from vmferry.store.settings import Settings

pytest.importorskip("libvirt")
from vmferry.agent.incoming import Arrivals
from vmferry.transfer import interfaces

KVM1 = Peer("kvm1", "10.91.0.1", 6601, "PEM", "f1", ("*",), 0.0, "root")


@pytest.fixture
def arrivals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arrivals]:
    monkeypatch.setattr(interfaces, "addresses", lambda: [Local("10.91.0.2", 24, "mgmt")])
    nobody: Any = None  # is asked nothing
    with Database(tmp_path / "vmferry.db") as database:
        config = Config(name="kvm2", state_folder=tmp_path, run_folder=tmp_path)
        yield Arrivals(config, Jobs(database, "kvm2"), Settings(database), nobody, nobody, "f2")


def refused(arrivals: Arrivals, offered: Offer) -> VmferryError:
    with pytest.raises(VmferryError) as caught:
        arrivals.offer(offered, KVM1)
    assert arrivals.jobs.list() == []
    return caught.value


def test_what_the_settings_forbid(arrivals: Arrivals) -> None:
    offered = offer().model_copy(update={"job": "0123456789ab"})
    error = refused(arrivals, offered)
    assert error.code is codes.MIGRATION_DISABLED
    assert "kvm2" in error.reason
    arrivals.settings.save(HostSettings(migration=True))
    plain = offered.model_copy(update={"options": MoveOptions(encryption=Encryption.OFF)})
    assert refused(arrivals, plain).code is codes.ENCRYPTION_DIFFERS
    only = HostSettings(migration=True, any_network=False, networks=[Network(subnet="10.92.0.0/24")])
    arrivals.settings.save(only)
    error = refused(arrivals, offered)
    assert error.code is codes.MIGRATION_NETWORK_MISSING
    assert "kvm2" in error.reason
    assert "10.92.0.0/24" in error.reason


def test_networks_of_an_offer_are_checked_where_they_come_in() -> None:
    with pytest.raises(ValueError, match="neither a subnet"):
        Offer.model_validate(offer().model_dump() | {"networks": ["10.0.0.0/24; rm"]})
