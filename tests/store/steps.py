"""Takes a job as far as a test wants it, by phases that may follow each other."""

from collections import deque
from typing import Any

from vmferry.core.job import Phase
from vmferry.core.move import phases
from vmferry.store.jobs import Jobs


def walk(jobs: Jobs, job: str, phase: Phase, **detail: Any) -> None:
    """Take the steps that lead to a phase, the shortest way, and that step with its detail."""
    role = jobs.get(job).role
    told = [step.phase for step in jobs.steps(job)]
    ways: deque[list[Phase]] = deque([[]])
    while ways:
        way = ways.popleft()
        if phases.may_follow(role, told + way, phase):
            for before in way:
                jobs.step(job, before)
            jobs.step(job, phase, **detail)
            return
        final = [Phase.UNDOING, Phase.RESOLVING, Phase.ENDED]
        ways += [
            [*way, then] for then in Phase if then not in final + way and phases.may_follow(role, told + way, then)
        ]
    raise AssertionError(f"{phase} cannot be reached after {told}")
