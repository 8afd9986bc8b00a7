"""The file of the audit log, and those that logrotate made of it.

It is one JSON object a line, only ever appended to, and a hash chain (core/auditlog/chain.py). The file is opened anew
for each line, so that logrotate may move it away at any moment and nobody has to be told.
"""

import gzip
import logging
import os
import re
import threading
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

from pydantic import ValidationError

from vmferry.core.auditlog import chain
from vmferry.core.auditlog.chain import LogHead, PeerHead, Verification, Walk
from vmferry.core.auditlog.record import AuditRecord
from vmferry.core.messages.offer import Caller
from vmferry.core.redaction import redacted
from vmferry.store.peers import Peer

MOST = 1000  # records that are read at once

log = logging.getLogger("vmferry.audit")


class AuditLog:
    """The file. One process alone appends to it.

    Arguments:
        path: the file; it and its folder are made, for the owner only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._head: LogHead | None = None  # kept here, not read again: what is changed meanwhile breaks the chain

    def append(self, record: AuditRecord) -> None:
        """Write a record down. Where that fails the daemon's log has it: a full disk must not end a move half-way."""
        text = redacted(record.model_dump_json(exclude_defaults=True))
        with self._lock:
            try:
                self._head = self._write(text, self._continued())
            except OSError as error:  # the next record has this one's number: the chain goes on without it
                log.error("%s cannot be written (%s): %s", self._path, error, text)

    def head(self) -> LogHead | None:
        """Give the head of the chain, for another host to keep; None: the file cannot be read.

        It is on the disk, so that a loss of power does not look as if somebody had cut the log off.
        """
        try:
            return self._synced()
        except OSError as error:
            log.error("%s cannot be read (%s): no other host is told its head", self._path, error)
            return None

    def keep(self, peer: Peer, caller: Caller, job: str, host: str, head: LogHead | None) -> None:
        """Write down the head of its audit log that a destination told with its grant.

        Arguments:
            caller: for whom the VM was offered.
            host: this one's name.
        """
        if head is not None:
            kept = PeerHead(host=peer.name, number=head.number, digest=head.digest)
            self.append(
                AuditRecord(
                    at=datetime.now(UTC),
                    host=host,
                    action="exchange_heads",
                    request="POST /api/v1/peer/offers",
                    caller=peer.name,
                    method="certificate",
                    on_behalf_of=caller.name,
                    address=peer.address,
                    job=job,
                    peer_head=kept,
                    result="ok",
                    status=None,
                )
            )

    def heads(self, host: str) -> list[LogHead]:
        """Give the heads of another host's audit log that are on record here, the newest first; a thousand at most."""
        found: dict[LogHead, None] = {}
        with ExitStack() as stack:
            for name, file, size in [(name, stack.enter_context(file), size) for name, file, size in self._open()]:
                try:
                    records = [_record(line) for line in _lines(name, file, size) if b'"peer_head"' in line]
                except (OSError, EOFError, zlib.error) as error:
                    log.error("%s cannot be read (%s)", name, error)
                    continue
                for record in reversed(records):
                    kept = record and record.peer_head
                    if kept and kept.host == host:
                        found[LogHead(number=kept.number, digest=kept.digest)] = None
                        if len(found) == MOST:
                            return list(found)
        return list(found)

    def _synced(self) -> LogHead:
        with self._lock:
            head = self._continued()
            try:
                handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:  # rotated away, and nothing has come since
                return head
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return head

    def verify(self, wanted: Iterable[int] = ()) -> tuple[Verification, dict[int, str]]:
        """Walk along all that is there of the log.

        Arguments:
            wanted: numbers of records whose hashes are asked for; those that are there are given.

        Raises:
            OSError: a file cannot be opened.
        """
        walk = Walk(wanted)
        with ExitStack() as stack:
            with self._lock:  # no line is half written
                files = [(name, stack.enter_context(file), size) for name, file, size in self._open()]
            for name, file, size in reversed(files):
                number = 0
                try:
                    for number, line in enumerate(_lines(name, file, size), 1):
                        walk.step(name, number, line)
                except (OSError, EOFError, zlib.error):
                    walk.lost(name, number + 1)
        return walk.end(), walk.digests

    def read(self, since: datetime | None = None, job: str | None = None) -> list[AuditRecord]:
        """Give the newest records, the oldest of them first; those of before the last rotation too."""
        found: deque[AuditRecord] = deque(maxlen=MOST)
        for path in (self._path.with_name(f"{self._path.name}.1"), self._path):
            try:
                with path.open("rb") as lines:
                    for line in lines:
                        record = _record(line)
                        if record and (not since or record.at >= since) and job in (None, record.job):
                            found.append(record)
            except FileNotFoundError:
                continue
        return list(found)

    def _write(self, record: str, after: LogHead) -> LogHead:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._path, flags, 0o600)
        try:
            size = _whole(handle)
            line, head = chain.bind(record, after, begins=size == 0)
            try:
                if os.write(handle, line + b"\n") <= len(line):
                    raise OSError("the disk is full")
            except OSError:
                os.ftruncate(handle, size)  # half a record would break the chain
                raise
        finally:
            os.close(handle)
        return head

    def _continued(self) -> LogHead:
        if self._head is None:
            head = chain.START
            with ExitStack() as stack:
                files = [(name, stack.enter_context(file), size) for name, file, size in self._open()]
                for name, file, size in files:  # the newest first
                    try:
                        found = chain.resume(_lines(name, file, size))
                    except (EOFError, zlib.error) as error:
                        raise OSError(f"{name}: {error}") from error
                    if found is not None:
                        head = found
                        break
            self._head = head
        return self._head

    def _open(self) -> Iterator[tuple[str, BinaryIO, int]]:
        """Open the log's files, the newest first: in this order one that is renamed meanwhile is met twice, not never.

        Gives name, file and size in bytes.
        """
        met: set[int] = set()
        for path in self._files():
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            status = os.fstat(file.fileno())
            if status.st_ino in met:
                file.close()
                continue
            met.add(status.st_ino)
            yield path.name, file, status.st_size

    def _files(self) -> Iterator[Path]:
        yield self._path
        last = 0
        pattern = re.compile(re.escape(self._path.name) + r"\.(\d+)(?:\.gz)?")
        for path in self._path.parent.glob(f"{self._path.name}.*"):
            match = pattern.fullmatch(path.name)
            last = max(last, int(match[1])) if match else last
        for number in range(1, last + 2):  # one more: they may be moved on meanwhile
            plain = self._path.with_name(f"{self._path.name}.{number}")
            yield plain if plain.exists() else plain.with_name(f"{plain.name}.gz")


def _whole(handle: int) -> int:
    """Cut off what a loss of power left of a record that was never whole; gives the file's size in bytes."""
    size = os.fstat(handle).st_size
    end = size
    while end and os.pread(handle, 1, end - 1) != b"\n":
        end -= 1
    if end < size:
        log.error("%d bytes of a record that was not whole are cut off", size - end)
        os.ftruncate(handle, end)
    return end


def _lines(name: str, file: BinaryIO, size: int) -> Iterator[bytes]:
    """Give the lines of a file as it was when it had a size; half a line at its end is none."""
    packed = name.endswith(".gz")
    for line in cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file:
        size -= len(line)
        if not line.endswith(b"\n") or (size < 0 and not packed):
            return
        yield line[:-1]


def _record(line: bytes) -> AuditRecord | None:
    try:
        return AuditRecord.model_validate_json(line)
    except ValidationError:  # cut off by a full disk, or of a newer release
        return None
