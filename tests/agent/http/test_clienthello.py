"""What is read of a client's first words."""

import asyncio
import socket
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.agent.http.clienthello import ClientHello, peek, read


def hello(*offered: str, server: str | None = None) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    if offered:
        context.set_alpn_protocols(list(offered))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("offered", [(), ("http/1.1",), ("h2", "vmferry-peer/1", "http/1.1")])
@pytest.mark.parametrize("server", [None, "kvm1.example"])
def test_protocols_and_server_name(offered: tuple[str, ...], server: str | None) -> None:
    assert read(hello(*offered, server=server)) == ClientHello(list(offered), server)


@given(st.binary(max_size=400))
def test_nonsense_offers_nothing(data: bytes) -> None:
    assert read(data) == ClientHello([], None)


@given(st.data())
def test_damaged_hello_does_no_harm(data: st.DataObject) -> None:
    whole = bytearray(hello("vmferry-peer/1"))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


def pair() -> tuple[socket.socket, socket.socket]:
    """Connect over TCP: SO_RCVLOWAT is what is tried."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    server.setblocking(False)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, server


def test_peek_waits_for_the_whole_and_takes_nothing() -> None:
    whole = hello("vmferry-peer/1")

    async def run() -> None:
        client, server = pair()
        with client, server:
            reading = asyncio.create_task(peek(server))
            for at in range(0, len(whole), 50):
                assert not reading.done()
                client.sendall(whole[at : at + 50])
                await asyncio.sleep(0)
            client.sendall(b"more")
            assert await asyncio.wait_for(reading, 5) == whole
            assert server.recv(1 << 16).startswith(whole)

    asyncio.run(run())


@pytest.mark.parametrize(
    "said",
    [b"", b"\x16\x03", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff"],
)
def test_peek_refuses_what_is_no_hello(said: bytes) -> None:
    async def run() -> None:
        client, server = pair()
        with client, server:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(peek(server), 5)

    asyncio.run(run())
