"""Settings that are changed while vmferryd runs: JSON values by key."""

import json
from typing import Any

from vmferry.store.database import Database


class Settings:
    """The table `settings`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str, default: Any = None) -> Any:
        """Give the value of a key."""
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
