"""API tokens: who calls from off the host without a domain (RFC 6750, bearer tokens in the Authorization header).

A token is one word: an identifier, which may be shown, and 256 random bits, which may not. Against so much randomness
nobody guesses, so that a plain SHA-256 is kept of it and no slow hash is needed.
"""

import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime

from vmferry.core import codes
from vmferry.core.errors import AccessError
from vmferry.core.messages.offer import Caller, CallerMethod
from vmferry.identity.access import Login, UserRole
from vmferry.store.tokens import TokenRow, Tokens

_FORM = re.compile(r"vmft1-([0-9a-f]{8})-([A-Za-z0-9_-]{43})")
_NOBODY = hashlib.sha256(secrets.token_bytes()).hexdigest()  # no secret's


def issue(tokens: Tokens, name: str | None, role: UserRole, lifetime: float, by: str) -> tuple[TokenRow, str]:
    """Make a token.

    Arguments:
        name: what the records call whoever uses it; None: its identifier.
        lifetime: seconds.
        by: who makes it.

    Returns:
        What is kept, and the word that is shown once.

    Raises:
        UsageError: the name is taken (API_TOKEN_NAME_TAKEN).
    """
    id, secret, now = secrets.token_hex(4), secrets.token_urlsafe(32), tokens.clock()  # noqa: A001
    row = TokenRow(id, name or id, str(role), _digest(secret), now, by, now + lifetime)
    tokens.create(row)
    return row, f"vmft1-{id}-{secret}"


def proved(tokens: Tokens, word: str, host: str) -> TokenRow:
    """Give the token that somebody shows. It may have ended: see `alive`.

    Arguments:
        host: this host's name, for the error.

    Raises:
        AccessError: it is none of this host's (API_TOKEN_WRONG); the same, and as soon, for whatever is wrong with it.
    """
    match = _FORM.fullmatch(word)
    row = tokens.get(match[1]) if match else None
    right = hmac.compare_digest(row.digest if row else _NOBODY, _digest(match[2] if match else ""))
    if row is None or not right:
        raise AccessError(codes.API_TOKEN_WRONG, host=host)
    return row


def alive(row: TokenRow, now: float, host: str) -> None:
    """Hold a token to its time. Only whoever has its secret learns that it has ended.

    Arguments:
        now: Unix time.
        host: this host's name, for the error.

    Raises:
        AccessError: API_TOKEN_REVOKED, API_TOKEN_EXPIRED.
    """
    if row.revoked_at is not None:
        raise AccessError(codes.API_TOKEN_REVOKED, host=host, name=row.name)
    if row.expires_at <= now:
        when = datetime.fromtimestamp(row.expires_at, UTC).isoformat(timespec="seconds")
        raise AccessError(codes.API_TOKEN_EXPIRED, host=host, name=row.name, when=when)


def caller(name: str, host: str) -> Caller:
    """Say in whose name somebody with a token acts; no user of a host can be called so.

    Arguments:
        name: the token's.
        host: this host's name.
    """
    return Caller(name=f"token {name}", host=host, method=CallerMethod.TOKEN)


def login(name: str, role: str, host: str) -> Login:
    """Let somebody with a token in."""
    return Login(caller(name, host), UserRole[role.upper()])


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
