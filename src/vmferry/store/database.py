"""The SQLite file: opened by several processes at once, migrated by the first one that is newer than it."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any, Self

from vmferry.core import codes
from vmferry.core.errors import InternalError

BUSY = 10.0  # seconds to wait for another process's transaction, or another thread's
Row = sqlite3.Row


class Database:
    """One connection, shared by the threads of a process; other processes have their own.

    Arguments:
        path: the file; it and its folder are created, for the owner only.
        host: this host's name, for errors.

    Raises:
        InternalError: database-newer, if a newer vmferry wrote the file; database-failed, if it cannot be opened or is
            not
            a database. Every method raises database-failed if SQLite fails: the file is locked, read-only, on a full
            disk,
            damaged.
        OSError: the folder or the file cannot be created.
    """

    def __init__(self, path: Path, host: str = "this host") -> None:
        self.path = path
        self._host = host
        self._lock = threading.RLock()
        self._depth = 0
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its -wal and -shm files the mode of this one. It is opened here only where there is none yet:
        # whoever closes a descriptor of the file drops every lock that this process has on it, also those of another
        # connection (https://www.sqlite.org/howtocorrupt.html, 2.2); the next process to end then takes the log away.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with self._translating():
            self._connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
            try:
                self._connection.row_factory = sqlite3.Row
                with _exclusive(path.parent):
                    self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        # FULL makes each commit durable in WAL mode, where NORMAL would lose the last ones with the power.
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        found = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        migrations = _migrations()
        if found > len(migrations):
            raise InternalError(codes.DATABASE_NEWER, path=str(self.path), found=found, known=len(migrations))
        for number, script in enumerate(migrations[found:], start=found + 1):
            try:
                self._connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
            except sqlite3.Error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def transaction(self, wait: float = BUSY) -> Iterator[sqlite3.Connection]:
        """Write: all or nothing, on disk when the block is left. Nested transactions become part of it.

        Arguments:
            wait: seconds to wait for other transactions, of this process and of others.

        Raises:
            InternalError: database-failed; nothing was written, as far as SQLite can tell.
        """
        with self._translating(), self._held(wait):
            if self._depth == 0:
                self._begin(wait)
            self._depth += 1
            try:
                yield self._connection
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._roll_back()
                raise
            self._depth -= 1
            if self._depth == 0:
                self._commit()

    def _begin(self, wait: float) -> None:
        if wait == BUSY:
            self._connection.execute("BEGIN IMMEDIATE")
            return
        self._connection.execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {int(BUSY * 1000)}")

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error:  # a full disk: the transaction may still be open
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # SQLite ends some by itself, e.g. when the disk is full
            self._connection.execute("ROLLBACK")

    @contextmanager
    def _held(self, wait: float) -> Iterator[None]:
        if not self._lock.acquire(timeout=wait):
            raise self._failure("another thread is writing to it")
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._failure(str(error)) from error

    def _failure(self, why: str) -> InternalError:
        return InternalError(codes.DATABASE_FAILED, path=str(self.path), host=self._host, why=why)

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        """Read."""
        with self._translating(), self._held(BUSY):
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, values: Sequence[Any] = ()) -> Row | None:
        """Read the first row."""
        found = self.rows(query, values)
        return found[0] if found else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the object cannot be used afterwards."""
        with self._lock:
            self._connection.close()


def _migrations() -> list[str]:
    """Return the scripts of store/schema in their order; number n makes schema version n."""
    folder = resources.files("vmferry.store") / "schema"
    scripts = sorted((entry.name, entry) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    for number, (name, _) in enumerate(scripts, start=1):
        assert int(name.split("_")[0]) == number, f"store/schema: {name} is not number {number}"
    return [entry.read_text("utf-8") for _, entry in scripts]


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Let one process at a time set the file up: the switch to WAL does not wait for locks."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
