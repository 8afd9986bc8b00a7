"""A copy that must not run yet is suspended again whoever resumes it; over libvirt's own test driver."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import libvirt
import pytest
from tests.transfer.worker.ends import locked

from vmferry.hypervisor.connection import close, connect
from vmferry.hypervisor.domains import identity
from vmferry.hypervisor.vigil import Vigil

URI = "test:///default"
LIMIT = 10.0


@pytest.fixture
def domain() -> Iterator[Any]:
    connection = connect(URI, "kvm2")
    found = connection.lookupByName("test")
    yield found
    if found.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
        found.resume()
    close(connection)


def test_it_is_suspended_at_once_and_again_until_the_vigil_ends(domain: Any) -> None:
    told = threading.Semaphore(0)
    vigil = Vigil(URI, "kvm2", lambda: identity(domain), told.release)
    domain.suspend()
    vigil.start()
    for _ in range(3):
        domain.resume()
        assert told.acquire(timeout=LIMIT)
        assert domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED
    vigil.end()
    domain.resume()
    assert not told.acquire(timeout=1.5), "it looks on"
    assert domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING


@pytest.mark.parametrize("kind", [locked, lambda: KeyError("x")])
def test_a_journal_that_fails_does_not_end_the_vigil(domain: Any, kind: Callable[[], Exception]) -> None:
    told = threading.Semaphore(0)

    def suspended() -> None:
        told.release()
        raise kind()

    vigil = Vigil(URI, "kvm2", lambda: identity(domain), suspended)
    domain.suspend()
    vigil.start()
    for _ in range(2):
        domain.resume()
        assert told.acquire(timeout=LIMIT)
        assert domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED
    vigil.end()


def test_one_that_runs_as_the_vigil_begins_is_suspended(domain: Any) -> None:
    told = threading.Semaphore(0)
    vigil = Vigil(URI, "kvm2", lambda: identity(domain), told.release)
    vigil.start()
    assert told.acquire(timeout=LIMIT)
    vigil.end()
    assert domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED


@pytest.mark.parametrize(
    "change", [{"uuid": "0dfb1b2c-9d0c-4c38-8f9d-0c3a1a0c5a11"}, {"name": "web01"}, {"id": 99}, {"id": None}, None]
)
def test_other_vms_are_left_alone(domain: Any, change: dict[str, Any] | None) -> None:
    told = threading.Semaphore(0)
    own = None if change is None else replace(identity(domain), **change)
    vigil = Vigil(URI, "kvm2", lambda: own, told.release)
    vigil.start()
    domain.suspend()
    domain.resume()
    assert not told.acquire(timeout=1.5)
    vigil.end()
    assert domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING


def test_a_suspension_that_is_under_way_ends_before_the_vigil_does(domain: Any) -> None:
    """Else it would come after the VM was resumed for good, and leave it standing still."""
    entered, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def UUIDString(self) -> str:  # noqa: N802 (libvirt's names)
            return own.uuid

        def name(self) -> str:
            return own.name

        def isActive(self) -> bool:  # noqa: N802
            return True

        def ID(self) -> int | None:  # noqa: N802
            return own.id

        def state(self) -> list[int]:
            return [libvirt.VIR_DOMAIN_RUNNING, 0]

        def suspend(self) -> None:
            entered.set()
            assert go_on.wait(LIMIT)

        def lookupByUUIDString(self, _uuid: str) -> "Slow":  # noqa: N802 (libvirt's name)
            return self

    own = identity(domain)
    vigil = Vigil(URI, "kvm2", lambda: own, lambda: None)
    look = threading.Thread(target=vigil._look, args=(Slow(),))
    look.start()
    assert entered.wait(LIMIT)

    def end() -> None:
        vigil.end()
        ended.set()

    threading.Thread(target=end).start()
    assert not ended.wait(0.3)
    go_on.set()
    assert ended.wait(LIMIT)
    look.join(LIMIT)
