"""The hosts that this one is paired with."""

import json
from dataclasses import dataclass

from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.store.database import Database, Row

ANYBODY = "*"


@dataclass(frozen=True, slots=True)
class Peer:
    """A paired host.

    Arguments:
        certificate: PEM; the only one that is accepted from it.
        fingerprint: SHA-256 of the certificate's DER form, hex.
        callers: for whom the host may ask this one to take VMs; ("*",) means anybody it has authorised.
        paired_at: Unix time.
        paired_by: the user who paired it.
    """

    name: str
    address: str
    port: int
    certificate: str
    fingerprint: str
    callers: tuple[str, ...]
    paired_at: float
    paired_by: str


class Peers:
    """The table `peers`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, peer: Peer, local: str = "this host") -> None:
        """Remember a host; one that shows the same certificate as before takes the place of its old entry.

        Arguments:
            local: this host's name, for the error.

        Raises:
            UsageError: another host has that name (PEER_NAME_TAKEN).
        """
        with self._database.transaction() as connection:
            known = self.get(peer.name)
            if known is not None and known.fingerprint != peer.fingerprint:
                raise UsageError(codes.PEER_NAME_TAKEN, local=local, host=peer.name)
            connection.execute("DELETE FROM peers WHERE fingerprint = ?", (peer.fingerprint,))
            connection.execute(
                "INSERT INTO peers"
                " (name, address, port, certificate, fingerprint, callers, paired_at, paired_by)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    peer.name,
                    peer.address,
                    peer.port,
                    peer.certificate,
                    peer.fingerprint,
                    json.dumps(peer.callers),
                    peer.paired_at,
                    peer.paired_by,
                ),
            )

    def get(self, name: str) -> Peer | None:
        """Give the host of that name."""
        row = self._database.row("SELECT * FROM peers WHERE name = ?", (name,))
        return _peer(row) if row else None

    def by_fingerprint(self, fingerprint: str) -> Peer | None:
        """Give the host that has this certificate."""
        row = self._database.row("SELECT * FROM peers WHERE fingerprint = ?", (fingerprint,))
        return _peer(row) if row else None

    def all(self) -> list[Peer]:
        """Give every paired host, by name."""
        return [_peer(row) for row in self._database.rows("SELECT * FROM peers ORDER BY name")]

    def remove(self, name: str) -> bool:
        """Forget a host.

        Returns:
            Whether it was known.
        """
        with self._database.transaction() as connection:
            return connection.execute("DELETE FROM peers WHERE name = ?", (name,)).rowcount > 0


def _peer(row: Row) -> Peer:
    return Peer(
        name=row["name"],
        address=row["address"],
        port=row["port"],
        certificate=row["certificate"],
        fingerprint=row["fingerprint"],
        callers=tuple(json.loads(row["callers"])),
        paired_at=row["paired_at"],
        paired_by=row["paired_by"],
    )
