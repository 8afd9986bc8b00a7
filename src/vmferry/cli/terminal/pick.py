"""Find the job that an argument names."""

from collections.abc import Sequence

from vmferry.client import Client
from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.messages.api import Job

LAST = "last"
SHORT = 6  # characters; at least so many of a job's identifier are shown


def pick(client: Client, word: str, *, running: bool = False) -> Job:
    """Return the job that an argument names.

    Arguments:
        word: the identifier of a job or its beginning, the name of a VM (its newest job), or `last` (the newest job).
        running: whether `last` and the name of a VM prefer jobs that have not ended.

    Raises:
        UsageError: job-unknown, or job-ambiguous.
    """
    jobs = newest_first(client.jobs())
    exact = [job for job in jobs if job.id == word]
    if exact:
        return exact[0]
    recent = [job for job in jobs if not job.state.ended] if running else []
    if word == LAST and jobs:
        return (recent or jobs)[0]
    named = next((job for job in [*recent, *jobs] if job.vm == word), None)
    found = {job.id: job for job in jobs if word and job.id.startswith(word)}
    if named is not None:
        found[named.id] = named
    if len(found) > 1:
        raise UsageError(
            codes.JOB_AMBIGUOUS, job=word, jobs=", ".join(f"{job.id} ({job.vm})" for job in found.values())
        )
    if not found:
        raise UsageError(codes.JOB_UNKNOWN, job=word, host=client.host().name)
    return next(iter(found.values()))


def newest_first(jobs: Sequence[Job]) -> list[Job]:
    """Return jobs in the order of their start, newest first."""
    return sorted(jobs, key=lambda job: (job.created_at, job.id), reverse=True)


def short(jobs: Sequence[Job]) -> int:
    """Return how many characters of the identifiers are needed to tell these jobs apart."""
    ids = {job.id for job in jobs}
    length = SHORT
    while len({id_[:length] for id_ in ids}) < len(ids):
        length += 1
    return length
