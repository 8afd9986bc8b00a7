"""Rows of the store as the API shows them."""

from datetime import UTC, datetime

from vmferry.core.job import Progress, Role
from vmferry.core.messages.api import ApiToken, Job, PairedHost, Problem
from vmferry.core.messages.offer import MoveOptions
from vmferry.store.jobs import JobRow
from vmferry.store.peers import Peer, PeerKind
from vmferry.store.tokens import TokenRow


def job(row: JobRow, host: str, progress: Progress | None = None) -> Job:
    """Show a job.

    Arguments:
        host: this host's name.
        progress: the newest, of a job that runs.
    """
    source, destination = (host, row.peer) if row.role is Role.SOURCE else (row.peer, host)
    return Job(
        id=row.id,
        role=row.role,
        kind=row.kind,
        vm=row.vm,
        source=source,
        destination=destination,
        caller=row.caller,
        options=MoveOptions.model_validate(row.options),
        state=row.state,
        position=row.position,
        phase=row.phase,
        reason=row.reason,
        error=Problem.model_validate(row.error) if row.error else None,
        summary=row.summary,
        progress=progress,
        created_at=_time(row.created_at),
        updated_at=_time(row.updated_at),
        ended_at=_time(row.ended_at) if row.ended_at is not None else None,
    )


def peer(row: Peer) -> PairedHost:
    """Show a paired host."""
    return PairedHost(
        name=row.name,
        address=row.address,
        port=row.port,
        fingerprint=row.fingerprint,
        callers=list(row.callers),
        paired_at=_time(row.paired_at),
        paired_by=row.paired_by,
        known_by="pairing" if row.kind is PeerKind.PAIRED else row.kind.value,
    )


def token(row: TokenRow, now: float) -> ApiToken:
    """Show an API token.

    Arguments:
        now: Unix time.
    """
    return ApiToken(
        id=row.id,
        name=row.name,
        role=row.role,
        state="revoked" if row.revoked_at is not None else "expired" if row.ended(now) else "valid",
        created_at=_time(row.created_at),
        created_by=row.created_by,
        expires_at=_time(row.expires_at),
        revoked_at=_time(row.revoked_at) if row.revoked_at is not None else None,
        revoked_by=row.revoked_by,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
