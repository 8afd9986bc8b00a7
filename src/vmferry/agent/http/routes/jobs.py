"""The moves that this host takes part in."""

import logging
from typing import Annotated

from anyio import from_thread
from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from vmferry.agent.http import views
from vmferry.agent.http.actions import action
from vmferry.agent.http.auth import JobId, Limited, Require, ThisAgent, Viewer
from vmferry.agent.moves import joblog
from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.messages.api import Job, JobLog
from vmferry.core.messages.offer import Caller
from vmferry.core.resolution import Resolution, ResolveRequest
from vmferry.identity.access import UserRole

router = APIRouter(tags=["jobs"])
Force = Annotated[bool, Query(description="whatever the other host does; takes an administrator")]
Administrator = Annotated[Caller, Depends(Require(UserRole.ADMINISTRATOR, "settle jobs by hand"))]
Canceller = Annotated[Caller, Depends(Require(UserRole.OPERATOR, "cancel jobs"))]

log = logging.getLogger("vmferry.agent")


@router.get("/jobs")
@action("list_jobs")
def list_jobs(caller: Viewer, agent: ThisAgent) -> list[Job]:
    """List the jobs, the oldest first."""
    host = agent.services.config.name
    rows = agent.services.stores.jobs.list()
    return [views.job(row, host, agent.live.progress(row.id)) for row in rows]


@router.get("/jobs/{job}")
@action("show_job")
def show_job(job: JobId, caller: Viewer, agent: ThisAgent) -> Job:
    """Show a job."""
    row = agent.services.stores.jobs.get(job)
    return views.job(row, agent.services.config.name, agent.live.progress(job))


@router.get("/jobs/{job}/log")
@action("show_job_log")
def show_job_log(job: JobId, caller: Viewer, agent: ThisAgent) -> JobLog:
    """Show what this host's transfer process of a job has logged."""
    config = agent.services.config
    agent.services.stores.jobs.get(job)
    return JobLog(job=job, host=config.name, lines=joblog.lines(config, job))


class _EventStream(StreamingResponse):
    media_type = "text/event-stream"


@router.get("/jobs/{job}/events", response_class=_EventStream)
@action("follow_job")
async def follow_job(
    job: JobId,
    caller: Viewer,
    agent: ThisAgent,
    last_event_id: Annotated[int, Header(ge=0, lt=1 << 63, description="the last phase that was seen")] = 0,
    after: Annotated[int, Query(ge=0, lt=1 << 63, description="as Last-Event-ID")] = 0,
) -> _EventStream:
    """Follow a job to its end, as server-sent events.

    `phase` (PhaseEvent; its id is the step of the journal, from which Last-Event-ID goes on), `progress`
    (Progress), `state` (StateEvent), and `end` (Job) as the last. Comments show that the daemon is there.
    """
    row = await run_in_threadpool(agent.services.stores.jobs.get, job)
    if row.ended_at is None:
        agent.live.follow(job)
    agent.live.require_room(caller.name)
    stream = agent.live.stream_to(caller.name, job, max(last_event_id, after))
    return _EventStream(stream, headers={"Cache-Control": "no-store"})


@router.post("/jobs/{job}/cancel", status_code=202)
@action("cancel_job")
def cancel_job(job: JobId, caller: Canceller, limits: Limited, agent: ThisAgent, force: Force = False) -> Job:
    """Ask a job to end; before its commit the VM then runs on at the source.

    With `force`, which takes an administrator, this host gives it up by itself, whatever the other one does.
    """
    known = views.job(agent.services.stores.jobs.get(job), agent.services.config.name)
    limits.require(known.vm, known.destination)
    if force:
        agent.endings.force(job, limits.administrator("end jobs by force"))
    else:
        agent.services.outgoing.cancel(job, caller)
    log.info("job %s: %s asked to cancel it", job, caller.name)
    from_thread.run_sync(agent.live.follow, job)
    return show_job(job, caller, agent)


@router.get("/jobs/{job}/resolution")
@action("show_resolution")
def show_resolution(job: JobId, caller: Administrator, agent: ThisAgent) -> Resolution:
    """Show both ways to settle a move whose other host is gone for good, and what is against each."""
    return agent.resolutions.look(job)


@router.post("/jobs/{job}/resolution")
@action("resolve_job")
def resolve_job(request: ResolveRequest, job: JobId, caller: Administrator, agent: ThisAgent) -> Job:
    """Settle a move whose other host is gone for good: the VM is this host's, or the other one's."""
    row = agent.services.stores.jobs.get(job)
    if (request.vm, request.peer) != (row.vm, row.peer):
        raise UsageError(codes.BAD_REQUEST, detail=f"job {job} moves {row.vm}, and the other host is {row.peer}")
    agent.resolutions.resolve(job, request.owner, caller)
    return show_job(job, caller, agent)
