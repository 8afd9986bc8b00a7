"""The HTTPS port as strangers, paired hosts and troublemakers find it."""

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any

import pytest

from vmferry.agent.http import gate
from vmferry.agent.http import server as serving
from vmferry.agent.http.app import document
from vmferry.agent.http.gate import HOST_AT_WORK
from vmferry.client import Client
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import AccessError, UsageError, VmferryError
from vmferry.core.messages.api import TokenRequest
from vmferry.core.messages.diagnosis import FactsRequest
from vmferry.identity import certificates
from vmferry.identity.origin import Audience
from vmferry.identity.peer import ALPN, PeerClient

if TYPE_CHECKING:
    from tests.agent.conftest import Node

LIMIT = 5.0


def context(*protocols: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if protocols:
        made.set_alpn_protocols(list(protocols))
    return made


def connect(node: "Node", made: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", node.config.port), LIMIT)
    try:
        return made.wrap_socket(plain)
    except BaseException:
        plain.close()
        raise


def ask(node: "Node", method: str, path: str, body: bytes = b"{}") -> tuple[int, Any]:
    """Make a request as a stranger."""
    connection = http.client.HTTPConnection("127.0.0.1")
    with closing(connection):
        connection.sock = connect(node, context())
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def silence(sock: socket.socket) -> float:
    """Wait until the server closes; gives the seconds that took."""
    began = time.monotonic()
    with sock:
        sock.settimeout(LIMIT)
        try:
            while sock.recv(4096):
                pass
        except ConnectionError:
            pass
    return time.monotonic() - began


def refused_at_once(node: "Node", made: ssl.SSLContext) -> bool:
    """See whether the server closes without an answer."""
    try:
        with connect(node, made) as secure:
            secure.sendall(b"GET /api/v1/peer/hello HTTP/1.1\r\nHost: x\r\n\r\n")
            return not secure.recv(1)
    except OSError:
        return True


def dripping(secure: ssl.SSLSocket) -> float:
    """Send a header now and then until the server closes; gives the seconds that took."""
    began = time.monotonic()
    while time.monotonic() - began < LIMIT:
        try:
            secure.sendall(b"A: b\r\n")
            if not secure.recv(100):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


def certificate_asked(node: "Node", *protocols: str) -> bool:
    """See whether the server's part of the handshake has a CertificateRequest."""
    seen: list[Any] = []
    made = context(*protocols)
    made._msg_callback = lambda *said: seen.append(said[4])  # type: ignore[attr-defined]
    with connect(node, made):
        pass
    names = [getattr(kind, "name", str(kind)) for kind in seen]
    assert "ENCRYPTED_EXTENSIONS" in names
    return "CERTIFICATE_REQUEST" in names


def test_only_paired_hosts_are_asked_for_a_certificate(kvm1: "Node") -> None:
    assert not certificate_asked(kvm1)
    assert not certificate_asked(kvm1, "h2", "http/1.1")
    assert certificate_asked(kvm1, ALPN)


def test_only_tls_13(kvm1: "Node") -> None:
    with connect(kvm1, context("http/1.1")) as secure:
        assert secure.version() == "TLSv1.3"
        assert secure.selected_alpn_protocol() == "http/1.1"
    old = context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError):
        connect(kvm1, old)


def test_strangers_reach_the_version_and_nothing_else(kvm1: "Node") -> None:
    paths = json.loads(document())["paths"]
    for path, methods in paths.items():
        for method in methods:
            status, answer = ask(kvm1, method.upper(), path.replace("{job}", "0001").replace("{name}", "web01"))
            if path == "/api/v1/version":
                assert (status, answer) == (200, {"product": "vmferry", "api": ["v1"]})
            elif path in ("/api/v1/pairing", "/api/v1/signin", "/api/v1/signin/credssp"):
                assert (status, answer["code"]) == (400, "bad-request")
            else:
                expected = "not-paired" if "/peer/" in path else "not-authenticated"
                assert (status, answer["code"]) == (403, expected)
    for path in (
        "/",
        "/api/v1/openapi.json",
        "/api/v1/vms/",
        "//api/v1/peer/hello",
        "/api/v1/version/../host",
    ):
        assert ask(kvm1, "GET", path)[0] == 403, path
    assert kvm1.made.asked == []


def test_headers_do_not_change_who_is_calling(kvm1: "Node") -> None:
    with connect(kvm1, context()) as secure:
        secure.sendall(b"GET /api/v1/host HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n")
        assert secure.recv(4096).startswith(b"HTTP/1.1 403 ")


def test_strangers_may_send_little(kvm1: "Node") -> None:
    status, answer = ask(kvm1, "POST", "/api/v1/pairing", b" " * (17 << 10))
    assert (status, answer["code"]) == (400, "bad-request")


def test_remote_client_is_a_stranger(kvm1: "Node") -> None:
    with Client.remote("127.0.0.1", kvm1.config.port, kvm1.identity.fingerprint) as client:
        assert client.version().product == "vmferry"
        with pytest.raises(AccessError) as caught:
            client.vms()
        assert caught.value.code is codes.NOT_AUTHENTICATED


def test_remote_client_accepts_one_certificate(kvm1: "Node") -> None:
    with Client.remote("127.0.0.1", kvm1.config.port, "ab" * 32) as client, pytest.raises(AccessError) as caught:
        client.version()
    assert caught.value.code is codes.SERVER_CERTIFICATE
    assert kvm1.identity.fingerprint in caught.value.reason


def test_unpaired_host_is_refused(kvm1: "Node", tmp_path: Path) -> None:
    from vmferry.store.peers import Peer

    config = Config(name="kvm9", state_folder=tmp_path)
    certificates.host_identity(config)
    peer = Peer(
        "kvm1",
        "127.0.0.1",
        kvm1.config.port,
        kvm1.identity.certificate,
        kvm1.identity.fingerprint,
        (),
        0.0,
        "root",
    )
    with pytest.raises(VmferryError) as caught:
        PeerClient(config, peer).hello()
    assert caught.value.code is codes.NOT_PAIRED
    assert refused_at_once(kvm1, context(ALPN))  # no certificate at all


def test_silent_connections_are_closed(nodes: "Callable[[str], Node]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HANDSHAKE_TIME", 0.3)
    monkeypatch.setattr(serving, "REQUEST_TIME", 0.3)
    kvm1 = nodes("kvm1")
    place = ("127.0.0.1", kvm1.config.port)
    nothing = socket.create_connection(place, LIMIT)
    half = socket.create_connection(place, LIMIT)
    half.sendall(b"\x16\x03\x01\x02\x00")
    quiet = connect(kvm1, context())
    slow = connect(kvm1, context())
    slow.sendall(b"GET /api/v1/version HTTP/1.1\r\n")
    idle = connect(kvm1, context())
    idle.sendall(b"GET /api/v1/version HTTP/1.1\r\nHost: x\r\n\r\n")
    assert idle.recv(12) == b"HTTP/1.1 200"
    for sock in (nothing, half, quiet, slow, idle):
        assert silence(sock) < LIMIT
    assert ask(kvm1, "GET", "/api/v1/version")[0] == 200


def test_dripping_a_request_wins_no_time(nodes: "Callable[[str], Node]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "REQUEST_TIME", 0.5)
    kvm1 = nodes("kvm1")
    with connect(kvm1, context()) as secure:
        secure.settimeout(0.05)
        secure.sendall(b"GET / HTTP/1.1\r\n")
        assert dripping(secure) < LIMIT


def test_oldest_handshake_gives_way(nodes: "Callable[[str], Node]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HANDSHAKES", 3)
    kvm1 = nodes("kvm1")
    place = ("127.0.0.1", kvm1.config.port)
    waiting = [socket.create_connection(place, LIMIT) for _ in range(4)]
    assert silence(waiting.pop(0)) < LIMIT
    assert ask(kvm1, "GET", "/api/v1/version")[0] == 200
    for sock in waiting:
        sock.close()


def test_strangers_are_few(nodes: "Callable[[str], Node]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "STRANGERS", 2)
    kvm1 = nodes("kvm1")
    kvm2 = nodes("kvm2")
    kvm2.pair(kvm1)
    held = [connect(kvm1, context()) for _ in range(2)]
    for sock in held:  # served, so that they count
        sock.sendall(b"GET /api/v1/version HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 200"
    with connect(kvm1, context()):
        assert silence(held.pop(0)) < LIMIT  # the oldest made room
        assert kvm2.peer(kvm1).hello().name == "kvm1"  # hosts are not kept out by them
    held.pop().close()


def test_who_is_known_does_not_give_way_to_strangers(
    nodes: "Callable[[str], Node]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "STRANGERS", 2)
    kvm1 = nodes("kvm1")
    token = kvm1.client.create_token(TokenRequest(role="viewer", expires_in=3600)).token
    request = f"GET /api/v1/host HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    known = connect(kvm1, context())
    known.sendall(request)
    answer = http.client.HTTPResponse(known)
    answer.begin()
    assert (answer.status, bool(answer.read())) == (200, True)
    held = [connect(kvm1, context()) for _ in range(4)]
    assert [silence(sock) < LIMIT for sock in held[:2]] == [True, True]
    known.sendall(request)
    answer = http.client.HTTPResponse(known)
    answer.begin()
    assert answer.status == 200
    for sock in (known, *held):
        sock.close()


def test_hosts_and_users_have_a_share(nodes: "Callable[[str], Node]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "USER", 2)
    kvm1 = nodes("kvm1")
    local = []
    for _ in range(3):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(LIMIT)
        sock.connect(str(kvm1.config.socket))
        sock.sendall(b"GET /api/v1/version HTTP/1.1\r\nHost: x\r\n\r\n")
        local.append(sock)
        assert sock.recv(12) == b"HTTP/1.1 200"
    assert silence(local.pop(0)) < LIMIT
    for sock in local:
        sock.close()


@pytest.mark.parametrize("pause", [0.05, 0.4])
def test_dripping_a_body_wins_no_time(
    nodes: "Callable[[str], Node]", monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    monkeypatch.setitem(gate.BODIES, Audience.STRANGERS, (gate.STRANGER_LIMIT, 0.5))
    monkeypatch.setattr(serving, "LINGER", 0.5)
    kvm1 = nodes("kvm1")
    with connect(kvm1, context()) as secure:
        head = "POST /api/v1/pairing HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 16000\r\n"
        secure.settimeout(pause)
        secure.sendall(f"{head}\r\n".encode())
        assert dripping(secure) < LIMIT


def test_garbage_is_survived(kvm1: "Node") -> None:
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 100):
        sock = socket.create_connection(("127.0.0.1", kvm1.config.port), LIMIT)
        sock.sendall(said)
        assert silence(sock) < LIMIT
    with connect(kvm1, context()) as secure:
        secure.sendall(b"\x00\x01 nonsense\r\n\r\n")
        assert secure.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert ask(kvm1, "GET", "/api/v1/version")[0] == 200


def test_stop_leaves_nothing_open(kvm1: "Node") -> None:
    held = connect(kvm1, context())
    kvm1.stop()
    assert silence(held) < LIMIT
    assert not kvm1.config.socket.exists()
    kvm1.start()
    assert kvm1.client.version().product == "vmferry"


def test_address_that_cannot_be_had_is_named(nodes: "Callable[[str], Node]") -> None:
    kvm1 = nodes("kvm1")
    kvm1.stop()
    with socket.create_server(("127.0.0.1", kvm1.config.port)), pytest.raises(OSError) as caught:
        kvm1.start()
    assert f"127.0.0.1 port {kvm1.config.port}" in str(caught.value)


FOREIGN = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://kvm1:6601"},  # not by TLS
    {"Origin": "https://kvm1:6602", "Host": "kvm1:6601"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/jobs/0001/cancel"),  # without a body
        ("POST", "/migration/enable"),
        ("DELETE", "/hosts/kvm2"),
        ("PUT", "/host/trust"),
        ("PATCH", "/host/settings"),
        ("POST", "/pairing"),
    ],
)
def test_no_page_of_another_site_changes_anything(
    kvm1: "Node", method: str, path: str, headers: dict[str, str]
) -> None:
    token = kvm1.client.create_token(TokenRequest(role="administrator", expires_in=3600)).token
    shown: tuple[dict[str, str], ...] = (
        {"Authorization": f"Bearer {token}"},
        {"Authorization": "Negotiate bm9uZQ=="},
        {},
    )
    for credentials in shown:
        connection = http.client.HTTPConnection("kvm1:6601")
        with closing(connection):
            connection.sock = connect(kvm1, context())
            connection.request(method, f"/api/v1{path}", headers=headers | credentials)
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())["code"]) == (403, "cross-site")
    assert not kvm1.stores.settings.host().migration


def test_a_page_of_the_host_itself_is_no_other_site(kvm1: "Node") -> None:
    token = kvm1.client.create_token(TokenRequest(role="administrator", expires_in=3600)).token
    for headers in ({"Origin": "https://kvm1:6601", "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}):
        connection = http.client.HTTPConnection("kvm1:6601")
        with closing(connection):
            connection.sock = connect(kvm1, context())
            shown = headers | {"Host": "kvm1:6601", "Authorization": f"Bearer {token}"}
            connection.request("POST", "/api/v1/jobs/0001/cancel", headers=shown)
            assert json.loads(connection.getresponse().read())["code"] == "job-unknown"


def test_a_host_that_keeps_its_requests_at_work_keeps_nobody_else_out(
    kvm1: "Node", kvm2: "Node", monkeypatch: pytest.MonkeyPatch
) -> None:
    kvm1.pair(kvm2)
    begun, go_on = Queue[str](), threading.Event()

    def abide(*_: object) -> None:
        begun.put("one")
        go_on.wait(30)
        raise UsageError(codes.BAD_REQUEST, detail="enough")

    monkeypatch.setattr(type(kvm2.made), "challenge", abide, raising=False)
    peer = kvm1.peer(kvm2)

    def ask() -> None:
        with suppress(VmferryError):
            peer.challenge("7f0c8cc5-2d4c-4f4b-9b5a-0123456789ab")

    threads = [threading.Thread(target=ask) for _ in range(60)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(HOST_AT_WORK):
            begun.get(timeout=20)
        assert kvm2.client.host().name == "kvm2"
        assert peer.hello().name == "kvm2"
        assert begun.empty()
    finally:
        go_on.set()
        for thread in threads:
            thread.join(60)
    peer.facts(FactsRequest())  # its turns have come back
