"""A time for a whole exchange."""

import socket
import threading

import pytest

from vmferry.net.deadline import deadline


def drain(sock: socket.socket) -> None:
    while sock.recv(100):
        pass


def test_dripping_an_answer_wins_no_time() -> None:
    here, there = socket.socketpair()
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.02):
            try:
                there.send(b"x")
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()
    here.settimeout(5.0)  # which begins anew with each byte
    try:
        with pytest.raises(TimeoutError, match="no answer in time"), deadline(here, 0.3):
            drain(here)  # would have no end
    finally:
        stop.set()
        thread.join()
        here.close()
        there.close()


def test_what_is_in_time_is_left_alone() -> None:
    here, there = socket.socketpair()
    with here, there:
        with deadline(here, 5.0):
            there.send(b"x")
            assert here.recv(1) == b"x"
        with pytest.raises(ZeroDivisionError), deadline(here, 5.0):
            _ = 1 / 0
