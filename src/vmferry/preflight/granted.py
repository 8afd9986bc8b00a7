"""Whether a grant matches the offer: the destination cannot decide anything else about this host's files."""

from vmferry.core import codes
from vmferry.core.errors import InternalError, PreflightError
from vmferry.core.kinds import KINDS, ArtifactType, CopiedBy
from vmferry.core.messages.offer import Artifact, ArtifactPlan, Grant, Offer
from vmferry.preflight.plan import copied, paths


def require_asked(offer: Offer, grant: Grant, *, folder: str, local: str, host: str) -> None:
    """Check a grant on the source, before anything follows from it.

    A disk that was to be copied must be in the plan, one that a VM writes to must not be copied like a file, and only a
    disk with a proof of this host beside it can be shared.

    Arguments:
        folder: the folder of the job's sockets on this host.
        local, host: names of this host and of the destination.

    Raises:
        PreflightError: run-folder-differs.
        InternalError: grant-differs.
    """
    if grant.socket_folder != folder:
        theirs = grant.socket_folder
        raise PreflightError(codes.RUN_FOLDER_DIFFERS, host=host, local=local, theirs=theirs, ours=folder)
    if [(plan.type, plan.target) for plan in grant.artifacts] != [(one.type, one.target) for one in offer.artifacts]:
        named = ", ".join(plan.target for plan in grant.artifacts) or "none"
        raise InternalError(codes.GRANT_DIFFERS, host=host, disk=named, why="these are not the disks of the VM")
    wanted = paths(offer)
    carriers = KINDS[offer.kind].carriers
    for plan, disk in zip(grant.artifacts, offer.artifacts, strict=True):
        why = _difference(plan, disk, wanted.get(disk.target, disk.path))
        if plan.copied_by not in carriers[disk.type]:
            why = f"no such move has it copied by {plan.copied_by}"
        if why is not None:
            raise InternalError(codes.GRANT_DIFFERS, host=host, disk=disk.target, why=why)


def _difference(plan: ArtifactPlan, disk: Artifact, wanted: str) -> str | None:
    if plan.shared and disk.nonce_file is None:
        return "it says that both hosts see it, and nothing was there to show that"
    if plan.path != (disk.path if plan.shared else wanted):
        return f"it would be at {plan.path}"
    flash = disk.type is ArtifactType.FIRMWARE_VARIABLES
    expected = CopiedBy.MEMORY if flash else copied(disk, shared=plan.shared)
    if plan.copied_by is CopiedBy.PRESENT and disk.readonly and not plan.shared:
        return None  # it has such a file: it is compared
    if plan.copied_by is not expected:
        return f"it would be copied by {plan.copied_by}, not by {expected}"
    return None
