"""Zeroes that are left out of a copy: QEMU's own NBD server and client, with the relay between them."""

import json
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.transfer.wire import LIMIT, Streams, sessions

from vmferry.core.errors import InternalError
from vmferry.transfer.disks.nbd import Replies, Requests, Written
from vmferry.transfer.disks.thin import ThinRelay
from vmferry.transfer.relay import Relay

MIB = 1 << 20


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


class Way:
    """A socket that leads to the NBD server of an empty image through a session, as in a move."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "source.sock"
        self.server = folder / "server.sock"
        self.relays: list[ThinRelay] = []

    @property
    def spared(self) -> int:
        return sum(relay.spared for relay in self.relays)

    @property
    def carried(self) -> int:
        return sum(relay._stream.sent for relay in self.relays)

    @property
    def uri(self) -> str:
        return f"nbd+unix:///?socket={self.socket}"


@contextmanager
def way(folder: Path, image: Path, format_: str) -> Iterator[Way]:
    made = Way(folder)
    server = subprocess.Popen(["qemu-nbd", "-t", "-f", format_, "-k", str(made.server), str(image)])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(made.socket))
    listener.listen(8)
    try:
        limit = time.monotonic() + LIMIT
        while not made.server.exists():
            assert time.monotonic() < limit
            time.sleep(0.01)
        with sessions() as (source, destination):
            streams = Streams(destination)

            def accept() -> None:
                while True:
                    try:
                        here, _ = listener.accept()
                    except OSError:
                        return
                    count = len(streams.all)
                    made.relays.append(ThinRelay(source.open("disk"), here))
                    there = socket.socket(socket.AF_UNIX)
                    there.connect(str(made.server))
                    Relay(streams.wait(count + 1)[count], there)

            thread = threading.Thread(target=accept, daemon=True)
            thread.start()
            yield made
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(LIMIT)
    finally:
        listener.close()
        server.kill()
        server.wait(LIMIT)


def create(path: Path, format_: str, size: str = "64M", *options: str) -> Path:
    run("qemu-img", "create", "-q", "-f", format_, *options, str(path), size)
    return path


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.mark.parametrize("format_", ["raw", "qcow2"])
def test_an_image_is_copied_whole_and_its_zeroes_are_not_sent(tmp_path: Path, format_: str) -> None:
    source = create(tmp_path / "source.raw", "raw")
    writes = ["write -q -P 7 1M 3M", "write -q -P 9 40M 128k", "write -q -z 10M 20M", "write -q -P 0 50M 8M"]
    run("qemu-io", "-f", "raw", *[word for write in writes for word in ("-c", write)], str(source))
    copy = create(tmp_path / "copy", format_)
    with way(tmp_path, copy, format_) as relayed:
        # -S 0: nothing is left out by the client itself; all 64 MiB are written.
        run("qemu-img", "convert", "-n", "-S", "0", "-f", "raw", "-O", "raw", str(source), relayed.uri)
        assert relayed.carried < 5 * MIB
        assert relayed.spared > 55 * MIB
    run("qemu-img", "compare", "-U", "-f", "raw", "-F", format_, str(source), str(copy))
    assert allocated(copy) < 5 * MIB


def test_zeroes_over_what_was_written_are_sent(tmp_path: Path) -> None:
    copy = create(tmp_path / "copy.qcow2", "qcow2")
    writes = ["write -P 7 0 4M", "write -P 0 1M 1M", "write -z 2M 64k", "discard 3M 1M", "read -P 7 0 1M"]
    writes += ["read -P 0 1M 1M", "read -P 0 2M 64k", "read -P 0 8M 64k", "flush", "write -P 3 60M 4M"]
    with way(tmp_path, copy, "qcow2") as relayed:
        run("qemu-io", "-f", "raw", *[word for write in writes for word in ("-c", write)], relayed.uri)
    steps = ["read -P 7 0 1M", "read -P 0 1M 1M", "read -P 0 2M 64k", "read -P 7 2112k 64k", "read -P 3 60M 4M"]
    done = run("qemu-io", "-r", "-U", "-f", "qcow2", *[word for step in steps for word in ("-c", step)], str(copy))
    assert "failed" not in done


def test_an_image_whose_metadata_is_preallocated_stays_as_small(tmp_path: Path) -> None:
    source = create(tmp_path / "source.qcow2", "qcow2", "256M", "-o", "preallocation=metadata")
    assert json.loads(run("qemu-img", "map", "--output=json", str(source)))[0]["data"]
    copy = create(tmp_path / "copy.qcow2", "qcow2", "256M")
    with way(tmp_path, copy, "qcow2") as relayed:
        run("qemu-img", "convert", "-n", "-S", "0", "-f", "qcow2", "-O", "raw", str(source), relayed.uri)
        assert relayed.carried < MIB
    assert allocated(copy) < MIB


# --- the protocol, without programs -------------------------------------------------------------------------------


def request(kind: int, offset: int, length: int, cookie: int = 1, *, extended: bool = False) -> bytes:
    numbers = b"".join(value.to_bytes(8, "big") for value in (cookie, offset))
    if extended:
        return bytes.fromhex("21e41c710000") + kind.to_bytes(2, "big") + numbers + length.to_bytes(8, "big")
    return bytes.fromhex("256095130000") + kind.to_bytes(2, "big") + numbers + length.to_bytes(4, "big")


def carry(data: bytes, cuts: random.Random | None = None) -> tuple[bytes, list[bytes]]:
    """Give what passes and what is answered, with the bytes coming in parts of any length."""
    answers: list[bytes] = []
    requests = Requests(Written(), {}, answers.append)
    passed, at = bytearray(), 0
    while at < len(data):
        size = cuts.randrange(1, 40_000) if cuts else len(data)
        for part in requests.feed(memoryview(data)[at : at + size]):
            passed += part
        at += size
    return bytes(passed), answers


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 1, 1, 3, 4, 6]), st.integers(0, 40), st.integers(0, 9), st.sampled_from("zdm")
        ),
        max_size=12,
    ),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_what_passes_leaves_the_disk_as_all_of_it_would(
    steps: list[tuple[int, int, int, str]], extended: bool, cuts: random.Random
) -> None:
    unit, data = 16 * 1024, bytearray(b"\0\0\0\3")
    for number, (kind, offset, length, what) in enumerate(steps):
        size = length * unit
        data += request(kind, offset * unit, size, number, extended=extended)
        if kind == 1:
            content = bytearray(size if what != "d" else b"\5" * size)
            if what == "m" and size:
                content[-1] = 7
            data += content
    passed, answers = carry(bytes(data), cuts)
    whole = play(bytes(data), len(steps), extended)
    thin = play(passed, len(steps), extended)
    assert whole[0] == thin[0]
    assert sorted(whole[1]) == sorted(thin[1] + [_cookie(answer) for answer in answers])


def _cookie(answer: bytes) -> int:
    return int.from_bytes(answer[8:16], "big")


def play(data: bytes, count: int, extended: bool) -> tuple[bytes, list[int]]:
    """Give a disk after requests, and whose requests they were."""
    disk, cookies, at = bytearray(64 * 16 * 1024), [], 4
    while at < len(data):
        head = data[at : at + (32 if extended else 28)]
        kind, cookie, offset = (int.from_bytes(head[a:b], "big") for a, b in ((6, 8), (8, 16), (16, 24)))
        length = int.from_bytes(head[24:], "big")
        at += len(head)
        cookies.append(cookie)
        if kind == 1:
            disk[offset : offset + length] = data[at : at + length]
            at += length
        elif kind in (4, 6):
            disk[offset : offset + length] = bytes(length)
    assert at == len(data)
    assert len(cookies) <= count
    return bytes(disk), cookies


def test_what_is_not_understood_passes_as_it_is() -> None:
    for data in (b"\0\0\0\3" + b"GET / HTTP/1.0\r\n\r\n" * 9, b"\0\0\0\3IHAVEOPT\0\0\0\1\0\0\0\4disk" + bytes(99)):
        assert carry(data) == (data, [])


def test_a_whole_disk_of_zeroes_is_a_question_of_no_time() -> None:
    written = Written()
    written.add(5 << 40, 1)

    def ask(size: int) -> float:
        began = time.process_time()
        for _ in range(1000):
            assert not written.overlaps(0, size)
        return time.process_time() - began

    assert written.overlaps(0, 6 << 40)
    small = min(ask(4 << 20) for _ in range(3))
    assert ask(4 << 40) < 50 * small  # a million times the size


def test_marks_have_a_bound_beyond_which_all_counts_as_written() -> None:
    written = Written()
    for number in range(20_000):
        written.add(number << 31, 1)
    assert len(written._pages) <= 1 << 14
    assert written.overlaps(3 << 40, 512)
    assert written.overlaps(1 << 30, 512)


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"NBDMAGICIHAVEOPT\0\3" + b"x" * 40])
def test_a_destination_that_speaks_no_nbd_is_found_out(data: bytes) -> None:
    with pytest.raises(InternalError):
        Replies({}).feed(memoryview(data))


def test_a_reply_goes_only_between_others() -> None:
    reads = {3: 8}
    replies = Replies(reads)
    assert not replies.between
    replies.feed(memoryview(b"NBDMAGICIHAVEOPT\0\3"))
    assert replies.between
    replies.feed(memoryview(bytes.fromhex("67446698 00000000 0000000000000003")))
    assert not replies.between
    replies.feed(memoryview(bytes(8)))
    assert replies.between
    assert reads == {}
