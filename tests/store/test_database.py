"""The database file: its schema, its modes, and several processes at once."""

import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vmferry.core import codes
from vmferry.core.errors import InternalError, VmferryError
from vmferry.store import database
from vmferry.store.database import Database


def sqlite_says(path: Path, query: str) -> int:
    """Ask in a process of its own, so that nothing of this one matters."""
    program = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])"
    return int(subprocess.check_output([sys.executable, "-c", program, str(path), query], timeout=60))


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "vmferry.db"
    with Database(path) as opened:
        with opened.transaction() as connection:
            connection.execute("INSERT INTO settings VALUES ('a', '1')")
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_commits_are_durable(tmp_path: Path) -> None:
    with Database(tmp_path / "vmferry.db") as opened:
        row = opened.row("PRAGMA synchronous")
        assert row is not None
        assert row[0] == 2  # FULL
        row = opened.row("PRAGMA journal_mode")
        assert row is not None
        assert row[0] == "wal"


def test_newer_schema_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "vmferry.db"
    Database(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(VmferryError) as caught:
        Database(path)
    assert caught.value.code is codes.DATABASE_NEWER
    assert str(path) in caught.value.reason
    assert version(path) == 99


def test_migrations_run_once_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vmferry.db"
    monkeypatch.setattr(database, "_migrations", lambda: ["CREATE TABLE a (x);"])
    Database(path).close()
    steps = ["CREATE TABLE a (x);", "INSERT INTO a VALUES (1); INSERT INTO a VALUES (2);"]
    monkeypatch.setattr(database, "_migrations", lambda: steps)
    for _ in range(2):
        with Database(path) as opened:
            assert [row["x"] for row in opened.rows("SELECT x FROM a")] == [1, 2]
    assert version(path) == 2


def test_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vmferry.db"
    monkeypatch.setattr(database, "_migrations", lambda: ["CREATE TABLE a (x);"])
    Database(path).close()
    broken = ["CREATE TABLE a (x);", "CREATE TABLE b (x); INSERT INTO none VALUES (1);"]
    monkeypatch.setattr(database, "_migrations", lambda: broken)
    with pytest.raises(InternalError, match="no such table"):
        Database(path)
    assert version(path) == 1
    monkeypatch.setattr(database, "_migrations", lambda: broken[:1])
    with Database(path) as opened:
        assert opened.rows("SELECT name FROM sqlite_master WHERE name = 'b'") == []


def test_inner_transaction_belongs_to_the_outer(tmp_path: Path) -> None:
    with Database(tmp_path / "vmferry.db") as opened:

        def fail() -> None:
            with opened.transaction():
                with opened.transaction() as connection:
                    connection.execute("INSERT INTO settings VALUES ('a', '1')")
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert opened.rows("SELECT * FROM settings") == []
        with opened.transaction() as connection:
            connection.execute("INSERT INTO settings VALUES ('a', '1')")
        assert len(opened.rows("SELECT * FROM settings")) == 1


WRITER = """
import sys
import threading
import time
from pathlib import Path
from vmferry.core.job import Phase
from vmferry.store.database import Database
from vmferry.store.jobs import Jobs
with Database(Path(sys.argv[1])) as database:
    jobs = Jobs(database)
    for number in range(100):
        jobs.step("0001", Phase.ADMITTED, writer=sys.argv[2], number=number)
"""


def test_processes_write_at_once(tmp_path: Path) -> None:
    from vmferry.core.job import Role
    from vmferry.core.messages.offer import Caller
    from vmferry.store.jobs import Jobs

    path = tmp_path / "vmferry.db"
    with Database(path) as opened:
        jobs = Jobs(opened)
        jobs.create("0001", Role.SOURCE, "web01", "kvm2", Caller(name="root", host="kvm1", method="unix"), {})
        command = [sys.executable, "-W", "error", "-c", WRITER, str(path)]
        writers = [subprocess.Popen([*command, name]) for name in ("one", "two")]
        assert [writer.wait(60) for writer in writers] == [0, 0]
        steps = jobs.steps("0001")
    assert [step.seq for step in steps] == list(range(1, 202))
    for name in ("one", "two"):
        numbers = [step.detail["number"] for step in steps if step.detail.get("writer") == name]
        assert numbers == list(range(100))


def test_another_connection_of_this_process_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "vmferry.db"
    program = "import sys; from pathlib import Path; from vmferry.store.database import Database\n"
    passer_by = [sys.executable, "-W", "error", "-c", f"{program}Database(Path(sys.argv[1])).close()", str(path)]
    with Database(path) as first:
        with Database(path):
            subprocess.run(passer_by, check=True, timeout=60)  # the last to close the file removes its log
            with first.transaction() as connection:
                connection.execute("INSERT INTO settings VALUES ('a', '1')")
        assert sqlite_says(path, "SELECT count(*) FROM settings") == 1


def test_processes_make_the_file_at_once(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from vmferry.store.database import Database\n"
    program += "Database(Path(sys.argv[1])).close()"
    path = tmp_path / "state" / "vmferry.db"
    makers = [subprocess.Popen([sys.executable, "-W", "error", "-c", program, str(path)]) for _ in range(4)]
    assert [maker.wait(60) for maker in makers] == [0] * 4
    assert version(path) > 0


def test_a_database_that_is_locked_is_named_after_the_wait_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "vmferry.db"
    with Database(path, "kvm1") as opened:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(InternalError) as caught, opened.transaction(0.2):
            pytest.fail("it is locked")
        assert time.monotonic() - began < database.BUSY / 2
        assert caught.value.code is codes.DATABASE_FAILED
        assert caught.value.reason == f"The database {path} on kvm1 cannot be used: database is locked."
        other.execute("ROLLBACK")
        with opened.transaction(0.2) as connection:
            connection.execute("INSERT INTO settings VALUES ('a', '1')")
        assert opened.rows("PRAGMA busy_timeout")[0][0] == database.BUSY * 1000
        other.close()


def test_a_thread_does_not_wait_longer_for_another_than_it_wants(tmp_path: Path) -> None:
    with Database(tmp_path / "vmferry.db") as opened:
        inside, leave = threading.Event(), threading.Event()

        def write() -> None:
            with opened.transaction():
                inside.set()
                leave.wait(30)

        thread = threading.Thread(target=write)
        thread.start()
        assert inside.wait(30)
        with pytest.raises(InternalError, match="another thread"), opened.transaction(0.1):
            pytest.fail("another thread has it")
        leave.set()
        thread.join()


def test_what_fails_in_a_transaction_or_a_query_is_one_error(tmp_path: Path) -> None:
    with Database(tmp_path / "vmferry.db") as opened:
        with pytest.raises(InternalError, match="no such table"), opened.transaction() as connection:
            connection.execute("INSERT INTO none VALUES (1)")
        with pytest.raises(InternalError, match="no such table"):
            opened.rows("SELECT * FROM none")
        with opened.transaction() as connection:
            connection.execute("INSERT INTO settings VALUES ('a', '1')")
    (tmp_path / "text.db").write_text("no database at all, but a text that is long enough to be taken for one")
    with pytest.raises(InternalError, match="not a database"):
        Database(tmp_path / "text.db")
