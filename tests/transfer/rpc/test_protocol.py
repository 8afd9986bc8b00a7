import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.transfer.rpc import captured

from vmferry.core.errors import InternalError
from vmferry.transfer.rpc import protocol
from vmferry.transfer.rpc.protocol import KeepAlive, MessageType, Procedure, RpcMessage, Splitter
from vmferry.transfer.rpc.xdr import COOKIE_MAX, Parameter, ParameterType, Reader, Writer, XdrError

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)
PARAMETERS = st.one_of(
    st.builds(Parameter, TEXT, st.just(ParameterType.INT), st.integers(-(2**31), 2**31 - 1)),
    st.builds(Parameter, TEXT, st.just(ParameterType.UINT), st.integers(0, 2**32 - 1)),
    st.builds(Parameter, TEXT, st.just(ParameterType.LLONG), st.integers(-(2**63), 2**63 - 1)),
    st.builds(Parameter, TEXT, st.just(ParameterType.ULLONG), st.integers(0, 2**64 - 1)),
    st.builds(Parameter, TEXT, st.just(ParameterType.DOUBLE), st.floats(allow_nan=False)),
    st.builds(Parameter, TEXT, st.just(ParameterType.BOOLEAN), st.integers(0, 1)),
    st.builds(Parameter, TEXT, st.just(ParameterType.STRING), TEXT),
)


@given(st.lists(PARAMETERS, max_size=20), st.binary(max_size=50), TEXT | st.none(), st.integers(0, 2**32 - 1))
def test_what_is_written_is_read(parameters: list[Parameter], data: bytes, text: str | None, number: int) -> None:
    writer = Writer().parameters(parameters).opaque(data).optional_string(text).u32(number).i32(-number // 2)
    reader = Reader(bytes(writer.data))
    assert reader.parameters() == parameters
    assert reader.opaque(50) == data
    assert reader.optional_string() == text
    assert (reader.u32(), reader.i32()) == (number, -number // 2)
    reader.end()


@given(st.binary(max_size=300))
def test_any_payload_is_read_or_refused(data: bytes) -> None:
    reader = Reader(data)
    try:
        reader.parameters()
        reader.opaque(COOKIE_MAX)
        reader.end()
    except XdrError:
        pass


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (struct.pack(">I", 5) + b"abc", "too early"),
        (struct.pack(">I", 0xFFFFFFFF), "too long"),
        (struct.pack(">I", 3) + b"abc\1", "padding"),
        (struct.pack(">I", 4) + b"a\0bc", "NUL"),
        (struct.pack(">I", 4) + b"\xff\xff\xff\xff", "UTF-8"),
    ],
)
def test_a_strange_string_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(XdrError, match=why):
        Reader(data).string()


def test_strange_parameters_are_refused() -> None:
    with pytest.raises(XdrError, match="too many"):
        Reader(struct.pack(">I", 65)).parameters()
    with pytest.raises(XdrError, match="no known type"):
        Reader(struct.pack(">III", 1, 0, 99)).parameters()
    with pytest.raises(XdrError, match="neither absent nor present"):
        Reader(struct.pack(">I", 2)).optional_string()


@pytest.mark.parametrize("move", captured.MOVES)
@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=30))
def test_a_stream_is_cut_into_its_messages_however_it_arrives(move: str, sizes: list[int]) -> None:
    sent = [message for way, message in captured.load(move).messages if way == ">"]
    stream = b"".join(message.raw for message in sent)
    splitter, found, at = Splitter(), list[RpcMessage](), 0
    for number in range(len(stream)):
        if at >= len(stream):
            break
        size = sizes[number % len(sizes)] + 100
        found += splitter.feed(stream[at : at + size])
        at += size
    assert found == sent


@pytest.mark.parametrize("length", [0, 4, 27, protocol.LENGTH_MAX + 5, 0xFFFFFFFF])
def test_a_length_that_no_message_has_ends_the_stream(length: int) -> None:
    with pytest.raises(InternalError, match=f"{length} bytes"):
        list(Splitter().feed(struct.pack(">I", length)))


def test_keepalive_is_libvirts() -> None:
    # As captured from libvirt 9.0 (captures/abort.json).
    assert protocol.PING in [message.raw for _way, message in captured.load("abort").messages]
    pong = protocol.read(protocol.PONG)
    assert (pong.program, pong.procedure, pong.type) == (
        protocol.KEEPALIVE_PROGRAM,
        KeepAlive.PONG,
        MessageType.MESSAGE,
    )


def test_a_prepare_is_taken_apart_and_put_together_again() -> None:
    for move in captured.MOVES:
        call = captured.load(move).call(Procedure.PREPARE)
        assert captured.pack(call, captured.unpack(call)) == call
