"""Finds the way to the destination's worker: the best route that answers."""

import logging
from collections.abc import Sequence

from vmferry.core import codes
from vmferry.core.errors import UnreachableError, VmferryError
from vmferry.core.policy.networks import Route
from vmferry.transfer.session.session import Credentials, Session

log = logging.getLogger(__name__)


def connect(routes: Sequence[Route], credentials: Credentials, connections: int = 2) -> tuple[Session, list[str]]:
    """Connect by the first route that answers; all connections of a session take the same one.

    Arguments:
        routes: the best first.
        credentials: what to show and to want.
        connections: how many carry frames to the destination.

    Returns:
        The session, and what was tried in vain before: an address each, and why.

    Raises:
        UnreachableError: data-port-unreachable.
        VmferryError: somebody answered and refused, or showed another certificate or key.
    """
    failures: list[str] = []
    refusal: VmferryError | None = None
    for route in routes:
        try:
            return Session.dial(route, credentials, connections), failures
        except VmferryError as error:
            refusal = refusal or error
            failures.append(f"{_name(route)}: {error.reason}")
        except OSError as error:
            failures.append(f"{_name(route)}: {error.strerror or error}")
        log.warning("job %s: %s", credentials.job, failures[-1])
    if refusal is not None:
        raise refusal
    tried = ", ".join(_name(route) for route in routes)
    why = failures[-1].partition(": ")[2] if failures else "there is no address"
    raise UnreachableError(codes.DATA_UNREACHABLE, host=credentials.peer, addresses=tried, why=why)


def _name(route: Route) -> str:
    place = f"{route.host} port {route.port}"
    return f"{place} from {route.local.address}" if route.local else place
