"""Pairing tokens."""

import hashlib
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core import codes
from vmferry.core.errors import UsageError, VmferryError
from vmferry.core.messages.api import PairingRequest
from vmferry.identity import certificates
from vmferry.identity.pairing import Token, redeem

TOKEN = Token("kvm1.example", 6601, "ab" * 32, b"0123456789abcdef")


def test_token_is_one_word_and_comes_back() -> None:
    text = TOKEN.encode()
    assert text.startswith("vmf1-")
    assert not any(character.isspace() for character in text)
    assert Token.decode(f" {text}\n") == TOKEN


def test_new_tokens_differ() -> None:
    assert Token.new("a", 1, "ab" * 32).secret != Token.new("a", 1, "ab" * 32).secret


@pytest.mark.parametrize("cut", [0, 3, 5, 20, -1])
def test_part_of_a_token_is_told(cut: int) -> None:
    with pytest.raises(VmferryError) as caught:
        Token.decode(TOKEN.encode()[:cut])
    assert caught.value.code is codes.BAD_REQUEST
    assert "token" in caught.value.reason


@given(st.text() | st.binary().map(lambda data: "vmf1-" + data.hex()))
def test_nonsense_is_refused_and_nothing_else(text: str) -> None:
    with pytest.raises(VmferryError) as caught:
        Token.decode(text)
    assert caught.value.code is codes.BAD_REQUEST


@pytest.mark.parametrize(
    ("place", "address", "port"),
    [
        ("10.0.0.1", "10.0.0.1", 6601),
        ("10.0.0.1:7000", "10.0.0.1", 7000),
        ("fd00::1", "fd00::1", 6601),
        ("[fd00::1]:7000", "fd00::1", 7000),
    ],
)
def test_another_address(place: str, address: str, port: int) -> None:
    moved = TOKEN.at(place)
    assert (moved.address, moved.port, moved.secret) == (address, port, TOKEN.secret)


@pytest.mark.parametrize("place", [":1", "a:b", "a:0", "a:70000", "[]"])
def test_what_is_no_address(place: str) -> None:
    with pytest.raises(VmferryError):
        TOKEN.at(place)


@pytest.mark.parametrize("address", ["", " ", "kvm1\r\nHost: x", "a\x00b"])
def test_a_token_whose_address_is_none(address: str) -> None:
    with pytest.raises(UsageError):
        Token.decode(Token(address, 6601, "ab" * 32, bytes(16)).encode())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"[" * 30_000, id="deep"),
        pytest.param(b" " * 100_000, id="long"),
        b"no JSON",
        b"\xff",
        b"[]",
        b"null",
        b'{"name": 1}',
    ],
)
@pytest.mark.parametrize("head", ["Content-Length: %d", "Content-Length: %d\r\nConnection: close"])
@pytest.mark.parametrize("status", [200, 403])
def test_a_host_that_answers_what_cannot_be_read(tmp_path: Path, answer: bytes, head: str, status: int) -> None:
    pem, key = certificates.create("kvm1")
    (tmp_path / "pem").write_text(pem + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    said = f"HTTP/1.1 {status} so\r\n{head % len(answer)}\r\n\r\n".encode()

    def serve() -> None:
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as secure:
            asked = b""
            while not asked.endswith(b"}"):
                asked += secure.recv(65536)
            with suppress(OSError):  # whoever asked need not read all of it
                secure.sendall(said + answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
        token = Token("127.0.0.1", listener.getsockname()[1], fingerprint, bytes(16))
        with pytest.raises(VmferryError):
            redeem(token, PairingRequest(secret="00", name="kvm2", port=4600, certificate=pem))
        thread.join(10)
