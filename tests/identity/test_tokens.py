"""API tokens: what is right, what is wrong, and what has ended."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vmferry.core import codes
from vmferry.core.errors import Code, Exit, VmferryError
from vmferry.core.messages.offer import Caller
from vmferry.identity import tokens
from vmferry.identity.access import UserRole
from vmferry.store.database import Database
from vmferry.store.tokens import TokenRow, Tokens


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Tokens]:
    with Database(tmp_path / "vmferry.db") as database:
        yield Tokens(database, lambda: 1000.0)


def refused(code: Code, call: Callable[[], object]) -> VmferryError:
    with pytest.raises(VmferryError) as caught:
        call()
    assert caught.value.code is code
    assert caught.value.exit_code is Exit.ACCESS
    return caught.value


def test_the_word_proves_the_token(store: Tokens) -> None:
    row, word = tokens.issue(store, "ci", UserRole.OPERATOR, 60.0, "root")
    assert (row.name, row.role, row.expires_at, row.created_by) == ("ci", "operator", 1060.0, "root")
    assert tokens.proved(store, word, "kvm1") == row
    found = tokens.login(row.name, row.role, "kvm1")
    assert (found.caller, found.role) == (Caller(name="token ci", host="kvm1", method="token"), UserRole.OPERATOR)


def test_words_differ_and_have_256_random_bits(store: Tokens) -> None:
    words = {tokens.issue(store, None, UserRole.VIEWER, 60.0, "root")[1] for _ in range(50)}
    assert len({word[15:] for word in words}) == 50
    assert all(len(word.partition("-")[2].partition("-")[2]) == 43 for word in words)


def test_the_secret_is_not_at_rest(store: Tokens, tmp_path: Path) -> None:
    _, word = tokens.issue(store, "ci", UserRole.OPERATOR, 60.0, "root")
    secret = word.rpartition("vmft1-")[2][9:].encode()
    for file in tmp_path.iterdir():
        assert secret not in file.read_bytes()


def test_whatever_is_wrong_is_answered_alike(store: Tokens) -> None:
    row, word = tokens.issue(store, "ci", UserRole.OPERATOR, 60.0, "root")
    secret = word[len("vmft1-12345678-") :]
    other = "A" if secret[0] != "A" else "B"
    wrong = ["", word[:-1], word + "A", f"vmft1-{row.id}-{other}{secret[1:]}", f"vmft1-00000000-{secret}", word.upper()]
    said = {str(refused(codes.API_TOKEN_WRONG, lambda one=one: tokens.proved(store, one, "kvm1"))) for one in wrong}  # type: ignore[misc]
    assert len(said) == 1
    assert "ci" not in said.pop()


def test_the_end_is_told_apart(store: Tokens) -> None:
    row = TokenRow("1f3a9c2e", "ci", "operator", "d", 900.0, "root", 1000.0)
    tokens.alive(row, 999.9, "kvm1")
    error = refused(codes.API_TOKEN_EXPIRED, lambda: tokens.alive(row, 1000.0, "kvm1"))
    assert "1970-01-01T00:16:40" in error.reason
    revoked = TokenRow("1f3a9c2e", "ci", "operator", "d", 900.0, "root", 2000.0, 950.0, "ann")
    refused(codes.API_TOKEN_REVOKED, lambda: tokens.alive(revoked, 960.0, "kvm1"))
