"""Carries a disk's copy to the destination and leaves out what is nothing there anyway: zeroes where nothing is yet."""

import socket
import threading
from contextlib import suppress

from vmferry.core.errors import VmferryError
from vmferry.transfer.disks.nbd import Replies, Requests, Written
from vmferry.transfer.relay import Relay
from vmferry.transfer.session.stream import Stream


class ThinRelay(Relay):
    """A relay between QEMU's storage mirror here and the NBD server of a destination where the disk begins empty."""

    def __init__(self, stream: Stream, connection: socket.socket) -> None:
        reads: dict[int, int] = {}
        self._requests = Requests(Written(), reads, self._answer)
        self._replies = Replies(reads)
        self._waiting = bytearray()  # answers for which the destination's own leave no room yet
        self._to_qemu = threading.Lock()
        super().__init__(stream, connection)

    @property
    def spared(self) -> int:
        """Bytes of zeroes that were not sent so far."""
        return self._requests.spared

    def _outward(self) -> None:
        stream, pool, receive = self._stream, self._stream.pool, self._connection.recv_into
        while True:
            buffer = pool.take()
            size = receive(buffer.payload)
            if not size:
                pool.give(buffer)
                break
            parts = self._requests.feed(buffer.payload[:size])
            if len(parts) == 1 and len(parts[0]) == size and parts[0].obj is buffer.view.obj:
                stream.push(buffer, size)  # all of it goes as it came
                continue
            for part in parts:
                stream.send(part)
            pool.give(buffer)
        stream.send_fin()

    def _inward(self) -> None:
        while data := self._stream.recv():
            try:
                self._replies.feed(memoryview(data))
            except VmferryError as error:
                raise ConnectionAbortedError(error.reason) from error
            with self._to_qemu:
                self._connection.sendall(data)
                self._flush()
        with suppress(OSError):  # QEMU has closed it altogether: it wants nothing more
            self._connection.shutdown(socket.SHUT_WR)

    def _answer(self, reply: bytes) -> None:
        with self._to_qemu:
            self._waiting += reply
            self._flush()

    def _flush(self) -> None:
        if self._waiting and self._replies.between:
            self._connection.sendall(self._waiting)
            self._waiting.clear()
