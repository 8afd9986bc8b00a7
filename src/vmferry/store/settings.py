"""Settings that can be changed while vmferryd runs: JSON values by key."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vmferry.core.policy.settings import HostSettings
from vmferry.store.database import Database

_HOST = "host"
_SIDS = "sids"


class Settings:
    """The table `settings`. Transfer processes read it too, when they start."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key."""
        row = self._database.row("SELECT value FROM settings WHERE key = ?", (key,))
        return json.loads(row["value"]) if row else default

    def set(self, key: str, value: Any) -> None:
        """Set a key to a JSON value."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO settings (key, value) VALUES (?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, json.dumps(value)),
            )

    def host(self) -> HostSettings:
        """Return the host's settings; the defaults on a new host."""
        return HostSettings.model_validate(self.get(_HOST, {}))

    def sids(self) -> dict[str, str]:
        """Return the SID (with a leading @) of each group of the domain that the host's settings name."""
        return dict(self.get(_SIDS, {}))

    def know_sids(self, sids: dict[str, str]) -> None:
        """Replace the SIDs of the groups that the settings name."""
        self.set(_SIDS, sids)

    @contextmanager
    def held(self) -> Iterator[HostSettings]:
        """Return the host's settings, and let no one change them until the block is left."""
        with self._database.transaction():
            yield self.host()

    def save(self, settings: HostSettings) -> None:
        """Save the host's settings; omitted keys take the defaults of the release that reads them."""
        self.set(_HOST, settings.model_dump(mode="json", exclude_defaults=True))
