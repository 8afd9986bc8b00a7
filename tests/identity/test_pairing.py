"""Pairing tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core import codes
from vmferry.core.errors import VmferryError
from vmferry.identity.pairing import Token

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
