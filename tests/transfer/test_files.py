import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmferry.core.errors import InternalError
from vmferry.transfer import files


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
    assert files.receive(pipe, lambda target: str({"vdb": copy}[target])) == "vdb"
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
        files.receive(pipe, lambda _target: str(copy))
        assert copy.read_bytes() == original.read_bytes()


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_nonsense_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    pipe = Pipe()
    pipe.data += data
    with pytest.raises((InternalError, ValueError, KeyError, TypeError)):
        files.receive(pipe, lambda _target: "/nonexistent")


def test_a_record_outside_the_file_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.touch()
    pipe = Pipe()
    head = b'{"target": "vda", "size": 10}'
    pipe.send(len(head).to_bytes(4, "big") + head + (8).to_bytes(8, "big") + (5).to_bytes(4, "big") + b"12345")
    with pytest.raises(InternalError, match="outside"):
        files.receive(pipe, lambda _target: str(copy))
