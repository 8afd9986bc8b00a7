"""Makes the connections of a session, as the source: all at first, and later one in place of another."""

import secrets
from collections.abc import Sequence
from typing import Literal

from vmferry.core.policy.networks import Route
from vmferry.transfer.transport import handshake, hello
from vmferry.transfer.transport.base import Transport
from vmferry.transfer.transport.handshake import Established
from vmferry.transfer.transport.hello import Hello
from vmferry.transfer.transport.tls import Credentials

_LIMIT = 5.0  # seconds to bring one connection up


class Dialer:
    """Connects by one route, for one session.

    Arguments:
        transport: what connects.
        route: where to, and from where.
        credentials: what to show and to want.
        features: that this end has.
    """

    def __init__(
        self, transport: Transport, route: Route, credentials: Credentials, features: Sequence[str] = hello.FEATURES
    ) -> None:
        self._transport = transport
        self._route = route
        self._credentials = credentials
        self._features = features

    def dial(self, forward: int, back: int) -> list[Established]:
        """Make so many connections in each direction; all or none.

        Raises:
            VmferryError: the peer refused, or showed another certificate or key.
            OSError: it cannot be reached.
        """
        session = secrets.token_hex(16)
        made: list[Established] = []
        slots: list[tuple[Literal["forward", "back"], int]] = [("forward", index) for index in range(forward)]
        slots += [("back", index) for index in range(back)]
        try:
            for direction, index in slots:
                said = Hello(
                    versions=list(hello.VERSIONS),
                    features=list(self._features),
                    job=self._credentials.job,
                    session=session,
                    direction=direction,
                    index=index,
                    forward=forward,
                    back=back,
                    encrypted=self._credentials.encryption,
                    nonce=secrets.token_hex(32),
                )
                made.append(self._connect(said))
        except BaseException:
            for one in made:
                one.carrier.close()
            raise
        return made

    def redial(self, old: Established) -> Established:
        """Make a connection that takes the place of another.

        Raises:
            VmferryError: the peer refused.
            OSError: it cannot be reached.
        """
        return self._connect(old.hello.model_copy(update={"nonce": secrets.token_hex(32)}))

    def resume(self, old: Sequence[Established], epoch: int, seconds: float) -> list[Established]:
        """Make connections in place of all that a session had; all or none.

        Arguments:
            old: one of each that the session had.
            epoch: how often the session was connected anew, with this time.
            seconds: for each connection, at most.

        Raises:
            VmferryError: the peer refused.
            OSError: it cannot be reached.
        """
        made: list[Established] = []
        try:
            for one in old:
                update = {"nonce": secrets.token_hex(32), "epoch": epoch}
                made.append(self._connect(one.hello.model_copy(update=update), seconds))
        except BaseException:
            for new in made:
                new.carrier.close()
            raise
        return made

    def _connect(self, said: Hello, seconds: float = _LIMIT) -> Established:
        connection = self._transport.dial(self._route, min(seconds, _LIMIT))
        return handshake.dial(connection, self._credentials, said, min(seconds, _LIMIT))
