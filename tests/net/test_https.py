"""The client that speaks to other hosts: what it hears, and what it makes of what is no answer."""

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from vmferry.core.errors import VmferryError
from vmferry.identity import certificates
from vmferry.net import https, tls
from vmferry.net.https import HostConnection

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


def files(folder: Path) -> tuple[Path, Path]:
    """Write a new certificate and its key."""
    chain, key = folder / "one.pem", folder / "one.key"
    for path, text in zip((chain, key), certificates.create("kvm2"), strict=True):
        path.write_text(text)
    return chain, key


@contextmanager
def answering(folder: Path, *answers: bytes) -> Iterator[int]:
    """Run a TLS server that answers the requests of one connection, each with the next of these."""
    context = tls.server()
    context.load_cert_chain(*files(folder))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError), listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as secure:
            for answer in answers:
                heard = b""
                while b"\r\n\r\n" not in heard:
                    part = secure.recv(4096)
                    if not part:
                        return
                    heard += part
                secure.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        assert not thread.is_alive()


def body(text: bytes) -> bytes:
    return ANSWER % (len(text), text)


def test_requests_on_one_connection(tmp_path: Path) -> None:
    wrong = b'{"code": "vm-unknown", "detail": "kvm2 has no VM x.", "fields": {}}'
    problem = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(wrong), wrong)
    none = b"HTTP/1.1 204 No Content\r\n\r\n"
    with (
        answering(tmp_path, body(b'{"a": 1}'), none, problem) as port,
        HostConnection("127.0.0.1", port, tls.client(), None) as connection,
    ):
        shown = ssl.DER_cert_to_PEM_cert(connection.certificate)
        assert certificates.fingerprint(shown) == certificates.fingerprint((tmp_path / "one.pem").read_text())
        assert connection.request("GET", "/version") == {"a": 1}
        assert connection.request("GET", "/version") == {}
        with pytest.raises(VmferryError, match="kvm2 has no VM x"):
            connection.request("GET", "/version")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (body(b"[1]"), "not an object"),
        (body(b"{"), ""),
        (body(b'{"a": "' + b"x" * 2000 + b'"}'), "too long"),
        (b"SSH-2.0-x\r\n\r\n", ""),
        (b"", "without an answer"),
    ],
    ids=["list", "no json", "long", "no http", "closed"],
)
def test_what_is_no_answer(answer: bytes, why: str, tmp_path: Path) -> None:
    with (
        answering(tmp_path, answer) as port,
        HostConnection("127.0.0.1", port, tls.client(), None, largest=1000) as connection,
    ):
        with pytest.raises(https.FAILURES) as caught:
            connection.request("GET", "/version")
        error = https.unreachable("kvm2", "127.0.0.1", port, caught.value)
        assert why in error.fields["why"]
        assert error.fields["why"]


def test_a_connection_is_never_made_anew_without_tls(tmp_path: Path) -> None:
    last = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    with (
        answering(tmp_path, last) as port,
        HostConnection("127.0.0.1", port, tls.client(), None) as connection,
    ):
        assert connection.request("GET", "/version") == {}
        with pytest.raises(https.FAILURES):
            connection.request("GET", "/version")


def test_a_certificate_of_somebody_else_is_refused(tmp_path: Path) -> None:
    other, _ = certificates.create("kvm2")
    with answering(tmp_path) as port, pytest.raises(ssl.SSLCertVerificationError):
        HostConnection("127.0.0.1", port, tls.client(other, names=False), None)


def test_why_nothing_is_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(OSError) as caught:
        HostConnection("127.0.0.1", port, tls.client(), None)
    assert https.unreachable("kvm2", "127.0.0.1", port, caught.value).reason == (
        f"kvm2 does not answer at 127.0.0.1 port {port}: Connection refused."
    )
    assert https.unreachable("kvm2", "a", 1, TimeoutError()).fields["why"] == "no answer in time"


@pytest.mark.parametrize("make", [tls.client, tls.server])
def test_contexts(make: Callable[..., ssl.SSLContext]) -> None:
    assert make().minimum_version is ssl.TLSVersion.TLSv1_3
    assert make().verify_mode is ssl.CERT_NONE
    known = make(certificates.create("kvm1")[0])
    assert known.verify_mode is ssl.CERT_REQUIRED
    assert known.minimum_version is ssl.TLSVersion.TLSv1_3
    assert make("").verify_mode is ssl.CERT_REQUIRED  # nobody is known yet, and nobody is let in
    assert tls.server().num_tickets == 0
    with pytest.raises(ssl.SSLError):
        make("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")


def test_contexts_are_made_in_one_place() -> None:
    source = Path(tls.__file__).parents[1]
    others = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if re.search(r"ssl\.SSLContext\(|create_default_context|minimum_version", path.read_text())
    }
    assert others == {"net/tls.py"}
