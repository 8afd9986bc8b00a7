"""A codec for tests: what a real one will be like."""

import zlib

from vmferry.transfer.transport.codec import KNOWN, Codec


class Zlib:
    name = "zlib"

    def __init__(self) -> None:
        self.decoded = 0

    def encode(self, raw: memoryview) -> bytes | None:
        return zlib.compress(raw, 1)

    def decode(self, encoded: memoryview, size: int) -> bytes:
        self.decoded += 1
        decoder = zlib.decompressobj()
        try:
            data = decoder.decompress(encoded, size)
            if len(data) < size or decoder.decompress(decoder.unconsumed_tail, 1) or not decoder.eof:
                raise ValueError("it is longer or shorter than it says")
        except zlib.error as error:
            raise ValueError(str(error)) from None
        return data


def knows(*codecs: Codec) -> tuple[Codec, ...]:
    return (*KNOWN, *codecs)
