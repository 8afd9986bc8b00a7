"""How a VM stands: libvirt's own test driver, and states that it has for some milliseconds only."""

from collections.abc import Iterator

import libvirt
import pytest

from vmferry.core import codes
from vmferry.core.errors import PreflightError
from vmferry.hypervisor.domains import _STATES, Domains, Presence

UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"  # of the running VM that the driver begins with


@pytest.fixture
def domains() -> Iterator[Domains]:
    found = Domains("test:///default", "kvm1", "web01")
    yield found
    found.close()


@pytest.mark.parametrize(
    ("state", "presence"),
    [
        (libvirt.VIR_DOMAIN_SHUTDOWN, Presence.BUSY),
        (libvirt.VIR_DOMAIN_NOSTATE, Presence.BUSY),
        (libvirt.VIR_DOMAIN_CRASHED, Presence.CRASHED),
        (libvirt.VIR_DOMAIN_PMSUSPENDED, Presence.RUNNING),
        (99, Presence.BUSY),
    ],
)
def test_only_a_state_that_runs_is_running(
    domains: Domains, monkeypatch: pytest.MonkeyPatch, state: int, presence: Presence
) -> None:
    monkeypatch.setattr(libvirt.virDomain, "state", lambda _domain, _flags=0: [state, 0])
    assert domains.presence(UUID) is presence


def test_every_state_of_this_libvirt_is_known() -> None:
    names = [name for name in dir(libvirt) if name.startswith("VIR_DOMAIN_") and name.count("_") == 2]
    states = {"NOSTATE", "RUNNING", "BLOCKED", "PAUSED", "SHUTDOWN", "SHUTOFF", "CRASHED", "PMSUSPENDED"}
    assert {getattr(libvirt, f"VIR_DOMAIN_{state}") for state in states} == set(_STATES)
    assert {f"VIR_DOMAIN_{state}" for state in states} <= set(names)


def test_a_vm_runs_is_suspended_and_is_gone(domains: Domains, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [libvirt.VIR_DOMAIN_JOB_UNBOUNDED, libvirt.VIR_DOMAIN_JOB_NONE]
    monkeypatch.setattr(libvirt.virDomain, "jobInfo", lambda _domain: [jobs.pop(0)])  # the driver has no jobs
    assert domains.presence(UUID) is Presence.RUNNING
    domains.resume(UUID)  # runs already
    domains._call(lambda connection: connection.lookupByUUIDString(UUID).suspend())
    assert [domains.presence(UUID) for _ in (1, 2)] == [Presence.BUSY, Presence.PAUSED]
    domains.resume(UUID)
    assert domains.presence(UUID) is Presence.RUNNING
    domains.destroy(UUID)
    assert domains.presence(UUID) is Presence.OFF
    domains.destroy(UUID)
    assert domains.presence("00000000-0000-4000-8000-000000000000") is Presence.ABSENT


def test_what_libvirt_refuses_names_the_vm(domains: Domains) -> None:
    with pytest.raises(PreflightError) as caught:
        domains.define("<domain/>", autostart=False)
    assert caught.value.code is codes.LIBVIRT_REFUSED
    assert "web01" in caught.value.reason


def test_a_stale_managed_save_image_does_not_keep_a_definition(
    domains: Domains, monkeypatch: pytest.MonkeyPatch
) -> None:
    undefine, known = libvirt.virDomain.undefineFlags, libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    # The driver knows no NVRAM to keep.
    monkeypatch.setattr(libvirt.virDomain, "undefineFlags", lambda domain, flags: undefine(domain, flags & known))

    def save(connection: libvirt.virConnect) -> None:
        domain = connection.lookupByUUIDString(UUID)
        domain.managedSave()

    domains._call(save)
    domains.forget(UUID)
    assert domains.presence(UUID) is Presence.ABSENT
    domains.forget(UUID)
    domains.autostart(UUID, on=False)
