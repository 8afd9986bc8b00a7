"""TCP connections to other hosts' daemons."""

import socket


def dial(address: str, port: int, seconds: float) -> socket.socket:
    """Connect to a host.

    Without TCP_NODELAY the request that follows the TLS handshake would wait for the answer to the handshake's last
    message, which the other end puts off for 40 ms (RFC 9293, 3.7.4 and 3.8.6.3).

    Arguments:
        seconds: how long connecting may take; it is the connection's time limit from then on, too.

    Raises:
        OSError: it does not answer.
    """
    connection = socket.create_connection((address, port), seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
