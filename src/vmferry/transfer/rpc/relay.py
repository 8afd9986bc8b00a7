"""Relays the libvirt calls of a migration between libvirtd's unix socket and a stream, message by message.

Each end inspects the messages: the destination lets through only what was granted (guard.py); the source holds back the
reply to Finish until the commit is in the journal.
"""

import fcntl
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable

from vmferry.core.errors import VmferryError
from vmferry.jobs.persist import why
from vmferry.transfer.rpc.guard import Authorised, Guard, Watcher
from vmferry.transfer.rpc.protocol import Procedure, RpcMessage, Splitter
from vmferry.transfer.session.stream import Stream

log = logging.getLogger("vmferry.transfer")

_SIOCOUTQ = 0x5411  # linux/sockios.h; on a unix socket: what the other end has not read yet
_READ = 64 * 1024


class _Relay:
    """Two threads, one for each direction; the end of either ends both.

    `on_failed` hears of whatever ended one that was neither end's closing: nothing ends without a word.
    """

    def __init__(self, stream: Stream, libvirtd: socket.socket) -> None:
        self._stream = stream
        self._libvirtd = libvirtd
        self._write = threading.Lock()
        self.on_failed: Callable[[Exception], None] = lambda _error: None
        stream.on_reset(lambda _reason: self.close())

    def start(self) -> None:
        """Begin to carry."""
        threading.Thread(target=self._run, args=(self._from_libvirtd,), name="rpc-out", daemon=True).start()
        threading.Thread(target=self._run, args=(self._from_stream,), name="rpc-in", daemon=True).start()

    def close(self) -> None:
        """Cut the connection to libvirtd, which then ends its part of the move."""
        try:
            self._libvirtd.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed by libvirtd already

    def _run(self, carry: Callable[[], None]) -> None:
        try:
            carry()
        except OSError as error:
            self._stream.reset(str(error))  # an end went away: libvirt's call, or the session, says why
        except Exception as error:
            if not isinstance(error, VmferryError):
                log.exception("a libvirt call could not be passed on")
            self.on_failed(error)
            self._stream.reset(why(error))
        self.close()

    def _from_libvirtd(self) -> None:
        splitter = Splitter()
        while data := self._libvirtd.recv(_READ):
            for message in splitter.feed(data):
                self._outgoing(message)
        self._stream.send_fin()

    def _from_stream(self) -> None:
        splitter = Splitter()
        while data := self._stream.recv():
            for message in splitter.feed(data):
                self._incoming(message)

    def _outgoing(self, message: RpcMessage) -> None:
        self._stream.send(message.raw)

    def _incoming(self, message: RpcMessage) -> None:
        self._to_libvirtd(message.raw)

    def _to_libvirtd(self, raw: bytes) -> None:
        with self._write:
            self._libvirtd.sendall(raw)


class GuardedRelay(_Relay):
    """The destination's end: nothing reaches libvirtd that was not authorised.

    `on_prepare` is called before Prepare is passed to libvirtd, which makes the copy; `on_prepared`, with whether it
    did, before the reply passes. When either fails, what it is about does not pass. `on_finish` is called when Finish
    has been passed to libvirtd and runs beside it; Finish's reply waits for it, and does not pass when it fails.
    `on_finished` is called with a reply to Finish that says that the VM is here, before it passes.
    """

    def __init__(self, stream: Stream, libvirtd: socket.socket, authorised: Authorised) -> None:
        super().__init__(stream, libvirtd)
        self._guard = Guard(authorised)
        self._finish_noted = threading.Event()
        self._noted = False
        self._preparing = False
        self.on_prepare: Callable[[], None] = lambda: None
        self.on_prepared: Callable[[bool], None] = lambda _made: None
        self.on_finish: Callable[[], None] = lambda: None
        self.on_finished: Callable[[bytes], None] = lambda _reply: None

    def _incoming(self, message: RpcMessage) -> None:
        answer = self._guard.check_call(message)
        if answer is not None:
            self._stream.send(answer)
            return
        if self._guard.prepare_called and not self._preparing:
            self._preparing = True
            self.on_prepare()
        if self._guard.finish_called and not self._finish_noted.is_set():
            # The guest stands still: let libvirtd work while the disk does.
            self._to_libvirtd(message.raw)
            try:
                self.on_finish()
                self._noted = True
            finally:
                self._finish_noted.set()
            return
        self._to_libvirtd(message.raw)

    def _outgoing(self, message: RpcMessage) -> None:
        answer = self._guard.see_reply(message)
        if answer is not None:
            self._to_libvirtd(answer)
            return
        if message.procedure == Procedure.PREPARE:
            self.on_prepared(self._guard.prepared)
        if self._guard.finish_called:
            self._finish_noted.wait()
            if not self._noted:
                return
            if self._guard.finish_succeeded and message.procedure == Procedure.FINISH:
                self.on_finished(message.raw)
        self._stream.send(message.raw)


class CommittingRelay(_Relay):
    """The source's end: the successful reply to Finish passes only after `on_commit` said so.

    `on_commit` journals; it returns False when the move was given up, and `on_reply` when the reply is not the
    destination's: it is then dropped and the connection cut. `on_read` is called once libvirt has read the whole reply,
    with False when that could not be seen.
    """

    def __init__(self, stream: Stream, libvirtd: socket.socket) -> None:
        super().__init__(stream, libvirtd)
        self._watcher = Watcher()
        self._allowed: bool | None = None
        self._asked = threading.Event()
        self.on_commit: Callable[[], bool] = lambda: False
        self.on_reply: Callable[[bytes], bool] = lambda _reply: False
        self.on_read: Callable[[bool], None] = lambda _read: None

    def _outgoing(self, message: RpcMessage) -> None:
        self._watcher.see_call(message)
        self._stream.send(message.raw)
        if self._watcher.finish_wanted and not self._asked.is_set():
            # Journaled while the destination works on Finish; conservative, since COMMITTING decides nothing itself.
            try:
                self._allowed = self.on_commit()
            finally:
                self._asked.set()

    def _incoming(self, message: RpcMessage) -> None:
        self._watcher.check_reply(message)
        if not self._watcher.is_finish_success(message):
            self._to_libvirtd(message.raw)
            return
        self._asked.wait()
        if not self._allowed or not self.on_reply(message.raw):
            self.close()
            return
        self._to_libvirtd(message.raw)
        self.on_read(self._wait_read())

    def _wait_read(self) -> bool:
        limit = time.monotonic() + 5.0
        while time.monotonic() < limit:
            try:
                (unread,) = struct.unpack("i", fcntl.ioctl(self._libvirtd, _SIOCOUTQ, b"\0" * 4))
            except OSError:
                return False
            if not unread:
                return True
            time.sleep(0.0005)  # the kernel tells nobody when a peer has read
        return False
