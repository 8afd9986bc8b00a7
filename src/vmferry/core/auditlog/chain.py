"""The audit log as a hash chain: each line carries its number and the SHA-256 of the line before it.

The chain itself shows that a line was changed, removed, inserted or moved. It does not show that its end was cut off,
or that the whole log was written again: only hosts that were told an earlier head can show that. These are the hosts
that moves went to and came from. Rotation removes the oldest records, but only whole files: the first record of a file
says so, and lines cut off at the front of a file show too. A missing old file looks like rotation.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vmferry.core.message import Exact, Message, Value

_DIGEST = r"^[0-9a-f]{64}$"


class LogHead(Value):
    """The last record of a log at some time: a host that knows it can check later whether the log still has it."""

    number: int = Field(ge=0, description="of the record, counted from 1; 0: there was none")
    digest: str = Field(pattern=_DIGEST, description="SHA-256 of the record's line, hex")


class PeerHead(LogHead):
    """The head of another host's log, as that host reported it."""

    host: Exact


class HeadsKept(Message):
    """Host -> host: the heads of the caller's audit log that are on record here, the newest first."""

    heads: list[LogHead] = Field(max_length=1000)


START = LogHead(number=0, digest="0" * 64)


class ChainLink(BaseModel):
    """The parts of a record's line that make the chain."""

    model_config = ConfigDict(frozen=True)

    number: int = Field(ge=1)
    previous: str = Field(pattern=_DIGEST)
    at: datetime
    begins: bool = False  # whether it is the first of its file


class LogFault(StrEnum):
    """What is wrong with a log."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    UNREADABLE = "unreadable"
    CUT = "cut"
    REWRITTEN = "rewritten"


class Break(BaseModel):
    """Where a chain breaks."""

    model_config = ConfigDict(frozen=True)

    kind: LogFault
    file: str
    line: int = Field(description="in the file, counted from 1; of a compressed one, in what it holds")
    number: int | None = Field(description="of the record at which it shows; null: it has none")


class Missed(BaseModel):
    """A head that another host was told, and that the log does not have."""

    model_config = ConfigDict(frozen=True)

    kind: LogFault
    head: LogHead


class Witness(BaseModel):
    """What another host's records say of this host's log."""

    model_config = ConfigDict(frozen=True)

    host: str
    heads: int = Field(description="that it has on record of this host's log")
    missed: list[Missed] = Field(default=[], description="those that are not in the log")
    older: int = Field(default=0, description="those of records before the oldest that is left: rotated away, or taken")
    error: str | None = Field(default=None, description="why it could not be asked; null: it answered")


class Verification(BaseModel):
    """The result of walking the audit log."""

    model_config = ConfigDict(frozen=True)

    records: int = Field(description="in the chain")
    unchained: int = Field(description="lines from before there was a chain: nothing vouches for them")
    first: int | None = Field(description="number of the oldest record; above 1, older ones were rotated away")
    since: datetime | None = Field(description="when the oldest record was made")
    until: datetime | None = Field(description="when the newest record was made")
    head: LogHead = Field(description="number and SHA-256 of the newest record")
    broken: Break | None = Field(description="the first break; null: the chain holds")
    peers: list[Witness] = Field(default=[], description="other hosts, as far as they were asked")

    @property
    def wrong(self) -> bool:
        """Whether anything shows that the log is not as it was written."""
        return self.broken is not None or any(witness.missed for witness in self.peers)


def digest(line: bytes) -> str:
    """Return the SHA-256 of a line without its line break, as hex."""
    return hashlib.sha256(line).hexdigest()


def bind(record: str, after: LogHead, *, begins: bool = False) -> tuple[bytes, LogHead]:
    """Return the line of a record, and the head after it.

    Arguments:
        record: a JSON object that is not empty.
        after: the head before it.
        begins: whether it is the first record of a file.
    """
    mark = '"begins":true,' if begins else ""
    line = f'{{"number":{after.number + 1},"previous":"{after.digest}",{mark}{record[1:]}'.encode()
    return line, LogHead(number=after.number + 1, digest=digest(line))


def link(line: bytes) -> ChainLink | None:
    """Return the chain's parts of a line; None if the line is not a record of a chain."""
    try:
        return ChainLink.model_validate_json(line)
    except ValidationError:
        return None


def resume(lines: Iterable[bytes]) -> LogHead | None:
    """Return the head after some lines; None if there are none. Lines from before the chain existed end in number 0."""
    last = chained = None
    for line in lines:
        found = link(line)
        last = LogHead(number=found.number if found else 0, digest=digest(line))
        chained = last if found else chained
    return chained or last


class Walk:
    """Walk along a log, line by line, the oldest first.

    Arguments:
        wanted: numbers of the records whose hashes are kept.
    """

    def __init__(self, wanted: Iterable[int] = ()) -> None:
        self._wanted = frozenset(wanted)
        self._head: LogHead | None = None  # None: the chain has not begun
        self._before = START
        self._records = self._unchained = 0
        self._first: ChainLink | None = None
        self._last: ChainLink | None = None
        self._broken: Break | None = None
        self._place = ("", 0)
        self.digests: dict[int, str] = {}

    def step(self, file: str, number: int, line: bytes) -> None:
        """Take the next line.

        Arguments:
            file: the file of the line.
            number: of the line in the file, counted from 1.
            line: without its line break.
        """
        found = link(line)
        if found is None:
            if self._head is None:
                self._unchained += 1
                self._before = LogHead(number=0, digest=digest(line))
            else:
                self._break(LogFault.UNREADABLE, file, number, None)
            return
        self._compare(found, file, number)
        self._records += 1
        self._first, self._last = self._first or found, found
        self._head = LogHead(number=found.number, digest=digest(line))
        self._place = file, number
        if found.number in self._wanted:
            self.digests.setdefault(found.number, self._head.digest)

    def lost(self, file: str, number: int) -> None:
        """Note that the rest of a file cannot be read."""
        self._break(LogFault.UNREADABLE, file, number, None)

    def end(self) -> Verification:
        """Return the findings."""
        return Verification(
            records=self._records,
            unchained=self._unchained,
            first=self._first.number if self._first else None,
            since=self._first.at if self._first else None,
            until=self._last.at if self._last else None,
            head=self._head or self._before,
            broken=self._broken,
        )

    def _compare(self, found: ChainLink, file: str, number: int) -> None:
        if self._head is None and found.number > 1 and not self._unchained:
            if not found.begins:  # rotation takes whole files away
                self._break(LogFault.REMOVED, file, number, found.number)
            return
        before = self._head or self._before
        if found.number > before.number + 1:
            self._break(LogFault.REMOVED, file, number, found.number)
        elif found.number <= before.number:
            self._break(LogFault.INSERTED, file, number, found.number)
        elif found.previous != before.digest:  # it vouches for the line before it, which is another one now
            self._break(
                LogFault.CHANGED, *(self._place if self._head else (file, number)), before.number or found.number
            )

    def _break(self, kind: LogFault, file: str, line: int, number: int | None) -> None:
        self._broken = self._broken or Break(kind=kind, file=file, line=line, number=number)


def older(heads: Iterable[LogHead], seen: Verification) -> int:
    """Count the heads of records that are older than the oldest in the log: rotation removes files, and so may root."""
    return sum(0 < head.number < (seen.first or 0) for head in heads)


def missed(heads: Iterable[LogHead], seen: Verification, digests: Mapping[int, str]) -> list[Missed]:
    """Return the heads that another host was told and that a log does not have.

    Heads older than the log's first record prove nothing: they were rotated away.

    Arguments:
        seen: the findings of the walk along the log.
        digests: of the records with the heads' numbers, as far as the log has them.
    """
    found = []
    for head in heads:
        if head.number == 0 or (seen.first is not None and head.number < seen.first):
            continue
        have = digests.get(head.number)
        if have is None and head.number > seen.head.number:
            found.append(Missed(kind=LogFault.CUT, head=head))
        elif have != head.digest:
            found.append(Missed(kind=LogFault.REWRITTEN, head=head))
    return found
