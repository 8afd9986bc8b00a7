"""CredSSP's acceptor against what strangers may send, in the clear and inside its TLS; tests/lab has the rest."""

import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core import codes
from vmferry.core.errors import AccessError, VmferryError
from vmferry.identity.credssp import STEPS, CredSspAcceptor

pytest.importorskip("spnego")
pytest.importorskip("krb5")


class Keys:
    """Stands in for a keytab: nobody gets as far as Kerberos here."""

    def acceptor(self) -> Any:
        return object()


def acceptor() -> CredSspAcceptor:
    keys: Any = Keys()
    return CredSspAcceptor(keys, "kvm2", b"tls-server-end-point:x")


def feed(one: CredSspAcceptor, tokens: list[bytes]) -> None:
    """Send tokens until one is refused; whatever comes, it is not complete, and only our own errors come of it."""
    for token in tokens[:STEPS]:
        try:
            one.step(token)
        except VmferryError as error:
            assert error.code is codes.CREDSSP_REFUSED, error  # noqa: PT017
            return
        assert not one.complete


@given(st.lists(st.binary(max_size=2000), max_size=5))
def test_what_is_no_tls(tokens: list[bytes]) -> None:
    feed(acceptor(), tokens)


class Client:
    """Speaks the TLS inside CredSSP's messages, and anything inside that."""

    def __init__(self, one: CredSspAcceptor) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out)
        self._one = one
        for _ in range(6):
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._in.write(one.step(self._out.read()) or b"")
        if self._out.pending:  # the last word of TLS 1.3 is the client's
            self._in.write(one.step(self._out.read()) or b"")

    def wrapped(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._out.read()


def request(version: int, *fields: bytes) -> bytes:
    """Write a TSRequest ([MS-CSSP] 2.2.1)."""
    body = bytes([0xA0, 3, 2, 1, version]) + b"".join(fields)
    return b"\x30\x82" + len(body).to_bytes(2, "big") + body


@given(st.lists(st.binary(min_size=1, max_size=500), min_size=1, max_size=4))
def test_what_is_no_credssp_inside_its_tls(messages: list[bytes]) -> None:
    one = acceptor()
    client = Client(one)
    feed(one, [client.wrapped(message) for message in messages])


@given(st.integers(0, 7), st.lists(st.binary(max_size=200), max_size=3))
def test_what_only_looks_like_it(version: int, fields: list[bytes]) -> None:
    one = acceptor()
    client = Client(one)
    feed(one, [client.wrapped(request(version, *fields))])


@pytest.mark.parametrize("version", [2, 3, 4])
def test_versions_that_can_be_relayed_are_refused(version: int) -> None:
    one = acceptor()
    token = b"\x60\x06\x06\x04\x2b\x06\x01\x05"
    nego = bytes(
        [0xA1, len(token) + 8, 0x30, len(token) + 6, 0x30, len(token) + 4, 0xA0, len(token) + 2, 4, len(token)]
    )
    with pytest.raises(AccessError) as caught:
        one.step(Client(one).wrapped(request(version, nego + token)))
    assert caught.value.code is codes.CREDSSP_REFUSED
    assert "version" in caught.value.reason.lower()
