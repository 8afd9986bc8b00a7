"""The VMs of the host."""

import logging
from typing import Annotated, Any

from anyio import from_thread
from fastapi import APIRouter, Depends, Response

from vmferry.agent.http import views
from vmferry.agent.http.actions import action
from vmferry.agent.http.auth import Credential, Limited, Require, ThisAgent, Viewer
from vmferry.agent.peers.outgoing_signin import Password
from vmferry.core.messages.api import CheckRequest, Job, MoveRequest
from vmferry.core.messages.offer import Caller, Report
from vmferry.core.messages.vm import VmDetail, VmSummary
from vmferry.identity.access import UserRole

router = APIRouter(tags=["vms"])
Mover = Annotated[Caller, Depends(Require(UserRole.OPERATOR, "move VMs"))]

log = logging.getLogger("vmferry.agent")


@router.get("/vms")
@action("list_vms")
def list_vms(caller: Viewer, agent: ThisAgent) -> list[VmSummary]:
    """List the VMs."""
    return agent.services.inventory.vms()


@router.get("/vms/{name}")
@action("show_vm")
def show_vm(name: str, caller: Viewer, agent: ThisAgent) -> VmDetail:
    """Show a VM."""
    return agent.services.inventory.vm(name)


@router.post("/vms/{name}/check")
@action("check_vm", question=True)
def check_vm(
    name: str, request: CheckRequest, caller: Mover, limits: Limited, credential: Credential, agent: ThisAgent
) -> Report:
    """Run the checks of a move and change nothing; what blocks the move is in the findings, not an error."""
    shown = _credential(credential, request)
    limits.require(name, request.destination)
    return agent.services.preview.check(
        name,
        request.destination,
        request.options(),
        caller,
        predict=request.predict,
        credential=shown,
    )


@router.post("/vms/{name}/move", status_code=202)
@action("move_vm")
def move_vm(
    name: str,
    request: MoveRequest,
    caller: Mover,
    limits: Limited,
    credential: Credential,
    agent: ThisAgent,
    response: Response,
) -> Job:
    """Begin to move a VM to a paired host; the job is at Location, and runs or waits for a place."""
    shown = _credential(credential, request)
    limits.require(name, request.destination)
    id, warnings = agent.services.outgoing.move(  # noqa: A001
        name,
        request.destination,
        request.options(),
        caller,
        wait=request.wait,
        credential=shown,
    )
    log.info("job %s: %s moves %s to %s", id, caller.name, name, request.destination)
    from_thread.run_sync(agent.live.follow, id)
    agent.queue.wake()
    response.headers["Location"] = f"/api/v1/jobs/{id}"
    job = views.job(agent.services.stores.jobs.get(id), agent.services.config.name)
    return job.model_copy(update={"warnings": warnings})


def _credential(ticket: Any, request: MoveRequest) -> Any:
    """Give what this host may act for the caller with: their ticket, else their password, else nothing."""
    if ticket is None and request.password is not None:
        return Password(request.password.get_secret_value())
    return ticket
