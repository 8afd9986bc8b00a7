"""A later worker of the destination does what the journal says; with libvirt's own test driver."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
from tests.jobs import test_spec
from tests.store.steps import walk

from vmferry.config import Config
from vmferry.core.job import Phase, Role, State
from vmferry.core.messages.offer import Caller
from vmferry.hypervisor.connection import close, connect
from vmferry.jobs import spec
from vmferry.store.database import Database
from vmferry.store.jobs import JobRow, Jobs
from vmferry.transfer.worker import main

URI = "test:///default"


@pytest.fixture
def copy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The copy at the destination, paused."""
    monkeypatch.setattr(libvirt.virDomain, "jobInfo", lambda _domain: [libvirt.VIR_DOMAIN_JOB_NONE])
    connection = connect(URI, "kvm2")
    found = connection.lookupByName("test")
    found.suspend()
    yield found
    if not found.isActive():
        found.create()
    elif found.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
        found.resume()
    close(connection)


def _work(folder: Path, copy: Any, *steps: tuple[Phase, dict[str, Any]]) -> tuple[JobRow, list[Phase]]:
    """Run a worker that goes on after some steps; returns the job and the phases of its journal."""
    config = Config(
        name="kvm2",
        state_folder=folder / "state",
        run_folder=folder / "run",
        libvirt_uri=URI,
        qemu_user=pwd.getpwuid(os.geteuid()).pw_name,
    )
    made = test_spec.make(Role.DESTINATION)
    offer = made.offer.model_copy(update={"vm": "test", "uuid": copy.UUIDString(), "persistent": False})
    work = made.model_copy(update={"offer": offer})
    spec.save(config.state_folder, work)
    with Database(config.database) as database:
        jobs = Jobs(database, "kvm2")
        jobs.create(work.job, Role.DESTINATION, "test", "kvm1", Caller(name="root", host="kvm1", method="unix"), {})
        for phase, detail in ((Phase.COPYING, {"copy": {"id": copy.ID()}}), (Phase.FINISHING, {}), *steps):
            walk(jobs, work.job, phase, **detail)
        assert main.work(config, work.job) == 0
        return jobs.get(work.job), [step.phase for step in jobs.steps(work.job)]


@pytest.mark.parametrize("owner", ["here", "there"])
def test_what_was_settled_while_no_worker_could_hear_it(tmp_path: Path, copy: Any, owner: str) -> None:
    row, phases = _work(tmp_path, copy, (Phase.RESOLVING, {"owner": owner, "caller": "root"}))
    if owner == "here":
        assert row.state is State.DONE, row.error
        assert phases[-3:] == [Phase.GOING, Phase.SETTLING, Phase.ENDED]
        assert copy.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    else:
        assert row.state is State.CANCELLED, row.error
        assert phases[-2:] == [Phase.UNDOING, Phase.ENDED]
        assert not copy.isActive()


@pytest.mark.parametrize("suspended", [False, True])
def test_a_vm_that_was_handed_over_runs_unless_a_person_had_suspended_it(
    tmp_path: Path, copy: Any, suspended: bool
) -> None:
    row, phases = _work(tmp_path, copy, (Phase.GOING, {"suspended": suspended}))
    assert row.state is State.DONE, row.error
    assert phases[-2:] == [Phase.SETTLING, Phase.ENDED]
    assert copy.state()[0] == (libvirt.VIR_DOMAIN_PAUSED if suspended else libvirt.VIR_DOMAIN_RUNNING)
