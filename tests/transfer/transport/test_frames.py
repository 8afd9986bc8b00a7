import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core.errors import InternalError
from vmferry.transfer.transport import frames
from vmferry.transfer.transport.frames import HEADER, Type

_ALLOWED = {Type.DATA: frames.SOON, Type.ACK: frames.ENDED | frames.GONE}
_LENGTHS = {
    Type.OPEN: (1, 32),
    Type.DATA: (1, 1 << 20),
    Type.ACK: (8, 8),
    Type.FIN: (0, 0),
    Type.RESET: (0, 512),
    Type.PING: (0, 0),
}


@st.composite
def headers(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    kind = draw(st.sampled_from(Type))
    flags = draw(st.integers(0, 255)) & _ALLOWED.get(kind, 0)
    least, most = _LENGTHS[kind]
    return (
        draw(st.integers(0, (1 << 32) - 1)),
        kind,
        flags,
        draw(st.integers(0, 1 << 62)),
        draw(st.integers(least, most)),
    )


@given(headers())
def test_every_header_that_is_one_is_read(header: tuple[int, int, int, int, int]) -> None:
    stream, kind, flags, offset, length = header
    assert frames.parse(HEADER.pack(stream, kind, flags, 0, offset, length, 0)) == (*header, 0)


@given(st.binary(min_size=24, max_size=24))
def test_anything_else_is_refused(raw: bytes) -> None:
    stream, kind, flags, reserved, offset, length, reserved_too = HEADER.unpack(raw)
    right = (
        kind in set(Type)
        and not flags & ~_ALLOWED.get(Type(kind), 0)
        and _LENGTHS[Type(kind)][0] <= length <= _LENGTHS[Type(kind)][1]
        and not reserved
        and not reserved_too
        and offset <= 1 << 62
    )
    if right:
        assert frames.parse(raw) == (stream, kind, flags, offset, length, 0)
    else:
        with pytest.raises(InternalError):
            frames.parse(raw)


@given(
    headers(),
    st.sampled_from(["type", "flags", "reserved", "length", "offset"]),
    st.integers(0, 255),
)
def test_one_wrong_field_is_enough(header: tuple[int, int, int, int, int], field: str, value: int) -> None:
    stream, kind, flags, offset, length = header
    reserved = 0
    if field == "type":
        kind = 7 + value % 249
    elif field == "flags":
        flags |= 1 << (2 + value % 6)
    elif field == "reserved":
        reserved = 1 + value
    elif field == "length":
        length = _LENGTHS[Type(kind)][1] + 1 + value
    else:
        offset = (1 << 62) + 1 + value
    with pytest.raises(InternalError):
        frames.parse(HEADER.pack(stream, kind, flags, reserved, offset, length, 0))


@given(st.integers(0, 1 << 31), st.integers(0, 1 << 62), st.binary(max_size=512))
def test_short_frames_are_written_as_they_are_read(stream: int, offset: int, payload: bytes) -> None:
    raw = frames.pack(stream, Type.RESET, offset, payload)
    assert frames.parse(raw) == (stream, Type.RESET, 0, offset, len(payload), 0)
    assert raw[HEADER.size :] == payload


@given(st.binary(max_size=64))
def test_a_kind_is_lower_case_letters(raw: bytes) -> None:
    kind, *parameters = raw.split(b" ")
    if kind and all(byte in b"abcdefghijklmnopqrstuvwxyz" for byte in kind):
        assert frames.opening_of(raw)[0] == kind.decode()
        assert bool(frames.opening_of(raw)[1]) == bool(parameters)
    else:
        with pytest.raises(InternalError):
            frames.opening_of(raw)


_words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)


@given(_words, st.dictionaries(_words, st.text("abcdefghijklmnopqrstuvwxyz0123456789-.=", max_size=8)))
def test_the_parameters_of_an_open_cross(kind: str, parameters: dict[str, str]) -> None:
    assert frames.opening_of(frames.opening(kind, parameters)) == (kind, parameters)


@given(st.binary(max_size=600))
def test_a_reason_is_one_printable_line(raw: bytes) -> None:
    text = frames.reason_of(raw)
    assert text
    assert text.isprintable()


@given(st.text())
def test_reasons_cross(text: str) -> None:
    raw = frames.reason(text)
    assert len(raw) <= frames.REASON
    if text.isascii() and text.isprintable() and 0 < len(text) <= frames.REASON:
        assert frames.reason_of(raw) == text
