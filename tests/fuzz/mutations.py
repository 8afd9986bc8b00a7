"""Changes inputs where nothing but Python is at hand: always the same ones for a seed."""

import random
from collections.abc import Iterator, Sequence

_LIKELY = (
    b"",
    b"\0",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xed\xa0\x80",
    b"1" * 30,
    b"9" * 5000,
    b"-1",
    b"null",
    b"1e999",
)
_DEEP = (b"[" * 5000, b'{"a":' * 3000, b"<a>" * 500)


def mutations(seeds: Sequence[bytes], count: int, number: int) -> Iterator[bytes]:
    """Return seeds with one to four things wrong in each.

    Arguments:
        number: the same one gives the same inputs.
    """
    source = random.Random(number)
    for _ in range(count):
        data = bytearray(source.choice(seeds))
        for _ in range(source.choice((1, 1, 2, 4))):
            _change(source, data, seeds)
        yield bytes(data)


def _change(source: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = source.randrange(len(data) + 1)
    end = min(len(data), at + source.choice((1, 2, 4, 8, 40)))
    match source.randrange(7):
        case 0:
            data[at:end] = source.randbytes(end - at)
        case 1:
            data[at:end] = source.choice(_LIKELY)
        case 2:
            del data[at:]
        case 3:
            data[at:at] = data[at:end] * source.choice((1, 2, 50))
        case 4:
            other = source.choice(seeds)
            data[at:] = other[source.randrange(len(other) + 1) :]
        case 5 if at < len(data):
            data[at] ^= 1 << source.randrange(8)
        case _:
            data[at:end] = source.choice(_DEEP) if source.random() < 0.1 else b""
