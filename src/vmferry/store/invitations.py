"""Invitations to pair: only the hash of each secret is stored; each is valid once and for ten minutes."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vmferry.store.database import Database

LIFETIME = 600.0  # seconds


@dataclass(frozen=True, slots=True)
class RedeemedInvitation:
    """An invitation that was redeemed: who created it, and for whom the new peer may ask."""

    callers: tuple[str, ...]
    created_by: str


class Invitations:
    """The table `invitations`.

    Arguments:
        clock: returns Unix time.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def create(self, secret: bytes, callers: Sequence[str], created_by: str) -> float:
        """Store an invitation's secret (its hash).

        Returns:
            When it expires, as Unix time.
        """
        expires = self._clock() + LIFETIME
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM invitations WHERE expires_at <= ?", (self._clock(),))
            connection.execute(
                "INSERT INTO invitations (digest, callers, created_by, expires_at) VALUES (?, ?, ?, ?)",
                (_digest(secret), json.dumps(list(callers)), created_by, expires),
            )
        return expires

    def redeem(self, secret: bytes) -> RedeemedInvitation | None:
        """Redeem an invitation.

        If the surrounding `Database.transaction()` fails, the invitation is still valid.

        Returns:
            The invitation; None if the secret is wrong, used or too old.
        """
        digest = _digest(secret)
        with self._database.transaction() as connection:
            rows = self._database.rows("SELECT * FROM invitations WHERE expires_at > ?", (self._clock(),))
            found = None
            for row in rows:  # all of them, so that the time taken tells nothing
                if hmac.compare_digest(row["digest"], digest):
                    found = row
            if found is None:
                return None
            connection.execute("DELETE FROM invitations WHERE digest = ?", (found["digest"],))
            return RedeemedInvitation(tuple(json.loads(found["callers"])), found["created_by"])


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
