import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core import codes
from vmferry.core.errors import AccessError, InternalError, PreflightError, VmferryError
from vmferry.transfer.transport import hello
from vmferry.transfer.transport.hello import HEAD, Answer, Hello, Proof, Welcome

_NONCE = "0" * 64
_KINDS: list[Any] = [Hello, Answer, Proof, Welcome]

hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
hellos = st.builds(
    Hello,
    versions=st.lists(st.integers(0, 1 << 40), min_size=1, max_size=64),
    features=st.lists(st.text(max_size=8), max_size=8),
    job=st.text(max_size=64),
    session=st.text("0123456789abcdef", min_size=32, max_size=32),
    direction=st.sampled_from(["forward", "back"]),
    index=st.integers(0, 15),
    forward=st.integers(1, 16),
    back=st.integers(1, 16),
    encrypted=st.booleans(),
    nonce=hexes,
)
answers = st.builds(Answer, version=st.integers(), features=st.lists(st.text(max_size=8), max_size=8), nonce=hexes)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(hellos | answers | st.builds(Proof, proof=hexes) | st.builds(Welcome))
def test_every_message_crosses(message: Any) -> None:
    raw = hello.pack(message)
    assert hello.length(raw[:HEAD]) == len(raw) - HEAD
    assert hello.read(type(message), raw[HEAD:]) == message


@given(st.binary(min_size=HEAD, max_size=HEAD))
def test_a_head_is_read_or_refused(head: bytes) -> None:
    try:
        assert 0 < hello.length(head) <= hello.LONGEST
    except InternalError:
        assert not head.startswith(b"VMFY\0\1\0\0\0")


@given(st.binary(max_size=300) | st.text().map(str.encode) | anything.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    for kind in _KINDS:
        try:
            assert isinstance(hello.read(kind, body), kind)
        except VmferryError:
            pass


@given(st.dictionaries(st.sampled_from(["code", "detail", "exit_code", "remedy", "fields", "status"]), anything))
def test_any_refusal_is_an_error(problem: dict[str, Any]) -> None:
    with pytest.raises(VmferryError):
        hello.read(Answer, json.dumps({"refused": problem}).encode())


@given(hellos, st.sampled_from(sorted(Hello.model_fields)), anything)
def test_a_hello_with_a_wrong_field_is_refused(said: Hello, field: str, value: Any) -> None:
    raw = json.loads(said.model_dump_json())
    if type(value) is type(raw[field]):
        return  # the rules for right types: below
    raw[field] = value
    with pytest.raises(InternalError):
        hello.read(Hello, json.dumps(raw).encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("versions", []),
        ("versions", [1] * 65),
        ("versions", [True]),
        ("versions", ["1"]),
        ("job", "x" * 65),
        ("session", "../../etc"),
        ("direction", "sideways"),
        ("index", -1),
        ("index", 16),
        ("index", True),
        ("forward", 0),
        ("back", 17),
        ("nonce", "0" * 63),
        ("encrypted", 1),
    ],
)
def test_a_hello_keeps_to_its_limits(field: str, value: Any) -> None:
    raw: dict[str, Any] = {
        "versions": [1],
        "features": [],
        "job": "job-1",
        "session": "0" * 32,
        "direction": "forward",
        "index": 0,
        "forward": 2,
        "back": 1,
        "encrypted": True,
        "nonce": _NONCE,
    }
    hello.read(Hello, json.dumps(raw).encode())
    raw[field] = value
    with pytest.raises(InternalError):
        hello.read(Hello, json.dumps(raw).encode())


def test_what_a_newer_release_adds_is_passed_over() -> None:
    assert hello.read(Welcome, b'{"welcome": true, "motd": "hi"}') == Welcome()


@given(hellos, st.sets(st.integers(0, 20)), st.sets(st.text(max_size=8)))
def test_the_highest_common_version_and_all_common_features(
    said: Hello, versions: set[int], features: set[str]
) -> None:
    common = versions & set(said.versions)
    if not common:
        with pytest.raises(PreflightError) as caught:
            hello.choose(said, _NONCE, "kvm1", versions, features)
        assert caught.value.code.name == "version-differs"
        return
    answer = hello.choose(said, _NONCE, "kvm1", versions, features)
    assert answer.version == max(common)
    assert set(answer.features) == features & set(said.features)
    hello.check(said, answer)


@given(hellos, answers)
def test_only_what_was_offered_can_be_chosen(said: Hello, answer: Answer) -> None:
    if answer.version in said.versions and set(answer.features) <= set(said.features):
        hello.check(said, answer)
    else:
        with pytest.raises(InternalError):
            hello.check(said, answer)


@given(st.binary(), st.binary(), st.binary(), st.binary())
def test_a_proof_is_for_one_exchange_and_one_side(one: bytes, two: bytes, three: bytes, four: bytes) -> None:
    assert hello.purpose("source", one, two) != hello.purpose("destination", one, two)
    if one + two != three + four:  # each message says its own length, so that they cannot run together
        assert hello.purpose("source", one, two) != hello.purpose("source", three, four)


def test_a_refusal_arrives_as_the_error_it_is() -> None:
    error = AccessError(codes.JOB_KEY_WRONG, job="job-1")
    raw = hello.refusal(error)
    with pytest.raises(AccessError) as caught:
        hello.read(Answer, raw[HEAD:])
    assert caught.value.code is codes.JOB_KEY_WRONG
    assert caught.value.reason == error.reason


def test_a_refusal_that_is_too_long_is_left_out() -> None:
    assert hello.refusal(AccessError(codes.JOB_KEY_WRONG, job="x" * 5000)) == b""
