"""Where the destination's end of a session begins."""

from collections.abc import Sequence

from vmferry.core.policy.networks import Local
from vmferry.transfer.session.options import Options
from vmferry.transfer.session.session import Session
from vmferry.transfer.transport.acceptor import Acceptor
from vmferry.transfer.transport.base import Transport
from vmferry.transfer.transport.tcp import Tcp
from vmferry.transfer.transport.tls import Credentials


class Listener:
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
        options: Options | None = None,
    ) -> None:
        self._options = options or Options()
        listener = (transport or Tcp(credentials)).listen(addresses, ports)
        self._acceptor = Acceptor(listener, credentials, self._options.features)

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
