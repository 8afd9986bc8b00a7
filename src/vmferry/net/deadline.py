"""A time for a whole exchange with another host: a socket's own timeout begins anew with each byte that comes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

WHOLE = 60.0  # seconds for one request and its answer


@contextmanager
def deadline(sock: socket.socket, seconds: float = WHOLE) -> Iterator[None]:
    """Cut a connection that is still in use after a time; who waits for it sees it end.

    Raises:
        TimeoutError: the time was over.
    """
    late = threading.Event()

    def cut() -> None:
        late.set()
        with suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of the TCP connection, whatever is above it

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if late.is_set():
            raise TimeoutError("no answer in time") from error
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError("no answer in time")
