"""What carries a session's frames between two workers, and what a session may ask of it. TCP (tcp.py) is one such."""

from collections.abc import Sequence
from typing import Protocol

from vmferry.core.policy.networks import Local, Route


class TransportConnection(Protocol):
    """A connection to the other worker: bytes in order, both ways during the hello and one way afterwards.

    One thread sends or receives at a time, unless it says otherwise.

    Arguments:
        encrypted: whether what is sent is encrypted and cannot be changed on the way.
        local: address and port of this end.
        peer: address and port of the other end.
    """

    encrypted: bool
    local: tuple[str, int]
    peer: tuple[str, int]

    @property
    def interface(self) -> str | None:
        """The interface that has this end's address; None if there is none."""

    def secure(self, seconds: float) -> None:
        """Set the deadline for the hello, and make sure who the peer is as far as the transport can.

        Raises:
            VmferryError: it is somebody else, or does not speak the same.
            OSError: the connection is lost.
        """

    def explain(self, error: OSError) -> Exception:
        """Return what a failure during the hello means; the error itself if it says enough."""

    def start(self) -> None:
        """End the hello: no deadline from now on, and a peer that acknowledges nothing for 10 seconds is lost."""

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it; waits for room.

        Raises:
            OSError: the connection is lost.
        """

    def fill(self, view: memoryview) -> bool:
        """Read until `view` is full; False if the connection ends before.

        Raises:
            OSError: the connection is lost.
        """

    def writable(self) -> bool:
        """Return whether a short frame could be sent without waiting. Any thread may ask."""

    def hung_up(self) -> bool:
        """Return whether the peer has closed a connection that this end sends on. Any thread may ask."""

    def cut(self) -> None:
        """End the connection at once: wakes whoever sends or reads. Any thread may, and more than once."""

    def close(self) -> None:
        """Give back what the connection holds; nobody may be using it."""


class TransportListener(Protocol):
    """Where connections come in.

    Arguments:
        addresses: host and port of each address that it listens on.
    """

    addresses: list[tuple[str, int]]

    def accept(self) -> TransportConnection | None:
        """Wait for the next connection; None once the listener is closed, and everything it held is given back."""

    def close(self) -> None:
        """Listen no more; wakes `accept`. Connections that were accepted stay."""


class Transport(Protocol):
    """Makes connections, for one job."""

    def dial(self, route: Route, seconds: float) -> TransportConnection:
        """Connect to the other worker.

        Arguments:
            route: where to, and from where.
            seconds: how long the other side may take.

        Raises:
            OSError: it does not answer.
        """

    def listen(self, addresses: Sequence[Local], ports: tuple[int, int]) -> TransportListener:
        """Listen for the other worker.

        Arguments:
            addresses: of this host; those with an interface let nothing in by another.
            ports: first and last port to try.

        Raises:
            InternalError: ports-taken.
        """
