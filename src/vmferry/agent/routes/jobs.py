"""The moves that this host takes part in."""

import logging
from typing import Annotated

from anyio import from_thread
from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from vmferry.agent import show
from vmferry.agent.callers import JobId, Limited, May, ThisAgent, Viewer
from vmferry.core.api import Job
from vmferry.core.offer import Caller
from vmferry.identity.access import Role

router = APIRouter(tags=["jobs"])
Force = Annotated[bool, Query(description="whatever the other host does; takes an administrator")]
Canceller = Annotated[Caller, Depends(May(Role.OPERATOR, "cancel jobs"))]

log = logging.getLogger("vmferry.agent")


@router.get("/jobs")
def list_jobs(caller: Viewer, agent: ThisAgent) -> list[Job]:
    """List the jobs, the oldest first."""
    host = agent.services.config.name
    rows = agent.services.stores.jobs.list()
    return [show.job(row, host, agent.live.progress(row.id)) for row in rows]


@router.get("/jobs/{job}")
def show_job(job: JobId, caller: Viewer, agent: ThisAgent) -> Job:
    """Show a job."""
    row = agent.services.stores.jobs.get(job)
    return show.job(row, agent.services.config.name, agent.live.progress(job))


class _EventStream(StreamingResponse):
    media_type = "text/event-stream"


@router.get("/jobs/{job}/events", response_class=_EventStream)
async def follow_job(
    job: JobId,
    caller: Viewer,
    agent: ThisAgent,
    last_event_id: Annotated[int, Header(ge=0, description="the last phase that was seen")] = 0,
    after: Annotated[int, Query(ge=0, description="as Last-Event-ID")] = 0,
) -> _EventStream:
    """Follow a job to its end, as server-sent events.

    `phase` (PhaseEvent; its id is the step of the journal, from which Last-Event-ID goes on), `progress`
    (Progress), `state` (StateEvent), and `end` (Job) as the last. Comments show that the daemon is there.
    """
    row = await run_in_threadpool(agent.services.stores.jobs.get, job)
    if row.ended_at is None:
        agent.live.follow(job)
    stream = agent.live.stream(job, max(last_event_id, after))
    return _EventStream(stream, headers={"Cache-Control": "no-store"})


@router.post("/jobs/{job}/cancel", status_code=202)
def cancel_job(job: JobId, caller: Canceller, limits: Limited, agent: ThisAgent, force: Force = False) -> Job:
    """Ask a job to end; before its commit the VM then runs on at the source.

    With `force`, which takes an administrator, this host gives it up by itself, whatever the other one does.
    """
    known = show.job(agent.services.stores.jobs.get(job), agent.services.config.name)
    limits.require(known.vm, known.destination)
    if force:
        agent.endings.force(job, limits.administrator("end jobs by force"))
    else:
        agent.services.outgoing.cancel(job, caller)
    log.info("job %s: %s asked to cancel it", job, caller.name)
    from_thread.run_sync(agent.live.follow, job)
    return show_job(job, caller, agent)
