"""The hosts that this host knows: those it is paired with, and those of the site that it has met."""

import json
import sqlite3
from dataclasses import dataclass, replace
from enum import StrEnum

from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.store.database import Database, Row

ANYBODY = "*"


class PeerKind(StrEnum):
    """How a host is known: by pairing, by the site's authority (identity/site.py), or by its domain's Kerberos."""

    PAIRED = "paired"
    SITE = "site"
    DOMAIN = "domain"


@dataclass(frozen=True, slots=True)
class Peer:
    """A host that this one knows.

    Arguments:
        name: of a host of the site, the one that its certificate has.
        certificate: PEM; of a paired host, the only one that is accepted from it.
        fingerprint: SHA-256 of the certificate's DER form, hex; of a host of the site, that which it showed last.
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
    kind: PeerKind = PeerKind.PAIRED


class Peers:
    """The table `peers`. `changes` counts what this process has changed in it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.changes = 0

    def add(self, peer: Peer, local: str = "this host") -> None:
        """Store a host; one with the same certificate as before replaces its old entry.

        Arguments:
            local: this host's name, for the error.

        Raises:
            UsageError: peer-name-taken; another host has that name.
        """
        with self._database.transaction() as connection:
            known = self.get(peer.name)
            if known is not None and known.fingerprint != peer.fingerprint:
                raise UsageError(codes.PEER_NAME_TAKEN, local=local, host=peer.name)
            connection.execute("DELETE FROM peers WHERE fingerprint = ?", (peer.fingerprint,))
            _insert(connection, peer)
        self.changes += 1

    def meet(self, peer: Peer, local: str = "this host") -> Peer:
        """Store the present address and certificate of a host of the site or of the domain.

        A paired host stays a paired host if it shows the same certificate.

        Arguments:
            local: this host's name, for the error.

        Raises:
            UsageError: peer-name-taken; a paired host has that name.
        """
        with self._database.transaction() as connection:
            known = self.get(peer.name)
            if known is not None and known.kind is PeerKind.PAIRED:
                if peer.kind is PeerKind.DOMAIN and known.fingerprint == peer.fingerprint:
                    return known
                raise UsageError(codes.PEER_NAME_TAKEN, local=local, host=peer.name)
            met = replace(peer, paired_at=known.paired_at) if known else peer
            if met != known:
                connection.execute("DELETE FROM peers WHERE name = ? OR fingerprint = ?", (peer.name, peer.fingerprint))
                _insert(connection, met)
                self.changes += 1
            return met

    def get(self, name: str) -> Peer | None:
        """Return the host of that name."""
        row = self._database.row("SELECT * FROM peers WHERE name = ?", (name,))
        return _peer(row) if row else None

    def by_fingerprint(self, fingerprint: str) -> Peer | None:
        """Return the host that has this certificate."""
        row = self._database.row("SELECT * FROM peers WHERE fingerprint = ?", (fingerprint,))
        return _peer(row) if row else None

    def all(self) -> list[Peer]:
        """Return every host, by name."""
        return [_peer(row) for row in self._database.rows("SELECT * FROM peers ORDER BY name")]

    def remove(self, name: str) -> bool:
        """Remove a host.

        Returns:
            Whether it was known.
        """
        self.changes += 1
        with self._database.transaction() as connection:
            return connection.execute("DELETE FROM peers WHERE name = ?", (name,)).rowcount > 0


def _insert(connection: sqlite3.Connection, peer: Peer) -> None:
    connection.execute(
        "INSERT INTO peers (name, address, port, certificate, fingerprint, callers, paired_at, paired_by, kind)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            peer.name,
            peer.address,
            peer.port,
            peer.certificate,
            peer.fingerprint,
            json.dumps(peer.callers),
            peer.paired_at,
            peer.paired_by,
            peer.kind,
        ),
    )


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
        kind=PeerKind(row["kind"]),
    )
