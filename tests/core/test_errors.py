import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core import codes
from vmferry.core.errors import CancelledError, Exit, PreflightError, UsageError, VmferryError


def filled(pattern: str) -> dict[str, str]:
    return {name: f"<{name}>" for _, name, _, _ in string.Formatter().parse(pattern) if name}


@pytest.mark.parametrize("name", sorted(VmferryError.registry))
def test_every_code_makes_two_sentences_and_survives_the_wire(name: str) -> None:
    kind, code = VmferryError.registry[name]
    fields = filled(code.reason) | filled(code.remedy)
    error = kind(code, **fields)
    again = VmferryError.from_problem(error.problem())
    assert type(again) is kind
    assert (again.reason, again.remedy, again.exit_code) == (error.reason, error.remedy, kind.exit_code)
    assert error.reason.endswith((".", ">"))  # a question that is a field ends as it likes
    assert error.remedy.endswith((".", "`."))


def test_a_code_that_this_release_does_not_know_keeps_its_words() -> None:
    problem = {
        "code": "from-the-future",
        "detail": "A {brace} broke.",
        "remedy": "Mend it.",
        "exit_code": 3,
        "status": 409,
    }
    error = VmferryError.from_problem(problem)
    assert isinstance(error, PreflightError)
    assert (error.reason, error.remedy, error.code.status) == ("A {brace} broke.", "Mend it.", 409)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["self", "code", "vm"]), inner),
    max_leaves=8,
)
_KEYS = st.sampled_from(["code", "detail", "exit_code", "remedy", "fields", "status"])


@given(st.dictionaries(_KEYS, _VALUES), st.sampled_from(["", *sorted(VmferryError.registry)]))
def test_whatever_a_peer_sends_an_error_comes_of_it(problem: dict[str, Any], name: str) -> None:
    error = VmferryError.from_problem(problem | {"code": name} if name else problem)
    assert VmferryError.from_problem(list(problem)).code.name == "unknown"
    assert isinstance(error.problem()["exit_code"], int)
    str(error)


def test_who_cancelled_is_always_said() -> None:
    for fields in ({}, {"caller": 5}, {"caller": "ann"}):
        error = VmferryError.from_problem({"code": "cancelled-anew", "exit_code": 6, "fields": fields})
        assert isinstance(error, CancelledError) == (fields == {"caller": "ann"})
    named = VmferryError.from_problem({"code": "cancelled", "exit_code": 6, "fields": {}})
    assert not isinstance(named, CancelledError)


def test_a_name_is_defined_once() -> None:
    with pytest.raises(ValueError, match="vm-unknown"):
        UsageError.define("vm-unknown", "again", "again")


def test_exit_codes_are_those_that_people_script() -> None:
    assert [int(code) for code in Exit] == [0, 1, 2, 3, 4, 5, 6]
    assert UsageError(codes.VM_UNKNOWN, vm="a", host="b").exit_code is Exit.USAGE


def test_a_field_that_is_a_sentence_leaves_one_full_stop() -> None:
    for why in ("the disk is full", "The disk is full."):
        error = VmferryError(codes.LINK_LOST, peer="kvm2", phase="copying", why=why, vm="web01", host="kvm1")
        assert error.reason.endswith("disk is full.")
        assert ".." not in error.reason
    assert "a/../b" in UsageError(codes.BAD_REQUEST, detail="a/../b is no path").reason
    assert UsageError(codes.BAD_REQUEST, detail="and so on...").reason.endswith("on....")


def test_a_command_in_a_remedy_can_be_typed_as_it_is_written() -> None:
    error = PreflightError(codes.MANAGED_SAVE, vm="web 01; reboot")
    assert "`virsh managedsave-remove 'web 01; reboot'`" in error.remedy
    assert error.reason.startswith("web 01; reboot is running")
