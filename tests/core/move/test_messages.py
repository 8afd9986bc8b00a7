"""What the workers say to each other: as releases without these types wrote it, as this one does, and all else."""

import json
from base64 import b64encode
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core import codes
from vmferry.core.errors import PreflightError, VmferryError
from vmferry.core.job import Role
from vmferry.core.message import load
from vmferry.core.move import messages
from vmferry.core.move.messages import (
    Abort,
    Bye,
    Cancel,
    Define,
    Defined,
    Failed,
    FileReady,
    Finished,
    FromDestination,
    FromSource,
    Go,
    Medium,
    NotRedefined,
    Redefined,
    Stuck,
    Went,
    WorkerMessage,
)
from vmferry.core.text import cleaned

PROBLEM = VmferryError(codes.LINK_LOST, peer="kvm2", phase="copying", why="reset", vm="web01", host="kvm1").problem()
DIGEST = "ab" * 32
KINDS = {Role.SOURCE: get_args(FromSource), Role.DESTINATION: get_args(FromDestination)}
ALL = [(sender, kind) for sender, kinds in KINDS.items() for kind in kinds]

# Each message as the releases before this module sent it, with all its properties.
DEFINED = Define(xml=("PGE+", "PC9hPg=="), autostart=True)
SENT: list[tuple[Role, dict[str, Any], WorkerMessage]] = [
    (Role.SOURCE, {"do": "go"}, Go()),
    (Role.SOURCE, {"do": "go", "suspended": True}, Go(suspended=True)),
    (Role.SOURCE, {"do": "go", "suspended": False}, Go()),
    (Role.SOURCE, {"do": "abort", "why": "reset", "cancelled_by": ""}, Abort(why="reset")),
    (Role.SOURCE, {"do": "abort", "why": "x", "cancelled_by": "ann"}, Abort(why="x", cancelled_by="ann")),
    (Role.SOURCE, {"do": "medium", "target": "sda", "digest": DIGEST}, Medium(target="sda", digest=DIGEST)),
    (Role.SOURCE, {"do": "define", "xml": ["PGE+", "PC9hPg=="], "autostart": True}, DEFINED),
    (Role.SOURCE, {"do": "define", "xml": None, "autostart": False}, Define(xml=None)),
    (Role.SOURCE, {"do": "bye"}, Bye()),
    (Role.DESTINATION, {"do": "file", "target": "next-vdb"}, FileReady(target="next-vdb")),
    (Role.DESTINATION, {"do": "finished", "reply": DIGEST}, Finished(reply=DIGEST)),
    (Role.DESTINATION, {"do": "went"}, Went()),
    (Role.DESTINATION, {"do": "defined"}, Defined()),
    (Role.DESTINATION, {"do": "stuck", "problem": PROBLEM}, Stuck(problem=PROBLEM)),
    (Role.DESTINATION, {"do": "failed", "problem": PROBLEM}, Failed(problem=PROBLEM)),
    (Role.DESTINATION, {"do": "cancel", "caller": "ann"}, Cancel(caller="ann")),
    (Role.DESTINATION, {"do": "redefined"}, Redefined()),
    (Role.DESTINATION, {"do": "not-redefined", "problem": PROBLEM}, NotRedefined(problem=PROBLEM)),
]


def came(said: Any) -> Any:
    """Return what of a JSON value comes to the other worker (transfer/session/messages.py)."""
    return cleaned(load(json.dumps(said)))


def refusal(said: dict[str, Any], sender: Role) -> VmferryError:
    with pytest.raises(VmferryError) as refused:
        messages.read(said, sender, "kvm2")
    return refused.value


@pytest.mark.parametrize(("sender", "said", "meant"), SENT)
def test_what_was_sent_is_read_as_it_was_meant(sender: Role, said: dict[str, Any], meant: WorkerMessage) -> None:
    assert messages.read(came(said), sender, "kvm2") == meant


@pytest.mark.parametrize(("sender", "said", "meant"), SENT)
def test_what_is_sent_is_what_an_older_release_reads(sender: Role, said: dict[str, Any], meant: WorkerMessage) -> None:
    """It takes what is missing for nothing: false, no text."""
    now = messages.write(meant)
    assert {name: value or None for name, value in said.items()} == {name: now.get(name) or None for name in said} | (
        {"xml": said["xml"]} if "xml" in said else {}
    )
    assert set(now) <= set(said)


def test_each_message_is_here() -> None:
    assert {type(meant) for _, _, meant in SENT} == {kind for _, kind in ALL}
    assert len({kind.do for _, kind in ALL}) == len(ALL)


TEXT = st.text(max_size=50)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
NAME = st.text(st.characters(categories=["L", "N"]), max_size=20)
OBJECT = st.dictionaries(TEXT, JSON, max_size=4)
PARTS = st.binary(max_size=60).map(lambda data: (b64encode(data).decode(),))
MADE = st.one_of(
    st.builds(Go, suspended=st.booleans()),
    st.builds(Abort, why=TEXT, cancelled_by=TEXT),
    st.builds(Medium, target=NAME, digest=NAME),
    st.builds(Define, xml=st.none() | PARTS, autostart=st.booleans()),
    st.builds(FileReady, target=NAME),
    st.builds(Finished, reply=NAME),
    st.builds(Cancel, caller=TEXT),
    *(st.builds(kind, problem=OBJECT) for kind in (Stuck, Failed, NotRedefined)),
    st.sampled_from([Bye(), Went(), Defined(), Redefined()]),
)


@given(MADE)
def test_what_is_written_is_read_as_the_same(meant: WorkerMessage) -> None:
    sender = Role.SOURCE if isinstance(meant, FromSource) else Role.DESTINATION
    assert messages.read(came(messages.write(meant)), sender, "kvm2") == meant


PROPERTIES = sorted({name for _, said, _ in SENT for name in said})


@given(st.sampled_from(list(Role)), st.sampled_from([kind.do for _, kind in ALL]), JSON)
def test_whatever_comes_is_read_or_refused(sender: Role, name: str, said: Any) -> None:
    body = {**dict.fromkeys(PROPERTIES, said), "do": name}
    found, error = None, None
    try:
        found = messages.read(came(body), sender, "kvm2")
    except VmferryError as refused:
        error = refused
    if error is None:
        assert isinstance(found, KINDS[sender])
    else:
        assert error.code is codes.PROTOCOL
        assert str(error).isprintable()


@pytest.mark.parametrize(("sender", "said", "meant"), SENT)
def test_a_property_of_a_later_release_is_passed_over(sender: Role, said: dict[str, Any], meant: WorkerMessage) -> None:
    assert messages.read({**said, "later": {"x": 1}, "optional": False}, sender, "kvm2") == meant


@pytest.mark.parametrize(("sender", "said"), [(sender, said) for sender, said, _ in SENT])
def test_what_is_required_and_not_known_is_refused(sender: Role, said: dict[str, Any]) -> None:
    error = refusal({**said, "requires": ["post-copy"]}, sender)
    assert isinstance(error, PreflightError)
    assert (error.code, error.fields["what"]) == (codes.RELEASE_OLDER, "post-copy")


@pytest.mark.parametrize(("sender", "kind"), ALL)
def test_a_property_of_another_type_or_none_is_refused(sender: Role, kind: type[WorkerMessage]) -> None:
    whole = next(said for _, said, meant in SENT if type(meant) is kind and len(said) > len(kind.model_fields) - 1)
    for name, field in kind.model_fields.items():
        others: tuple[Any, ...] = (5, "no", {"a": 1}, [[]])
        for wrong in others:
            if isinstance(whole.get(name), type(wrong)):
                continue
            error = refusal({**whole, name: wrong}, sender)
            assert error.code is codes.PROTOCOL
            assert name in error.reason
        if field.is_required():
            error = refusal({one: value for one, value in whole.items() if one != name}, sender)
            assert error.code is codes.PROTOCOL


@pytest.mark.parametrize("name", ["pause", "", "GO", None, 7, [], {}])
@pytest.mark.parametrize("sender", list(Role))
def test_a_message_that_nobody_knows_is_refused(sender: Role, name: Any) -> None:
    assert refusal({"do": name}, sender).code is codes.PROTOCOL
    assert refusal({}, sender).code is codes.PROTOCOL


@pytest.mark.parametrize(("sender", "kind"), ALL)
def test_a_message_of_the_other_end_is_refused(sender: Role, kind: type[WorkerMessage]) -> None:
    other = Role.DESTINATION if sender is Role.SOURCE else Role.SOURCE
    error = refusal({"do": kind.do}, other)
    assert (error.code, kind.do in error.reason) == (codes.PROTOCOL, True)


@pytest.mark.parametrize("sender", list(Role))
def test_a_message_of_a_later_release_that_need_not_be_understood_is_passed_over(sender: Role) -> None:
    assert messages.read({"do": "hint", "optional": True, "rate": 5}, sender, "kvm2") is None
    for no in (False, 1, "true", None):
        assert refusal({"do": "hint", "optional": no}, sender).code is codes.PROTOCOL
    assert refusal({"optional": True}, sender).code is codes.PROTOCOL


def test_what_need_not_be_understood_counts_only_where_it_is_not_known() -> None:
    assert messages.read({"do": "go", "optional": True}, Role.SOURCE, "kvm2") == Go()
    assert refusal({"do": "medium", "optional": True}, Role.SOURCE).code is codes.PROTOCOL
