"""Short frames that wait for nothing: that a connection is alive, and that the session ends."""

import time
from contextlib import suppress

from vmferry.transfer.session.sender import Sender
from vmferry.transfer.transport import frames
from vmferry.transfer.transport.frames import Type


def ping(sender: Sender, idle: float) -> None:
    """Send PING on every carrier that has sent nothing for `idle` seconds; never waits."""
    data = frames.pack(frames.CONTROL, Type.PING)
    for carrier in sender.carriers():
        if time.monotonic() - carrier.used < idle or not carrier.lock.acquire(blocking=False):
            continue
        failure = None
        try:
            if not carrier.lost and carrier.writable():
                carrier.send(data)
        except OSError as error:
            failure = str(error)
        finally:
            carrier.lock.release()
        if failure is not None:
            sender.lose(carrier, failure)


def broadcast(sender: Sender, data: bytes) -> None:
    """Send a frame on every carrier that would take it at once: the session ends, and the peer should know why."""
    for carrier in sender.carriers():
        if not carrier.lock.acquire(timeout=0.1):
            continue
        with suppress(OSError):
            if not carrier.lost and carrier.writable():
                carrier.send(data)
        carrier.lock.release()
