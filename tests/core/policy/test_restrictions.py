"""To what operators are limited."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vmferry.core.errors import UsageError
from vmferry.core.policy.restrictions import MOST, Restriction, add, against, remove

WEB = Restriction(who="ann", vms=["web*"], to=["kvm2"])
DB = Restriction(who="@dba", vms=["db01"], to=["kvm3"])


@pytest.mark.parametrize(
    ("names", "vm", "destination", "free"),
    [
        ({"ann"}, "web01", "kvm2", True),
        ({"ann"}, "web01", "kvm3", False),
        ({"ann"}, "db01", "kvm2", False),
        ({"ann"}, "WEB01", "kvm2", False),
        ({"ann", "@dba"}, "db01", "kvm3", True),
        ({"ann", "@dba"}, "db01", "kvm2", False),  # united, not mixed
        ({"bob"}, "db01", "kvm9", True),
    ],
)
def test_limits(names: set[str], vm: str, destination: str, free: bool) -> None:
    assert (against([WEB, DB], names.__contains__, vm, destination) == []) is free


@given(st.lists(st.builds(Restriction, who=st.sampled_from(["ann", "@web", "bob"]))), st.text(), st.text())
def test_a_limit_to_everything_is_none(made: list[Restriction], vm: str, destination: str) -> None:
    assert against(made, {"ann", "@web"}.__contains__, vm, destination) == []


@given(st.sampled_from(["web01", "db01", "app"]), st.sampled_from(["kvm2", "kvm3"]))
def test_another_limit_never_takes_away(vm: str, destination: str) -> None:
    def ann(who: str) -> bool:
        return who in ("ann", "@dba")

    if not against([WEB], ann, vm, destination):
        assert not against([DB, WEB], ann, vm, destination)


@pytest.mark.parametrize("wrong", [{"vms": []}, {"vms": [""]}, {"to": []}, {"who": ""}, {"who": "a\n"}])
def test_what_is_no_limit(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Restriction.model_validate({"who": "ann"} | wrong)


def test_lists() -> None:
    assert add([WEB], DB) == [WEB, DB]
    assert add([WEB, DB], WEB) == [WEB, DB]
    assert remove([WEB, DB, WEB], "ann") == [DB]
    with pytest.raises(UsageError):
        add([Restriction(who=f"token {number}") for number in range(MOST)], WEB)
