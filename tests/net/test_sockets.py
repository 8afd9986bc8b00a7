import socket

from vmferry.core.policy.networks import Local, Route
from vmferry.net import sockets


def test_neither_end_of_a_connection_waits_with_its_greeting() -> None:
    (listener,) = sockets.bind([Local("127.0.0.1")], (0, 0))
    port = listener.getsockname()[1]
    with listener, sockets.connect(Route("127.0.0.1", port), 5.0) as ours:
        listener.settimeout(5.0)
        theirs, _ = listener.accept()
        with theirs:
            for end in (ours, theirs):
                assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
