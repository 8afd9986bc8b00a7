"""`vmferry-transfer JOB`: one end of one move, in a process of its own that outlives vmferryd.

Exit code 0: the job has ended and is on record. Anything else: start it again, and it goes on from the journal.
"""

import argparse
import fcntl
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from vmferry import config as configuration
from vmferry.config import Config
from vmferry.core import codes, redaction
from vmferry.core.errors import InternalError, VmferryError
from vmferry.core.job import Role, State
from vmferry.core.kinds import MoveKind
from vmferry.core.move.phases import Recovery, recovery
from vmferry.jobs import spec
from vmferry.jobs.persist import ended, pauses, why
from vmferry.jobs.spec import Spec
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs
from vmferry.transfer.worker.destination import Destination
from vmferry.transfer.worker.endpoint import clear
from vmferry.transfer.worker.source import Source

log = logging.getLogger("vmferry.transfer")

# The two ends of each kind of move.
ENDS: dict[tuple[MoveKind, Role], type[Source] | type[Destination]] = {
    (MoveKind.LIVE, Role.SOURCE): Source,
    (MoveKind.LIVE, Role.DESTINATION): Destination,
}


def main() -> None:
    """Run the worker of the job named on the command line."""
    parser = argparse.ArgumentParser(
        prog="vmferry-transfer", description="Carry one end of one move; vmferryd starts it."
    )
    parser.add_argument("job", help="the job's identifier")
    parser.add_argument("--config", type=Path, help="configuration file (default: /etc/vmferry/vmferry.toml)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    redaction.install()
    sys.exit(work(configuration.load(arguments.config), arguments.job))


def work(config: Config, job: str) -> int:
    """Carry the job to its end; returns the exit code."""
    with closing(Database(config.database, config.name)) as database:
        jobs = Jobs(database, config.name)
        row = jobs.find(job)
        if row is None:
            log.error("there is no job %s", job)
            return 0
        if row.state.ended:
            clear(config, job)
            return 0
        todo = _await_spec(config, jobs, job)
        if todo is None:
            return 0
        with _alone(spec.folder(config.state_folder, job) / "lock") as alone:
            if not alone:
                log.info("job %s has a worker already", job)
                return 0
            end = ENDS[todo.offer.kind, todo.role](config, todo, database)
            try:
                end.listen()
                _carry(end, jobs, todo)
            finally:
                end.close()
    return 0


@contextmanager
def _alone(place: Path) -> Iterator[bool]:
    """Hold a job's lock; whether it could be had. vmferryd, which may stand in for a worker, lives on after this."""
    lock = os.open(place, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


def _carry(end: Source | Destination, jobs: Jobs, todo: Spec) -> None:
    """Carry one end until the job has ended, whatever goes wrong on the way."""
    began = False
    for pause in pauses():
        try:
            steps = jobs.steps(todo.job)
            if began or recovery(todo.role, [step.phase for step in steps]) is not Recovery.BEGIN:
                log.warning("job %s: going on after phase %s", todo.job, steps[-1].phase)
                began = True
                end.recover(steps)
            else:
                began = True
                end.run()
        except Exception as error:
            if ended(error):
                log.warning("job %s was ended by somebody else, who sees to the rest", todo.job)
                return
            log.exception("job %s: a step failed", todo.job)
            with suppress(VmferryError):
                end.doubt(f"a step failed, and is tried again: {why(error)}")
            time.sleep(pause)
        else:
            return


def _await_spec(config: Config, jobs: Jobs, job: str) -> Spec | None:
    """Wait until the daemon has written down what to do; the source's worker starts while the hosts still negotiate.

    Returns:
        None: there is nothing to do: the job waits, or came to nothing and is on record as ended.
    """
    while True:
        done = spec.is_negotiated(config.state_folder, job)
        row = jobs.get(job)  # after the look at the sign, which is taken away last
        if row.state.ended:
            return None
        try:
            todo = spec.load(config.state_folder, job)
        except FileNotFoundError:
            todo = None
        if row.state is State.WAITING:
            if done:
                return None  # vmferryd starts it again when both hosts have a place for the move
        elif todo is not None and (done or todo.role is Role.DESTINATION or todo.addresses):
            return todo  # done without addresses: granted, never admitted; the worker undoes it
        elif done:
            # vmferryd died between the job's row and its spec: nothing had been made.
            error = InternalError(codes.INTERNAL, why="vmferryd ended before the job had begun")
            jobs.end(job, State.FAILED, error.problem(), None)
            clear(config, job)
            return None
        time.sleep(0.005)  # a file that appears; soon, or not at all
