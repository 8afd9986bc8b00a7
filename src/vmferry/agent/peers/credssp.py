"""CredSSP sign-ins under way at the destination: each takes several requests, and a few may be under way at once."""

import base64
import binascii
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from vmferry.agent.peers.incoming_signin import SignIns
from vmferry.core import codes
from vmferry.core.errors import AccessError, UsageError
from vmferry.core.messages.signin import CredSspAnswer, CredSspMessage, Service, SignIn
from vmferry.core.policy.settings import Authentication
from vmferry.identity.credssp import STEPS, CredSspAcceptor

LASTS = 30.0  # seconds from the first message to the last
AT_ONCE = 16
_SERVICES: frozenset[Service] = frozenset({"migration", "storage"})  # a password is good for all


@dataclass(slots=True)
class _Session:
    request: SignIn
    address: str
    bound: bytes
    acceptor: CredSspAcceptor
    until: float
    steps: int = 0


@dataclass(frozen=True, slots=True)
class CredSspSignIns:
    """Takes sign-ins with a password.

    Arguments:
        sign_ins: lets in who was made out.
        clock: gives seconds that only go forward.
    """

    sign_ins: SignIns
    acceptor: Callable[..., CredSspAcceptor] = CredSspAcceptor
    clock: Callable[[], float] = time.monotonic
    sessions: dict[str, _Session] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def step(self, asked: CredSspMessage, address: str, bound: bytes) -> CredSspAnswer:
        """Take one message.

        Arguments:
            address: where it comes from.
            bound: the binding of its TLS connection.

        Raises:
            AccessError: credssp-forbidden, credssp-refused, authentication-differs, and as for a sign-in with tickets.
            UsageError: bad-request: the session has ended, or there are too many.
        """
        try:
            token = base64.b64decode(asked.token, validate=True)
        except binascii.Error as error:
            raise UsageError(codes.BAD_REQUEST, detail="a token is not base64") from error
        name, session = self._session(asked, address, bound)
        answer = session.acceptor.step(token)
        session.steps += 1
        if not session.acceptor.complete:
            if session.steps >= STEPS:
                raise UsageError(codes.BAD_REQUEST, detail="the sign-in takes too many messages")
            with self.lock:
                self.sessions[name] = session
            return CredSspAnswer(session=name, token=base64.b64encode(answer or b"").decode())
        principal, logon = session.acceptor.user()
        entered = self.sign_ins.let_in(session.request, address, bound, principal, logon, _SERVICES)
        return CredSspAnswer(session=name, token=base64.b64encode(answer or b"").decode(), done=entered)

    def _session(self, asked: CredSspMessage, address: str, bound: bytes) -> tuple[str, _Session]:
        """Take a session up, or begin one; while it is at work nobody else can take it up."""
        with self.lock:
            now = self.clock()
            for old in [one for one, known in self.sessions.items() if known.until < now]:
                del self.sessions[old]
            if asked.begin is None:
                known = self.sessions.pop(asked.session, None)
                if known is None or (known.address, known.bound) != (address, bound):
                    raise UsageError(codes.BAD_REQUEST, detail="the sign-in has ended, or is another connection's")
                return asked.session, known
            if len(self.sessions) >= AT_ONCE:
                raise UsageError(codes.BAD_REQUEST, detail="too many sign-ins are under way; try again in some seconds")
        config = self.sign_ins.config
        if config.forbid_credssp:
            raise AccessError(codes.CREDSSP_FORBIDDEN, host=config.name)
        if asked.begin.authentication is not Authentication.CREDSSP:
            raise UsageError(codes.BAD_REQUEST, detail="it is no sign-in with a password")
        self.sign_ins.require_same(asked.begin)
        made = self.acceptor(self.sign_ins.keys, config.name, bound)
        return secrets.token_hex(16), _Session(asked.begin, address, bound, made, now + LASTS)
