"""Pairing as vmferryd does it: making tokens, taking them, using them, and parting again."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from vmferry.agent.services import Stores
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.crowd import origin
from vmferry.core.errors import AccessError, UsageError, VmferryError
from vmferry.core.messages.api import Invitation, PairingAnswer, PairingRequest
from vmferry.identity.certificates import HostIdentity, checked, fingerprint
from vmferry.identity.pairing import Token, redeem
from vmferry.identity.peer import PeerClient
from vmferry.store.peers import Peer

WINDOW = 600.0  # seconds in which wrong tokens are counted
FROM_ONE, FROM_ALL = 5, 50  # wrong tokens from one address, and from all together

log = logging.getLogger("vmferry.agent")


class Attempts:
    """Bounds how many wrong tokens can be tried; counts an attempt before it is known to be wrong.

    Arguments:
        host: this host's name, for errors.
        clock: gives seconds that only go forward.
    """

    def __init__(self, host: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._clock = clock
        self._seen: deque[tuple[float, str]] = deque()
        self._lock = threading.Lock()

    def enter(self, address: str) -> None:
        """Count an attempt.

        Raises:
            AccessError: there were too many (TOKEN_RATE).
        """
        now, place = self._clock(), origin(address)
        with self._lock:
            while self._seen and self._seen[0][0] <= now - WINDOW:
                self._seen.popleft()
            same = [at for at, seen in self._seen if seen == place]
            if len(same) >= FROM_ONE or len(self._seen) >= FROM_ALL:
                first = same[0] if len(same) >= FROM_ONE else self._seen[0][0]
                seconds = int(first + WINDOW - now) + 1
                raise AccessError(codes.TOKEN_RATE, host=self._host, seconds=seconds)
            self._seen.append((now, place))

    def forgive(self, address: str) -> None:
        """Take the newest attempt from there back: its token was right."""
        place = origin(address)
        with self._lock:
            for entry in reversed(self._seen):
                if entry[1] == place:
                    self._seen.remove(entry)
                    return


class Pairing:
    """Who this host is paired with, and how that changes. Every method blocks and may raise a VmferryError.

    Arguments:
        changed: called after a change.
        clock: gives Unix time.
    """

    def __init__(
        self,
        config: Config,
        identity: HostIdentity,
        stores: Stores,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._identity = identity
        self._stores = stores
        self._changed = changed
        self._clock = clock
        self._attempts = Attempts(config.name)

    def invite(self, callers: Sequence[str], by: str) -> Invitation:
        """Make a token."""
        token = Token.new(self._config.address, self._config.port, self._identity.fingerprint)
        expires = self._stores.invitations.create(token.secret, callers, by)
        log.info("%s made a pairing token", by)
        return Invitation(token=token.encode(), expires_at=datetime.fromtimestamp(expires, UTC))

    def accept(self, request: PairingRequest, address: str) -> PairingAnswer:
        """Pair with a host that came with one of this host's tokens.

        Arguments:
            address: where it came from.
        """
        try:
            self._attempts.enter(address)
        except AccessError as error:
            log.warning("pairing from %s refused: %s", address, error.reason)
            raise
        certificate = self._usable(request.certificate)
        with self._stores.database.transaction():
            invitation = self._stores.invitations.redeem(_secret(request.secret))
            if invitation is None:
                log.warning("pairing from %s refused: wrong, used or old token", address)
                raise AccessError(codes.TOKEN_WRONG, host=self._config.name)
            self._attempts.forgive(address)
            self._add(
                Peer(
                    name=request.name,
                    address=request.address or address,
                    port=request.port,
                    certificate=certificate,
                    fingerprint=fingerprint(certificate),
                    callers=invitation.callers,
                    paired_at=self._clock(),
                    paired_by=invitation.created_by,
                )
            )
        self._changed()
        log.info(
            "paired with %s, which came from %s with a token of %s",
            request.name,
            address,
            invitation.created_by,
        )
        return PairingAnswer(name=self._config.name)

    def join(self, text: str, address: str | None, callers: Sequence[str], by: str) -> Peer:
        """Pair with the host that made a token.

        Arguments:
            text: the token.
            address: HOST or HOST:PORT, instead of the token's.
        """
        token = Token.decode(text)
        if address:
            token = token.at(address)
        if token.fingerprint == self._identity.fingerprint:
            raise UsageError(codes.SELF_PAIRING, host=self._config.name)
        answer, certificate = redeem(
            token,
            PairingRequest(
                secret=token.secret.hex(),
                name=self._config.name,
                address=self._config.set_address,
                port=self._config.port,
                certificate=self._identity.certificate,
            ),
        )
        peer = Peer(
            name=answer.name,
            address=token.address,
            port=token.port,
            certificate=certificate,
            fingerprint=token.fingerprint,
            callers=tuple(callers),
            paired_at=self._clock(),
            paired_by=by,
        )
        self._add(peer)
        self._changed()
        log.info("%s paired this host with %s at %s", by, peer.name, peer.address)
        return peer

    def leave(self, name: str, by: str, *, force: bool = False) -> None:
        """Unpair, and tell the other host if it answers.

        Arguments:
            force: unpair even if the other host has jobs with this one that have not ended there.
        """
        peer = self._stores.peers.get(name)
        if peer is None:
            raise UsageError(codes.HOST_UNKNOWN, host=name, local=self._config.name)
        self._must_be_idle(peer)
        try:
            PeerClient(self._config, peer).unpair()
        except VmferryError as error:
            if error.code.name == codes.PEER_BUSY.name and not force:
                raise
            log.warning("%s could not be told that it is unpaired: %s", name, error.reason)
        self._stores.peers.remove(name)
        self._changed()
        log.info("%s unpaired %s", by, name)

    def left(self, peer: Peer) -> None:
        """Unpair, as the other host does."""
        self._must_be_idle(peer)
        self._stores.peers.remove(peer.name)
        self._changed()
        log.info("unpaired by %s", peer.name)

    def _must_be_idle(self, peer: Peer) -> None:
        """See that no job needs the pairing: what becomes of its VM is settled between the two hosts."""
        busy = self._stores.jobs.active_with(peer.name)
        if busy is not None:
            raise UsageError(codes.PEER_BUSY, host=peer.name, job=busy.id)

    def _add(self, peer: Peer) -> None:
        if peer.fingerprint == self._identity.fingerprint:
            raise UsageError(codes.SELF_PAIRING, host=self._config.name)
        if peer.name == self._config.name:
            raise UsageError(codes.PEER_NAME_TAKEN, local=self._config.name, host=peer.name)
        self._stores.peers.add(peer, self._config.name)

    def _usable(self, certificate: str) -> str:
        try:
            return checked(certificate)
        except ValueError as error:
            raise UsageError(codes.BAD_REQUEST, detail="that is not a certificate") from error


def _secret(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""  # as wrong as any other
