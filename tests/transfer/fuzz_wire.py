"""Throws malformed input at the hello and at the frames: `python -m tests.transfer.fuzz_wire --count 100000`.

Half of the inputs are hellos of somebody who has not got the key, or changed something on the way; none may be
welcomed. The others are what a source sends in a session, with something wrong in it. Each is read just as the
destination's worker reads it. It fails when anything but a refusal is raised, when an input takes too long, when
bytes are given to a stream that were not sent for that place in it, or when more is held than credit allows.
"""

import argparse
import random
import sys
import time
import zlib
from collections.abc import Callable
from typing import cast

from tests.transfer.codecs import Zlib, knows
from tests.transfer.wire import credentials

from vmferry.core import jobkey
from vmferry.core.errors import VmferryError
from vmferry.transfer.session.demux import Demux
from vmferry.transfer.session.stream import Stream
from vmferry.transfer.transport import codec, frames, handshake, hello
from vmferry.transfer.transport.buffers import Pool
from vmferry.transfer.transport.carrier import Carrier, Label
from vmferry.transfer.transport.frames import CREDIT, HEADER, Type
from vmferry.transfer.transport.hello import HEAD, Hello, Proof

_SECONDS_MAX = 5.0
_HELD_MAX = 40 << 20
_SOURCE = credentials("source", encryption=False)
_DESTINATION = credentials("destination", encryption=False)
_LABEL = Label("a", "b", 1, forward=True, encrypted=False)

Change = Callable[[random.Random, bytearray], None]


class Script:
    """A connection whose peer follows a script."""

    encrypted = False
    interface = None
    local = peer = ("192.0.2.1", 1)

    def __init__(self, data: bytes = b"", reply: Callable[[bytes], bytes] | None = None) -> None:
        self._data = bytearray(data)
        self._reply = reply

    def secure(self, seconds: float) -> None:
        pass

    def explain(self, error: OSError) -> Exception:
        return error

    def start(self) -> None:
        pass

    def writable(self) -> bool:
        return True

    def hung_up(self) -> bool:
        return False

    def cut(self) -> None:
        pass

    def close(self) -> None:
        pass

    def send(self, data: bytes | memoryview) -> None:
        if self._reply is not None:
            self._data += self._reply(bytes(data))

    def fill(self, view: memoryview) -> bool:
        if len(self._data) < len(view):
            return False
        view[:] = self._data[: len(view)]
        del self._data[: len(view)]
        return True


# --- what can be wrong with bytes -----------------------------------------------------------------------------


def _flip(random: random.Random, data: bytearray) -> None:
    for at in random.sample(range(len(data)), min(len(data), random.randrange(1, 4))):
        data[at] ^= 1 << random.randrange(8)


def _cut(random: random.Random, data: bytearray) -> None:
    del data[random.randrange(len(data)) :]


def _insert(random: random.Random, data: bytearray) -> None:
    at = random.randrange(len(data))
    data[at:at] = random.randbytes(random.randrange(1, 50))


def _remove(random: random.Random, data: bytearray) -> None:
    at = random.randrange(len(data))
    del data[at : at + random.randrange(1, 50)]


def _replace(random: random.Random, data: bytearray) -> None:
    data[:] = random.randbytes(random.randrange(0, 200))


_CHANGES: list[Change] = [_flip, _cut, _insert, _remove, _replace]


# --- hellos -----------------------------------------------------------------------------------------------------


def _hello(random: random.Random) -> str | None:
    """Say hello wrongly; returns what went wrong with that."""
    said = Hello(
        versions=[1],
        features=list(hello.FEATURES),
        job=_SOURCE.job,
        session="0" * 32,
        direction="forward",
        index=0,
        forward=2,
        back=1,
        encrypted=False,
        nonce=random.randbytes(32).hex(),
    )
    first = hello.pack(said)
    changed = bytearray(first)
    wrong = random.choice(["hello", "proof", "key"])
    if wrong == "hello":
        random.choice(_CHANGES)(random, changed)
    key = jobkey.new() if wrong == "key" else _SOURCE.key

    def prove(answer: bytes) -> bytes:
        length = HEAD + hello.length(answer[:HEAD])
        what = hello.purpose("source", first, answer[:length])
        parts = (_SOURCE.job, _SOURCE.source_fingerprint, _SOURCE.destination_fingerprint)
        proof = bytearray(hello.pack(Proof(proof=jobkey.proof(key, *parts, what))))
        if wrong == "proof":
            random.choice(_CHANGES)(random, proof)
        return bytes(proof)

    before = bytes(changed)
    try:
        handshake.welcome(Script(before, prove), _DESTINATION)
    except (VmferryError, ConnectionResetError):
        return None
    return f"a hello was welcomed whose {wrong} was wrong: {before!r}"


# --- sessions ---------------------------------------------------------------------------------------------------


def _content(random: random.Random) -> bytes:
    size = random.randrange(1, 3000)
    return random.randbytes(size) if random.random() < 0.5 else bytes(size)


class _Sent:
    """A session's frames, each with what it says, and the bytes that belong to each stream."""

    def __init__(self, random: random.Random) -> None:
        self.contents = {number: _content(random) for number in (1, 3, 5)}
        self.frames: list[bytearray] = []
        self.encoded = random.random() < 0.5
        for number, content in self.contents.items():
            self._add(number, Type.OPEN, 0, b"memory codec=zlib" if self.encoded else b"memory")
            at = 0
            while at < len(content):
                part = content[at : at + random.randrange(1, 1500)]
                self._add(number, Type.DATA, at, part, random.randrange(2))
                short = zlib.compress(part)
                if self.encoded and len(short) < len(part):
                    header = HEADER.pack(number, Type.DATA, 0, 0, at, len(short), len(part))
                    self.frames[-1] = bytearray(header + short)
                at += len(part)
            if random.random() < 0.5:
                self._add(number, Type.ACK, 0, CREDIT.pack(random.randrange(1 << 30)))
            self._add(number, Type.FIN, at)
        if random.random() < 0.5:
            random.shuffle(self.frames)

    def _add(self, number: int, kind: Type, offset: int, payload: bytes = b"", flags: int = 0) -> None:
        self.frames.append(bytearray(frames.pack(number, kind, offset, payload, flags)))


def _field(random: random.Random, frame: bytearray) -> None:
    """Change one field of a header to something a person would try."""
    fields = list(HEADER.unpack_from(frame))
    at = random.choice([0, 1, 2, 4, 5, 6])
    likely = {
        0: [0, 1, 2, 3, 7, 255, 1 << 31],
        1: [1, 2, 3, 4, 5, 6, 7],
        2: [1, 2, 3, 128],
        4: [0, 1, 1000, 1 << 20, (1 << 20) + 1, 1 << 62, 1 << 63],
        5: [0, 1, 8, 512, 1 << 20, (1 << 32) - 1],
        6: [0, 1, 512, 1500, 1 << 20, (1 << 20) + 1, (1 << 32) - 1],
    }
    fields[at] = random.choice(likely[at])
    HEADER.pack_into(frame, 0, *fields)


def _session(random: random.Random) -> str | None:
    sent = _Sent(random)
    intact = True  # the payloads and their places are as they were
    for _ in range(random.randrange(1, 3)):
        which = random.randrange(len(sent.frames))
        kind = random.randrange(4)
        if kind == 0:
            sent.frames.insert(random.randrange(len(sent.frames)), bytearray(sent.frames[which]))
        elif kind == 1:
            del sent.frames[which]
        elif kind == 2 and len(sent.frames[which]) >= HEADER.size:
            _field(random, sent.frames[which])
            intact = False
        elif sent.frames[which]:
            random.choice(_CHANGES)(random, sent.frames[which])
            intact = False
        if not sent.frames:
            break
    return _carry(b"".join(sent.frames), sent.contents if intact else None, encoded=sent.encoded)


def _carry(raw: bytes, contents: dict[int, bytes] | None, *, encoded: bool = False) -> str | None:
    """Read frames as a session does; returns what went wrong."""
    opened: list[Stream] = []
    features = ["codec-zlib"] if encoded else []
    codecs = codec.common(knows(Zlib()), features)
    demux = Demux(source=False, on_broken=lambda _reason: None, on_opened=opened.append, codecs=codecs)
    demux.sender.add(Carrier(Script(), _LABEL), 0.0)
    try:
        Carrier(Script(raw), _LABEL, frames.rules(features)).read(Pool(), demux.handle)
    except VmferryError:
        pass
    streams = {stream.id: stream for stream in [*opened, *demux._streams.values()]}
    held = sum(
        len(segment[0]) if segment[1] is None else len(segment[1].view)
        for stream in streams.values()
        for segment in stream.receiver._segments.values()
    )
    if held > _HELD_MAX:
        return f"{held} bytes are held for {raw!r}"
    demux.broke(ConnectionAbortedError("over"))
    for stream in streams.values():
        got = _rest(stream)
        if contents is not None and not contents.get(stream.id, b"").startswith(got):
            return f"stream {stream.id} got {got!r} from {raw!r}"
    return None


def _rest(stream: Stream) -> bytes:
    got = bytearray()
    try:
        while part := stream.recv():
            got += part
    except OSError:
        pass
    return bytes(got)


def run(count: int, seed: int) -> list[str]:
    """Try `count` inputs; returns what went wrong, none of which should."""
    generator = random.Random(seed)
    failures = []
    for number in range(count):
        began = time.monotonic()
        try:
            failure = cast(Callable[[random.Random], str | None], (_hello, _session)[number % 2])(generator)
        except Exception as error:
            failure = repr(error)
        if time.monotonic() - began > _SECONDS_MAX:
            failure = f"input took {time.monotonic() - began:.1f} s"
        if failure is not None:
            failures.append(f"input {number} of seed {seed}: {failure:.200}")
    return failures


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    began = time.monotonic()
    failures = run(arguments.count, arguments.seed)
    print(f"{arguments.count} inputs in {time.monotonic() - began:.0f} s, seed {arguments.seed}")
    print(*failures[:20], f"{len(failures)} failures", sep="\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
