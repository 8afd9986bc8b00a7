import socket

from vmferry.net.dial import dial


def test_what_is_sent_after_the_handshake_does_not_wait() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        dial("127.0.0.1", server.getsockname()[1], 5.0) as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.gettimeout() == 5.0
