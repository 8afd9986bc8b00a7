"""API tokens: only the hash of each secret is stored."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.store.database import Database, Row

KEPT = 30 * 86400.0  # seconds for which one that has ended is still told from a wrong one


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token. Times are Unix times.

    Arguments:
        role: viewer, operator or administrator.
        digest: SHA-256 of the secret, hex.
    """

    id: str
    name: str
    role: str
    digest: str
    created_at: float
    created_by: str
    expires_at: float
    revoked_at: float | None = None
    revoked_by: str | None = None

    def ended(self, now: float) -> bool:
        """Return whether it is no longer valid."""
        return self.revoked_at is not None or self.expires_at <= now


class Tokens:
    """The table `tokens`.

    Arguments:
        clock: returns Unix time.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self.clock = clock

    def create(self, token: TokenRow) -> None:
        """Store a token.

        Raises:
            UsageError: api-token-name-taken; a valid token has that name.
        """
        now = self.clock()
        with self._database.transaction() as connection:
            ended = "COALESCE(revoked_at, expires_at) <= ?"
            connection.execute(f"DELETE FROM tokens WHERE {ended}", (now - KEPT,))  # noqa: S608 (a constant)
            taken = next((row for row in self.all() if row.name == token.name and not row.ended(now)), None)
            if taken is not None:
                raise UsageError(codes.API_TOKEN_NAME_TAKEN, name=token.name, id=taken.id)
            connection.execute(
                "INSERT INTO tokens (id, name, role, digest, created_at, created_by, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    token.id,
                    token.name,
                    token.role,
                    token.digest,
                    token.created_at,
                    token.created_by,
                    token.expires_at,
                ),
            )

    def get(self, id: str) -> TokenRow | None:  # noqa: A002
        """Return the token of that identifier."""
        row = self._database.row("SELECT * FROM tokens WHERE id = ?", (id,))
        return _token(row) if row else None

    def all(self) -> list[TokenRow]:
        """Return every token, the oldest first, including those that ended recently."""
        return [_token(row) for row in self._database.rows("SELECT * FROM tokens ORDER BY created_at, id")]

    def revoke(self, word: str, by: str) -> TokenRow:
        """Revoke a token now; one that has ended stays as it is.

        Arguments:
            word: its identifier or its name.

        Raises:
            UsageError: api-token-unknown.
        """
        now = self.clock()
        with self._database.transaction() as connection:
            alike = [row for row in self.all() if word in (row.id, row.name)]
            found = next((row for row in alike if not row.ended(now)), alike[-1] if alike else None)
            if found is None:
                raise UsageError(codes.API_TOKEN_UNKNOWN, token=word)
            if not found.ended(now):
                connection.execute("UPDATE tokens SET revoked_at = ?, revoked_by = ? WHERE id = ?", (now, by, found.id))
            return found


def _token(row: Row) -> TokenRow:
    return TokenRow(**dict(row))
