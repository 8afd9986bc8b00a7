"""How the two ends of a session find each other: the source by the best route that answers, the destination waits."""

import logging
from collections.abc import Sequence

from vmferry.core import codes
from vmferry.core.errors import UnreachableError, VmferryError
from vmferry.core.policy.networks import Local, Route
from vmferry.transfer.session.options import SessionOptions
from vmferry.transfer.session.session import Credentials, Session
from vmferry.transfer.transport.acceptor import WireAcceptor
from vmferry.transfer.transport.base import Transport
from vmferry.transfer.transport.tcp import Tcp

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


class SessionListener:
    """Where the destination waits for the source.

    A session renews its connections through it, so that it should stay open as long as the session.

    Arguments:
        addresses: of this host; those with an interface let nothing in by another.
        ports: first and last port to try.
        credentials: what to show and to want.
        transport: what connections come over; None: TCP.
        options: what to offer to the source.

    Raises:
        InternalError: ports-taken.
    """

    def __init__(
        self,
        addresses: Sequence[Local],
        ports: tuple[int, int],
        credentials: Credentials,
        transport: Transport | None = None,
        options: SessionOptions | None = None,
    ) -> None:
        self._options = options or SessionOptions()
        listener = (transport or Tcp(credentials)).listen(addresses, ports)
        self._acceptor = WireAcceptor(listener, credentials, self._options.features)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each address that it listens on."""
        return self._acceptor.addresses

    def accept(self, timeout: float) -> Session:
        """Wait for the source.

        Raises:
            TimeoutError: it did not come within `timeout` seconds; says why the last that came was refused.
            ConnectionAbortedError: the listener was closed.
        """
        established = self._acceptor.gather(timeout)
        session = Session(established, options=self._options)
        self._acceptor.adopt(established[0].hello.session, session.add)
        return session

    def close(self) -> None:
        """Listen no more; sessions that were accepted stay."""
        self._acceptor.close()


def _name(route: Route) -> str:
    target = f"{route.host} port {route.port}"
    return f"{target} from {route.local.address}" if route.local else target
