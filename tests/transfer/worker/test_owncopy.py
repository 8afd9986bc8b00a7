"""A job touches the copy that its own Prepare made, and no other VM: libvirt's own test driver, and a real journal."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
from tests.store.steps import walk
from tests.transfer.worker.ends import offer

from vmferry.core import codes
from vmferry.core.errors import AccessError, InternalError, PreflightError, UsageError, VmferryError
from vmferry.core.identifiers import VmIdentity
from vmferry.core.job import Phase, Role
from vmferry.core.messages.offer import Caller
from vmferry.core.messages.vm import Presence
from vmferry.hypervisor.connection import close, connect
from vmferry.hypervisor.domains import Domains
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs
from vmferry.transfer.worker.owncopy import OwnCopy, leaving, left

OFFER = offer()
JOB = OFFER.job
OTHER = "0dfb1b2c-9d0c-4c38-8f9d-0c3a1a0c5a11"
XML = "<domain type='test'><name>{}</name><uuid>{}</uuid><memory>8192</memory><os><type>hvm</type></os></domain>"


class Host:
    """A destination: the driver's VMs, the job's journal, and whether the move was given up."""

    def __init__(self, jobs: Jobs) -> None:
        self.connection: Any = connect("test:///default", "kvm2")
        self.domains = Domains("test:///default", "kvm2", OFFER.vm)
        self.jobs = jobs
        self.given_up = False
        self.full = False

    def start(self, name: str = OFFER.vm, uuid: str = OFFER.uuid, *, paused: bool = False) -> Any:
        """Have somebody start a VM."""
        domain = self.connection.createXML(XML.format(name, uuid))
        if paused:
            domain.suspend()
        return domain

    def copy(self) -> OwnCopy:
        """Return the copy as a worker that begins now knows it."""
        found = OwnCopy(self.domains, OFFER, "kvm2", self.journal, self.unless_given_up)
        found.recall(self.jobs.steps(JOB))
        return found

    def journal(self, **detail: Any) -> None:
        if self.full:
            raise InternalError(codes.DATABASE_FAILED, path="/var/lib/vmferry/vmferry.db", host="kvm2", why="full")
        walk(self.jobs, JOB, Phase.COPYING, **detail)

    def unless_given_up(self, step: Callable[[], None]) -> None:
        if self.given_up:
            raise VmferryError(codes.MOVE_FAILED, vm="web01", phase="copying", why="x", host="kvm1", advice="y")
        step()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    # The driver has no jobs.
    monkeypatch.setattr(libvirt.virDomain, "jobInfo", lambda _domain: [libvirt.VIR_DOMAIN_JOB_NONE])
    with Database(tmp_path / "db") as database:
        jobs = Jobs(database, "kvm2")
        jobs.create(JOB, Role.DESTINATION, OFFER.vm, "kvm1", Caller(name="root", host="kvm1", method="unix"), {})
        found = Host(jobs)
        yield found
        for domain in found.connection.listAllDomains():
            if domain.name() != "test":
                domain.destroy()
        found.domains.close()
        close(found.connection)


def stands(domain: Any) -> bool:
    return bool(domain.isActive()) and domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING


@pytest.mark.parametrize("paused", [False, True])
def test_without_a_prepare_nothing_is_touched(host: Host, paused: bool) -> None:
    """Somebody else starts a VM with the offered UUID and name after the offer was admitted; the source aborts."""
    victim = host.start(paused=paused)
    for copy in (host.copy(), host.copy()):
        assert copy.vm is None
        assert copy.remove() == []
    assert victim.isActive()


@pytest.mark.parametrize(
    ("name", "uuid", "code"),
    [
        (OFFER.vm, OFFER.uuid, codes.UUID_TAKEN),
        ("other", OFFER.uuid, codes.UUID_TAKEN),
        (OFFER.vm, OTHER, codes.NAME_TAKEN),
    ],
)
def test_no_prepare_where_such_a_vm_is(host: Host, name: str, uuid: str, code: object) -> None:
    victim = host.start(name, uuid, paused=True)
    copy = host.copy()
    with pytest.raises(PreflightError) as caught:
        copy.announce()
    assert caught.value.code is code
    assert host.copy().vm is None
    assert copy.remove() == []
    assert victim.isActive()


def test_the_copy_is_known_by_its_id_and_ended(host: Host) -> None:
    copy = host.copy()
    copy.announce()
    assert host.copy().vm == VmIdentity(OFFER.uuid, OFFER.vm)
    domain = host.start(paused=True)
    copy.made(True)
    assert copy.vm == host.copy().vm == VmIdentity(OFFER.uuid, OFFER.vm, domain.ID())
    with pytest.raises(AccessError, match="second Prepare"):
        copy.announce()
    assert host.copy().remove() == []
    assert host.domains.presence(OFFER.uuid) is Presence.ABSENT


def test_a_vm_that_is_started_anew_is_another_one(host: Host) -> None:
    copy = host.copy()
    copy.announce()
    host.start(paused=True)
    copy.made(True)
    assert copy.vm is not None
    host.domains.destroy(copy.vm)
    victim = host.start(paused=True)
    for known in (copy, host.copy()):
        assert re.fullmatch(f"web01: .*{OFFER.uuid} on kvm2 is not the one.*started anew.*", known.remove()[0])
    with pytest.raises(PreflightError):
        host.domains.resume(copy.vm)
    assert victim.state()[0] == libvirt.VIR_DOMAIN_PAUSED


def test_a_prepare_that_libvirt_refused_made_nothing(host: Host) -> None:
    """Somebody else was quicker than libvirt's Prepare: that VM is theirs."""
    copy = host.copy()
    copy.announce()
    victim = host.start(paused=True)
    copy.made(False)
    for known in (copy, host.copy()):
        assert known.vm is None
        assert known.remove() == []
    assert victim.isActive()


def test_a_worker_that_died_between_prepare_and_its_record_left_a_paused_copy(host: Host) -> None:
    host.copy().announce()
    host.start(paused=True)
    assert host.copy().remove() == []
    assert host.domains.presence(OFFER.uuid) is Presence.ABSENT
    victim = host.start()
    assert "it runs" in host.copy().remove()[0]
    assert stands(victim)


def test_what_is_not_on_record_is_not_prepared(host: Host) -> None:
    copy = host.copy()
    for fault in ("full", "given_up"):
        setattr(host, fault, True)
        with pytest.raises(VmferryError):
            copy.announce()
        assert copy.vm is None
        setattr(host, fault, False)


def test_a_copy_that_is_not_there_is_not_taken_for_another(host: Host) -> None:
    copy = host.copy()
    copy.announce()
    with pytest.raises(PreflightError, match="not there"):
        copy.made(True)
    victim = host.start("other")
    with pytest.raises(PreflightError, match="not there"):
        copy.made(True)
    assert copy.remove() == []
    assert stands(victim)


def test_the_source_knows_its_own_vm(host: Host) -> None:
    assert left(host.jobs.steps(JOB), OFFER.uuid, OFFER.vm) == VmIdentity(OFFER.uuid, OFFER.vm)
    host.start("other")
    with pytest.raises(UsageError):
        leaving(host.domains, OFFER, "kvm1")
    for domain in host.connection.listAllDomains():
        if domain.name() == "other":
            domain.destroy()
    domain = host.start()
    own = leaving(host.domains, OFFER, "kvm1")
    assert own == VmIdentity(OFFER.uuid, OFFER.vm, domain.ID())
    host.journal(id=own.id)
    assert left(host.jobs.steps(JOB), OFFER.uuid, OFFER.vm) == own
