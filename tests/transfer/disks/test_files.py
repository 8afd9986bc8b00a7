import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmferry.core.errors import InternalError
from vmferry.transfer.disks import files


def receive(pipe: "Pipe", copy: Path, limit: int = 1 << 40) -> str:
    handle = os.open(copy, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        incoming = files.begin(pipe)
        incoming.save(handle, limit)
    finally:
        os.close(handle)
    return incoming.target


class Pipe:
    """A stream's two ends in memory."""

    def __init__(self, chunk: int = 1000) -> None:
        self.data = bytearray()
        self.chunk = chunk
        self.ended = False

    def send(self, data: bytes | memoryview) -> None:
        self.data += data

    def send_fin(self) -> None:
        self.ended = True

    def recv(self) -> bytes:
        taken = bytes(self.data[: self.chunk])
        del self.data[: self.chunk]
        return taken


def test_holes_stay_holes(tmp_path: Path) -> None:
    original, copy = tmp_path / "a", tmp_path / "b"
    with original.open("wb") as file:
        file.write(os.urandom(70_000))
        file.seek(50 << 20)
        file.write(b"end of data")
        file.truncate(64 << 20)
    copy.touch()
    pipe = Pipe(60_000)
    sent = files.send(pipe, "vdb", str(original))
    assert sent < 1 << 20
    assert receive(pipe, copy) == "vdb"
    assert copy.read_bytes() == original.read_bytes()
    assert copy.stat().st_blocks <= original.stat().st_blocks + 8


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 300_000), st.binary(min_size=1, max_size=5000)), max_size=6), st.integers(1, 9000)
)
def test_any_file_arrives(parts: list[tuple[int, bytes]], chunk: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        original, copy = Path(folder) / "a", Path(folder) / "b"
        with original.open("wb") as file:
            for offset, data in parts:
                file.seek(offset)
                file.write(data)
        copy.write_bytes(b"")
        pipe = Pipe(chunk)
        files.send(pipe, "sda", str(original))
        receive(pipe, copy)
        assert copy.read_bytes() == original.read_bytes()


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_nonsense_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    pipe = Pipe()
    pipe.data += data
    with pytest.raises(InternalError):
        receive(pipe, tmp_path_factory.mktemp("nonsense") / "copy")


HEAD = b'{"target": "vda", "size": 10}'


def record(offset: int, data: bytes) -> bytes:
    return offset.to_bytes(8, "big") + len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize(
    ("head", "records", "why"),
    [
        (HEAD, record(8, b"12345"), "outside"),
        (HEAD, record(1 << 63, b"1"), "outside"),
        (HEAD, record(4, b"1") + record(4, b"2"), "before another"),
        (HEAD, record(5, b"1") + record(0, b"2"), "before another"),
        (HEAD, record(0, b"x" * 10) * 2, "before another"),
        (HEAD, record(0, b"123"), "ended early"),
        (HEAD, record(9, b""), "ended early"),
        (HEAD, record(11, b""), "ended early"),
        (b'{"target": "vda", "size": 101}', b"", "101 bytes comes"),
        (b'{"target": "vda", "size": -1}', b"", "-1 bytes comes"),
        (b'{"target": "vda", "size": 1e300}', b"", "cannot be read"),
        (b'{"size": 10}', b"", "cannot be read"),
        (b'{"target": {}, "size": 10}', b"", "cannot be read"),
        (b'{"target": "vda", "size": "ten"}', b"", "cannot be read"),
        (b"[" * 4000, b"", "cannot be read"),
        (b'"vda"', b"", "cannot be read"),
        (b"\xff", b"", "cannot be read"),
        (b" " * 4097, b"", "too long"),
    ],
)
def test_what_is_not_the_granted_file_is_refused(tmp_path: Path, head: bytes, records: bytes, why: str) -> None:
    pipe = Pipe()
    pipe.send(len(head).to_bytes(4, "big") + head + records)
    with pytest.raises(InternalError, match=why):
        receive(pipe, tmp_path / "copy", limit=100)


@pytest.mark.root
def test_the_source_sends_only_regular_files_of_its_own(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    (tmp_path / "secret").write_text("secret")
    (theirs / "cd.iso").symlink_to("../secret")
    os.mkfifo(theirs / "fifo")
    for name in ("cd.iso", "fifo"):
        pipe = Pipe()
        with pytest.raises(OSError):
            files.send(pipe, "sda", str(theirs / name))
        assert not pipe.data
