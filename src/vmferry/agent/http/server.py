"""The listeners: a unix socket for people on this host, HTTPS for hosts and strangers; uvicorn speaks HTTP.

We accept the connections ourselves, because how one is served depends on who is there: a unix socket's peer
credentials, a TLS client's first words and its certificate go with each request as its origin.
"""

import asyncio
import errno
import hashlib
import logging
import os
import pwd
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from typing import Any

import h11
import uvicorn
from anyio import to_thread
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from vmferry.agent.http import clienthello
from vmferry.agent.http.tls import Contexts, SiteContext
from vmferry.config import Config
from vmferry.core.crowd import gives_way, origin
from vmferry.identity.access import UnixUser
from vmferry.identity.origin import Audience, CertifiedHost, LocalUser, Origin, SiteHost, Stranger
from vmferry.net import localsockets

HANDSHAKE_TIME = 5.0  # seconds, for the hello and again for the handshake
REQUEST_TIME = 10.0  # seconds for the head of a request, from when the connection is free for one
LINGER = 2.0  # seconds for a client to read an answer that came before it had sent its whole body
THREADS = 96  # in which requests are answered
HANDSHAKES = 64  # at once; the oldest gives way
STRANGERS = 256  # connections at once of people on the network who have not shown yet who they are
KNOWN = 512  # of those who have
PEER = 64  # of one host
USER = 256  # of one user on the unix socket
_SO_PEERGROUPS = 59  # asm-generic/socket.h; not in Python's socket module

log = logging.getLogger("vmferry.agent")


class ClientConnection(H11Protocol):
    """One connection, whose requests carry its origin and whose client must say something soon.

    Arguments:
        identify: gives the origin, once the connection is made.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        identify: Callable[[asyncio.Transport], Origin],
    ) -> None:
        super().__init__(config, state, {})
        self._identify = identify
        self._due = 0.0
        self.origin: Origin | None = None
        self.began = 0.0
        self.vouched = False  # whether a request on it has shown who sends it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; a client that then says nothing is not waited for."""
        super().connection_made(transport)
        self.began = self.loop.time()
        self.origin = self._identify(transport)
        self.app_state = {"origin": self.origin, "vouch": self.vouch}
        self._expect()

    def vouch(self) -> None:
        """Take note that a request has shown who sends it (agent/http/gate.py)."""
        self.vouched = True

    def data_received(self, data: bytes) -> None:
        """Take bytes; the time for the head of a request runs on while they are less than that."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_at(self._due, self.timeout_keep_alive_handler)

    def on_response_complete(self) -> None:
        """Wait for the next request, but not for long."""
        self._due = self.loop.time() + REQUEST_TIME
        if self.conn.their_state is h11.SEND_BODY:  # the answer came before the end of the body: nobody reads the rest
            self.loop.call_later(LINGER, _cut, self.transport)
        super().on_response_complete()

    def _expect(self) -> None:
        self._due = self.loop.time() + REQUEST_TIME
        self.timeout_keep_alive_task = self.loop.call_at(self._due, self.timeout_keep_alive_handler)


class Server:
    """Serves an ASGI application on the host's unix socket and HTTPS addresses.

    Arguments:
        app: finds the origin of a request in scope["state"]["origin"].
    """

    def __init__(self, app: ASGIApp, config: Config, contexts: Contexts) -> None:
        self._config = config
        self._contexts = contexts
        self._uvicorn = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # a header must not change who is calling
            server_header=False,
            timeout_keep_alive=int(REQUEST_TIME),
        )
        self._uvicorn.load()
        self._state = ServerState()
        self._listeners: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._handshakes: dict[asyncio.Task[None], tuple[socket.socket, str]] = {}  # in their order, and where from

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: an address cannot be had.
        """
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        try:
            self._listen(self._unix(), self._serve_unix)
            for address in self._config.listen:
                listener = _tcp(address, self._config.port)
                if listener is not None:
                    self._listen(listener, self._serve_tls)
        except BaseException:
            await self.stop()
            raise

    async def stop(self, patience: float = 1.0) -> None:
        """Stop listening, let requests under way end, then close what is left.

        Arguments:
            patience: seconds for the requests under way.
        """
        for task in (*self._accepting, *self._handshakes):
            task.cancel()
        for listener in self._listeners:
            listener.close()
        self._config.socket.unlink(missing_ok=True)
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            _, slow = await asyncio.wait(self._state.tasks, timeout=patience)
            for task in slow:
                task.cancel()
        for connection in list(self._state.connections):
            connection.transport.abort()
        await asyncio.gather(*self._accepting, *self._handshakes, return_exceptions=True)

    def _listen(self, listener: socket.socket, serve: Callable[[socket.socket], Coroutine[Any, Any, None]]) -> None:
        listener.setblocking(False)
        listener.listen(128)
        self._listeners.append(listener)
        self._accepting.append(asyncio.create_task(self._accept(listener, serve)))

    async def _accept(
        self, listener: socket.socket, serve: Callable[[socket.socket], Coroutine[Any, Any, None]]
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except OSError as error:  # no more files, or a client that is gone again
                log.warning("a connection could not be accepted: %s", error)
                await asyncio.sleep(0.1)
                continue
            if len(self._handshakes) >= HANDSHAKES:
                self._dismiss(gives_way((task, place) for task, (_, place) in self._handshakes.items()))
            task = asyncio.create_task(serve(sock))
            self._handshakes[task] = sock, origin(address[0]) if address else "unix"
            task.add_done_callback(self._begun)

    def _dismiss(self, task: asyncio.Task[None]) -> None:
        sock, _ = self._handshakes.pop(task)
        task.cancel()
        task.add_done_callback(lambda _: sock.close())

    def _begun(self, task: asyncio.Task[None]) -> None:
        if task not in self._handshakes:  # it gave way
            if not task.cancelled():
                task.exception()
            return
        sock, _ = self._handshakes.pop(task)
        if task.cancelled():  # perhaps before its first step, so that it could not tidy up itself
            sock.close()
            return
        error = task.exception()
        if error is None:
            return
        sock.close()
        if isinstance(error, OSError):  # ssl.SSLError and TimeoutError are
            log.debug("a connection came to nothing: %s", error)
        else:
            log.error("a connection could not be served", exc_info=error)

    # --- the unix socket --------------------------------------------------------------------------------

    def _unix(self) -> socket.socket:
        path = self._config.socket
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        path.chmod(0o666)  # anybody may connect: their credentials decide
        return listener

    async def _serve_unix(self, sock: socket.socket) -> None:
        user = _unix_user(sock)
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: ClientConnection(self._uvicorn, self._state, lambda _: self._admit(LocalUser(user))), sock
        )

    # --- HTTPS ------------------------------------------------------------------------------------------

    async def _serve_tls(self, sock: socket.socket) -> None:
        hello = await asyncio.wait_for(clienthello.peek(sock), HANDSHAKE_TIME)
        context = self._contexts.choose(hello)
        address = sock.getpeername()[0]
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: ClientConnection(
                    self._uvicorn, self._state, lambda transport: self._admit(_tls_client(transport))
                ),
                sock,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_TIME,
                ssl_shutdown_timeout=HANDSHAKE_TIME,
            )
        except ssl.SSLCertVerificationError as error:  # that host is not told more than that it is refused
            log.warning("a host at %s was refused, its certificate: %s", address, error.verify_message)
            raise

    def _admit(self, new: Origin) -> Origin:
        """Make room for a connection among those of its kind."""
        held: list[tuple[ClientConnection, str]] = []
        for one in sorted(self._connections(), key=lambda one: one.began):
            if one.origin is not None and one.origin.share == new.share:
                held.append((one, origin(one.origin.address)))
        if new.audience is Audience.STRANGERS:
            self._make_room([one for one in held if not one[0].vouched], STRANGERS)
            self._make_room([one for one in held if one[0].vouched], KNOWN)
        else:
            self._make_room(held, PEER if new.audience is Audience.HOSTS else USER)
        return new

    def _make_room(self, held: list[tuple[ClientConnection, str]], limit: int) -> None:
        if len(held) >= limit:
            _cut(gives_way(held).transport)

    def _connections(self) -> list[ClientConnection]:
        return [one for one in self._state.connections if isinstance(one, ClientConnection)]


def _tcp(address: str, port: int) -> socket.socket | None:
    """Bind one address; None for IPv6's wildcard on a host without IPv6.

    Raises:
        OSError: the address cannot be had.
    """
    family, kind, protocol, _, place = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    try:
        listener = socket.socket(family, kind, protocol)
    except OSError:
        if ip_address(address).is_unspecified and family == socket.AF_INET6:
            return None
        raise
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(place)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{error.strerror} ({address} port {port})") from error
    return listener


def _unix_user(sock: socket.socket) -> UnixUser:
    """Ask the kernel who connected: user, group and supplementary groups as they were at connect(2)."""
    uid, gid = localsockets.user(sock)
    try:
        packed = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)  # the most that Python asks for
        groups = [group for (group,) in struct.iter_unpack("I", packed)]
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        groups = os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    return UnixUser(uid, frozenset({gid, *groups}))


def _cut(transport: asyncio.Transport) -> None:
    """Close a connection at once, unless it is closed: asyncio's TLS has nothing to abort then."""
    if not transport.is_closing():
        transport.abort()


def _tls_client(transport: asyncio.Transport) -> Origin:
    address = str(transport.get_extra_info("peername")[0])
    certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    context = transport.get_extra_info("sslcontext")
    if certificate is None:
        return Stranger(address, context.binding)
    if isinstance(context, SiteContext):
        return SiteHost(certificate, context.trust, address)
    return CertifiedHost(hashlib.sha256(certificate).hexdigest(), address)
