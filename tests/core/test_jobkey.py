import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vmferry.core import jobkey

KEY = "ab" * 32
PARTS = ("job-1", "aa" * 32, "bb" * 32, "control")


def test_keys_differ() -> None:
    assert len({jobkey.new() for _ in range(100)}) == 100


def test_a_proof_is_accepted() -> None:
    key = jobkey.new()
    assert jobkey.check(key, *PARTS, jobkey.proof(key, *PARTS))


def test_a_proof_stays_the_same_for_ever() -> None:
    """Hosts of different releases must agree."""
    assert jobkey.proof(KEY, *PARTS) == "ae0141501e4ed9f6cd5740ff5e7b21ea67380490e095bf029e1f978eeb23619b"


@given(st.text(), st.text(), st.text(), st.text(), st.text())
def test_anything_else_is_refused(job: str, source: str, destination: str, purpose: str, shown: str) -> None:
    right = jobkey.proof(KEY, job, source, destination, purpose)
    assert jobkey.check(KEY, job, source, destination, purpose, right)
    assume(shown != right)
    assert not jobkey.check(KEY, job, source, destination, purpose, shown)
    assert not jobkey.check("cd" * 32, job, source, destination, purpose, right)


@given(st.lists(st.text(), min_size=4, max_size=4), st.lists(st.text(), min_size=4, max_size=4))
def test_a_proof_holds_for_one_use_only(one: list[str], other: list[str]) -> None:
    assume(one != other)
    assert jobkey.proof(KEY, *one) != jobkey.proof(KEY, *other)


def test_parts_do_not_run_together() -> None:
    assert jobkey.proof(KEY, "ab", "c", "d", "e") != jobkey.proof(KEY, "a", "bc", "d", "e")


@pytest.mark.parametrize("key", ["", "zz", "ab" * 31])
def test_a_key_that_is_none_is_a_fault_of_ours(key: str) -> None:
    with pytest.raises(ValueError):
        jobkey.proof(key, *PARTS)
