"""The way to the other worker: the best that answers, from the address that was said."""

import socket
import threading
from contextlib import suppress

import pytest
from tests.transfer.wire import HERE, LIMIT, credentials, listening

from vmferry.core import jobkey
from vmferry.core.errors import AccessError, UnreachableError
from vmferry.core.policy.networks import Local, Route
from vmferry.transfer.session.connect import connect

pytestmark = pytest.mark.usefixtures("nothing_left")


def nobody() -> int:
    """Give a port on which nobody listens."""
    with socket.create_server((HERE, 0)) as server:
        return int(server.getsockname()[1])


def test_an_address_that_does_not_answer_is_passed_over_and_named() -> None:
    with listening() as listener:
        port = nobody()
        dialled, unanswered = connect([Route(HERE, port), Route(*listener.addresses[0])], credentials("source"))
        assert unanswered == [f"{HERE} port {port}: Connection refused"]
        listener.accept(LIMIT).close()
        dialled.close()


def test_nobody_at_all() -> None:
    port = nobody()
    with pytest.raises(UnreachableError) as caught:
        connect([Route(HERE, port)], credentials("source"))
    assert f"{HERE} port {port}" in caught.value.reason
    assert "Connection refused" in caught.value.reason
    with pytest.raises(UnreachableError):
        connect([], credentials("source"))


def test_who_answers_and_refuses_is_what_is_told() -> None:
    with listening() as listener, pytest.raises(AccessError) as caught:
        connect([Route(*listener.addresses[0]), Route(HERE, nobody())], credentials("source", key=jobkey.new()))
    assert caught.value.code.name == "job-key-wrong"


def test_every_connection_comes_from_the_address_of_the_route() -> None:
    with listening() as listener:
        host, port = listener.addresses[0]
        dialled, _ = connect([Route(host, port, Local("127.0.0.3", 8, "lo"))], credentials("source"))
        accepted = listener.accept(LIMIT)
        assert dialled.address == "127.0.0.3"
        assert accepted.address == HERE
        assert all("127.0.0.3" in label for label in dialled.connections)
        accepted.close()
        dialled.close()


def test_an_address_that_is_gone_is_a_way_that_does_not_answer() -> None:
    with listening() as listener:
        host, port = listener.addresses[0]
        gone = Route(host, port, Local("192.0.2.77", 24, "no-such-link"))
        dialled, unanswered = connect([gone, Route(host, port)], credentials("source"))
        assert unanswered[0].startswith(f"{HERE} port {port} from 192.0.2.77: ")
        listener.accept(LIMIT).close()
        dialled.close()


@pytest.mark.parametrize("encryption", [True, False])
def test_silent_connections_keep_no_source_out(encryption: bool) -> None:
    """As many as anybody likes, from anywhere else, and more all the time: each makes an older one give way."""
    with listening(credentials("destination", encryption=encryption)) as listener:
        host, port = listener.addresses[0]
        flood: list[socket.socket] = []
        stop = threading.Event()

        def knock() -> None:
            while not stop.is_set():
                with suppress(OSError):
                    flood.append(socket.create_connection((host, port), LIMIT, ("127.0.0.9", 0)))

        for _ in range(80):
            flood.append(socket.create_connection((host, port), LIMIT, ("127.0.0.9", 0)))
        flooder = threading.Thread(target=knock)
        flooder.start()
        try:
            dialled, _ = connect(
                [Route(host, port, Local("127.0.0.3", 8, "lo"))], credentials("source", encryption=encryption)
            )
            listener.accept(LIMIT).close()
            dialled.close()
        finally:
            stop.set()
            flooder.join()
            for sock in flood:
                sock.close()
