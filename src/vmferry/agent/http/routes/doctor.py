"""How this host stands, and those that it is paired with."""

from fastapi import APIRouter

from vmferry.agent.http.actions import action
from vmferry.agent.http.auth import ThisAgent, Viewer
from vmferry.core.messages.diagnosis import DiagnosisRequest, HostReport, Matrix

router = APIRouter(prefix="/doctor", tags=["doctor"])


@router.get("")
@action("examine_host")
def examine_host(caller: Viewer, agent: ThisAgent) -> HostReport:
    """Examine this host; what is wrong is in the findings, not an error. Nothing is changed."""
    return agent.services.doctor.examine()


@router.post("")
@action("examine_hosts", question=True)
def examine_hosts(request: DiagnosisRequest, caller: Viewer, agent: ThisAgent) -> Matrix:
    """Examine this host, paired ones, and every way between two of them, both directions. Nothing is changed."""
    return agent.services.doctor.diagnose(request.hosts, caller)
