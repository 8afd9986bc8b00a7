"""The audit log."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from vmferry.agent.auditlog import crosscheck
from vmferry.agent.http.actions import action
from vmferry.agent.http.auth import Require, ThisAgent
from vmferry.core.auditlog.chain import Verification
from vmferry.core.auditlog.record import AuditRecord
from vmferry.core.messages.offer import Caller
from vmferry.identity.access import UserRole

router = APIRouter(tags=["audit"])
Auditor = Annotated[Caller, Depends(Require(UserRole.ADMINISTRATOR, "read its audit log"))]
_YEARS = 10 * 365 * 86400.0


@router.get("/audit")
@action("list_audit")
def list_audit(
    caller: Auditor,
    agent: ThisAgent,
    since: Annotated[float | None, Query(gt=0, le=_YEARS, description="seconds before now")] = None,
    job: Annotated[str | None, Query(max_length=64)] = None,
) -> list[AuditRecord]:
    """List the newest thousand records of requests that changed something or tried to, the oldest of them first."""
    after = datetime.now(UTC) - timedelta(seconds=since) if since is not None else None
    return agent.trail.read(after, job)


@router.get("/audit/verification")
@action("verify_audit")
def verify_audit(
    caller: Auditor,
    agent: ThisAgent,
    peers: Annotated[bool, Query(description="ask all known hosts which heads of the log they have on record")] = False,
) -> Verification:
    """Walk along the audit log's hash chain, with the files that were rotated away."""
    services = agent.services
    return crosscheck.verify(services.config, agent.trail, services.stores.peers.all() if peers else [])
