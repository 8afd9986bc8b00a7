"""The source's worker while its move is being committed."""

from pathlib import Path

import pytest
from tests.jobs import test_spec
from tests.store.steps import walk

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.job import Phase, Role
from vmferry.core.messages.offer import Caller
from vmferry.core.move.messages import Cancel
from vmferry.core.move.phases import Verdict
from vmferry.store.database import Database
from vmferry.transfer.worker.source import Source


def test_a_cancel_from_the_destination_that_comes_too_late_breaks_no_commit(tmp_path: Path) -> None:
    config = Config(
        name="kvm1", state_folder=tmp_path / "state", run_folder=tmp_path / "run", libvirt_uri="test:///default"
    )
    work = test_spec.make(Role.SOURCE)
    with Database(config.database) as database:
        end = Source(config, work, database)
        end.jobs.create(work.job, Role.SOURCE, "web01", "kvm2", Caller(name="root", host="kvm1", method="unix"), {})
        walk(end.jobs, work.job, Phase.COPYING)
        end._commit.prepare()
        assert end._commit.take()
        end._heard(Cancel(caller="ann"))
        assert end._decision.verdict is Verdict.COMMITTING
        assert end.events.empty(), "the main thread goes on waiting for libvirt to read the reply"
        with pytest.raises(UsageError) as caught:
            end._cancel("ann")
        assert caught.value.code is codes.TOO_LATE
