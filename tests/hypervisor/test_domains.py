"""How a VM stands: libvirt's own test driver, and states that it has for some milliseconds only."""

from collections.abc import Iterator
from dataclasses import replace

import libvirt
import pytest

from vmferry.core import codes
from vmferry.core.errors import PreflightError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.messages.vm import Presence
from vmferry.hypervisor.domains import _STATES, Domains

UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"  # of the running VM that the driver begins with

VM = VmIdentity(UUID, "test", 1)


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
    domains.resume(VM)  # runs already
    domains._call(lambda connection: connection.lookupByUUIDString(UUID).suspend())
    assert [domains.presence(UUID) for _ in (1, 2)] == [Presence.BUSY, Presence.PAUSED]
    domains.resume(VM)
    assert domains.presence(UUID) is Presence.RUNNING
    domains.destroy(VM)
    assert domains.presence(UUID) is Presence.OFF
    domains.destroy(VM)
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
    definition = domains.definition(UUID)
    assert definition is not None
    assert domains.forget(VM) == definition
    assert domains.presence(UUID) is Presence.ABSENT
    assert domains.forget(VM) is None
    domains.autostart(VM, on=False)


@pytest.mark.parametrize("vm", [replace(VM, name="other"), replace(VM, id=2)], ids=["another name", "another run"])
def test_another_vm_of_that_uuid_is_neither_ended_nor_resumed(domains: Domains, vm: VmIdentity) -> None:
    for suspended in (False, True):
        if suspended:
            domains._call(lambda connection: connection.lookupByUUIDString(UUID).suspend())
        for act in (domains.destroy, domains.resume):
            with pytest.raises(PreflightError) as caught:
                act(vm)
            assert caught.value.code is codes.NOT_THIS_VM
            assert UUID in caught.value.reason
    states = domains._call(lambda connection: connection.lookupByUUIDString(UUID).state())
    assert states[0] == libvirt.VIR_DOMAIN_PAUSED
    domains.resume(VM)  # the driver's VMs live as long as anything holds a connection to them


def test_a_vm_of_another_name_keeps_its_definition_and_autostart(domains: Domains) -> None:
    other = replace(VM, name="other", id=None)
    for act in (domains.forget, lambda vm: domains.autostart(vm, on=True)):
        with pytest.raises(PreflightError, match="it is called test, not other"):
            act(other)
    assert domains.presence(UUID, "test") is Presence.RUNNING
    assert domains.presence(UUID, "other") is Presence.ABSENT
    assert domains._call(lambda connection: connection.lookupByUUIDString(UUID).autostart()) == 0


def test_a_vm_that_runs_is_ended_only_by_its_id(domains: Domains) -> None:
    with pytest.raises(PreflightError, match="it runs"):
        domains.destroy(replace(VM, id=None))
    assert domains.alike(UUID, "nobody") == domains.alike(UUID, "test") == [VM]
    assert domains.alike("00000000-0000-4000-8000-000000000000", "test") == [VM]
    assert domains.alike("00000000-0000-4000-8000-000000000000", "nobody") == []
    domains.destroy(VM)
    assert domains.alike(UUID, "test") == [replace(VM, id=None)]
    domains._call(lambda connection: connection.lookupByUUIDString(UUID).create())


def test_what_a_person_suspended_is_told_from_what_libvirt_left_paused(
    domains: Domains, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirt.virDomain, "jobInfo", lambda _domain: [libvirt.VIR_DOMAIN_JOB_NONE])
    (vm,) = domains.alike(UUID, "test")
    assert not domains.suspended(UUID)
    assert not domains.suspended("00000000-0000-4000-8000-000000000000")
    assert not domains.suspend_after(vm)  # it runs, and not since libvirt let it
    domains._call(lambda connection: connection.lookupByUUIDString(UUID).suspend())
    assert domains.suspended(UUID)
    assert not domains.resume_after(vm)
    assert domains.presence(UUID) is Presence.PAUSED
    with monkeypatch.context() as patched:
        left = [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION]
        patched.setattr(libvirt.virDomain, "state", lambda _domain, _flags=0: left)
        assert not domains.suspended(UUID)
        assert domains.resume_after(vm)
    assert domains.presence(UUID) is Presence.RUNNING
    with monkeypatch.context() as patched:
        let_run = [libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_MIGRATION_CANCELED]
        patched.setattr(libvirt.virDomain, "state", lambda _domain, _flags=0: let_run)
        assert domains.suspend_after(vm)
        for act in (domains.suspend_after, domains.resume_after):
            with pytest.raises(PreflightError):
                act(replace(vm, id=99))
    assert domains.suspended(UUID)
    domains.resume(vm)
