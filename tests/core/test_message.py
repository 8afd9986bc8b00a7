"""Every message between hosts: what a newer release adds, what it must not carry, what it leaves out."""

import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from vmferry.core import message
from vmferry.core.auditlog import chain
from vmferry.core.errors import PreflightError, VmferryError
from vmferry.core.message import Message, Named, Value
from vmferry.core.messages import api, bandwidth, diagnosis, finding, offer, probe, signin
from vmferry.core.messages.finding import Severity
from vmferry.core.move import messages as worker
from vmferry.core.move.messages import WorkerMessage
from vmferry.core.policy import settings
from vmferry.core.text import LONGEST, cleaned, printable

MODULES = (api, bandwidth, chain, diagnosis, offer, probe, signin, worker)
HOSTILE = "a\x1b]0;owned\x07b\nc\u202ed\u2028e\ud800f\x00g\x7fh\u200bi"


def _messages() -> list[type[Message]]:
    found = {
        kind
        for module in MODULES
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Message) and kind not in (Message, Named, WorkerMessage)
    }
    return sorted(found, key=lambda kind: (kind.__name__, kind.__module__))


MESSAGES = _messages()


def _models(kind: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """Collect a model and those of its fields."""
    if kind not in seen:
        seen.add(kind)
        for field in kind.model_fields.values():
            for inner in _inner(field.annotation):
                _models(inner, seen)
    return seen


def _inner(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _inner(part)


MODELS = sorted(
    set().union(*(_models(kind, set()) for kind in MESSAGES)), key=lambda kind: (kind.__name__, kind.__module__)
)


def _sample(annotation: Any, text: str) -> Any:
    """Make a JSON value of a type, with `text` for every text in it."""
    if get_origin(annotation) is not None and hasattr(annotation, "__metadata__"):
        return _sample(get_args(annotation)[0], text)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is list:
        return [_sample(parts[0], text)]
    if origin is dict:
        return {str(_sample(parts[0], text)): _sample(parts[1], text)}
    if parts and origin is not None and type(None) in parts:
        return _sample(next(part for part in parts if part is not type(None)), text)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {name: _sample(field.annotation, text) for name, field in annotation.model_fields.items()}
    for kind, value in ((bool, True), (int, 7), (float, 1.5)):
        if annotation is kind:
            return value
    if isinstance(annotation, type) and hasattr(annotation, "__members__"):
        return next(iter(annotation.__members__.values())).value
    return text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield str(name)
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _has_text(annotation: Any) -> bool:
    return annotation is str or any(_has_text(part) for part in get_args(annotation))


TEXTS = [
    (kind, name, field)
    for kind in MODELS
    for name, field in kind.model_fields.items()
    if _has_text(field.rebuild_annotation())
]


NUMBERS = [
    (kind, name, field, number)
    for kind in MODELS
    for name, field in kind.model_fields.items()
    for number, type_ in ((float("nan"), float), (float("inf"), float), (-float("inf"), float), (1 << 63, int))
    if type_ in (field.annotation, *get_args(field.annotation))
]


def test_all_messages_are_here() -> None:
    """The peer routes name no model that is not held to these rules."""
    from vmferry.agent.http.app import _routes

    named = {kind.__name__ for kind in MESSAGES}
    paths = {path: one for path, one in _routes("kvm1").openapi()["paths"].items() if "/peer/" in path}
    assert len(paths) > 15
    for path in (*paths.values(), *(_routes("kvm1").openapi()["paths"][f"/api/v1{one}"] for one in OTHERS)):
        for operation in path.values():
            used = json.dumps([operation.get("requestBody"), operation["responses"].get("200")])
            for reference in [part.split('"')[0] for part in used.split("#/components/schemas/")[1:]]:
                assert reference.split("__")[-1] in named, reference


OTHERS = ("/pairing", "/signin", "/signin/credssp")


@pytest.mark.parametrize("kind", MODELS)
def test_what_a_newer_release_adds_is_passed_over(kind: type[BaseModel]) -> None:
    assert kind.model_config.get("extra") in (None, "ignore")


@pytest.mark.parametrize("kind", MESSAGES)
def test_what_must_be_understood_and_is_not_is_refused(kind: type[Message]) -> None:
    with pytest.raises(PreflightError) as refused:
        message.read(kind, {"requires": ["post-copy"]}, "kvm2")
    assert (refused.value.code.name, refused.value.fields) == ("release-older", {"host": "kvm2", "what": "post-copy"})


def test_a_word_that_a_newer_release_has_is_named() -> None:
    with pytest.raises(PreflightError) as refused:
        message.read(bandwidth.BandwidthRequest, {"certificate": "", "encryption": "quantum", "networks": []}, "kvm2")
    assert refused.value.fields["what"] == "encryption quantum"
    with pytest.raises(VmferryError, match="protocol"):
        message.read(bandwidth.BandwidthRequest, {"certificate": 5, "encryption": "off"}, "kvm2")


def test_words_of_a_newer_release_that_do_no_harm_are_taken() -> None:
    seen = {"code": "new", "detail": "", "source": "", "destination": "", "remedy": "", "fields": {}}
    assert finding.Finding.model_validate(seen | {"severity": "hints"}).severity is Severity.WARNS
    known = {"name": "ann", "host": "kvm1"}
    assert offer.Caller.model_validate(known | {"method": "unix"}).method is offer.CallerMethod.UNIX
    assert offer.Caller.model_validate(known | {"method": "browser"}).method == "browser"
    told = message.read(api.VerdictAnswer, {"verdict": "postponed"}, "kvm2")
    assert told.verdict is api.KnownVerdict.UNDECIDED
    with pytest.raises(VmferryError, match="verdict 7"):
        message.read(api.VerdictAnswer, {"verdict": 7}, "kvm2")
    facts = {
        "host": {"uuid": "7f0c8cc5-2d4c-4f4b-9b5a-0123456789ab"},
        "encryption": "quantum",
        "addresses": [],
        "findings": [],
    }
    assert diagnosis.Facts.model_validate(facts).encryption is settings.Protection.REQUIRED
    asked = {"authentication": "kerberos", "name": "kvm1", "reach": ":1", "certificate": "", "proof": ""}
    tickets = {"migration": "aGk=", "observing": "aGk="}
    assert signin.SignIn.model_validate(asked | {"tokens": tickets}).tokens == {"migration": "aGk="}


def test_what_has_its_default_is_not_sent() -> None:
    assert probe.ProbeRequest().wire() == {}
    assert probe.ProbeRequest(networks=["10.0.0.0/8"]).wire() == {"networks": ["10.0.0.0/8"]}
    assert offer.Hold(admitted=True).wire() == {"admitted": True}


def test_the_options_that_a_person_gives_stay_strict() -> None:
    assert offer.MoveOptions.model_validate({"new_option": True}) == offer.MoveOptions()
    for kind in (api.MoveRequest, api.CheckRequest):
        with pytest.raises(ValidationError):
            kind.model_validate({"destination": "kvm2", "new_option": True})


@pytest.mark.parametrize(("kind", "name", "field"), TEXTS, ids=[f"{kind.__name__}-{name}" for kind, name, _ in TEXTS])
def test_no_text_of_a_peer_can_harm_a_terminal(kind: type[BaseModel], name: str, field: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())
    for text in (HOSTILE, "x\x1b[2J", "x" * (8 << 20)):
        try:
            taken = adapter.dump_python(adapter.validate_python(_sample(field.annotation, text)), mode="json")
        except ValidationError:
            continue  # refused
        for seen in _texts(taken):
            assert "\x1b" not in seen
            assert len(seen) <= LONGEST
            assert seen.isprintable()


@pytest.mark.parametrize(
    ("kind", "name", "field", "number"),
    NUMBERS,
    ids=[f"{kind.__name__}-{name}-{number}" for kind, name, _, number in NUMBERS],
)
def test_no_number_of_a_peer_is_beyond_what_can_be_kept(
    kind: type[BaseModel], name: str, field: Any, number: float
) -> None:
    with pytest.raises(ValidationError) as refused:
        kind.model_validate({name: number})
    assert (field.validation_alias or name,) in [error["loc"] for error in refused.value.errors()]


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_no_port_of_a_peer_is_beyond_what_a_socket_takes(port: int) -> None:
    with pytest.raises(ValidationError):
        offer.Address(host="10.0.0.1", port=port)


def test_printable() -> None:
    assert printable("plain ünïcode") == "plain ünïcode"
    assert printable("a\nb\tc\x1b[0m\u202e") == "a?b?c?[0m?"
    assert printable("x" * 300, 200) == "x" * 197 + "..."


def test_cleaned_ends() -> None:
    deep: Any = "\x1b"
    for _ in range(100):
        deep = [deep, {"\n": deep}] if len(str(deep)) < 2000 else [deep]
    assert "\x1b" not in json.dumps(cleaned(deep), ensure_ascii=False)
    assert cleaned([float("nan"), float("inf"), 1.5]) == [None, None, 1.5]
    assert cleaned({"a\n": [1, None, True, "b\n"]}) == {"a?": [1, None, True, "b?"]}


@pytest.mark.parametrize(
    "text", ["{", b"\xff", "", "NaN", '{"a": -Infinity}', "[" * 100_000, '{"a":' * 100_000, "9" * 5000], ids=range(8)
)
def test_what_is_no_json(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        message.load(text)


def test_errors_of_peers_are_printable() -> None:
    error = VmferryError.from_problem({"code": "x", "detail": "a\x1b]2;b\nc", "fields": {"vm": "\u202e"}})
    assert str(error) == "a?]2;b?c"
    assert error.fields == {"vm": "?"}


def test_all_values_of_messages_are_values() -> None:
    """So that a part of a message is found here however it comes in."""
    assert issubclass(offer.MoveOptions, Value)
    assert issubclass(finding.Finding, Value)


def test_what_looks_like_bytes_is_bytes() -> None:
    key = "ab" * 32
    assert bandwidth.BandwidthOpening(id="a", key=key, certificate="", addresses=[]).key == key
    for wrong in ("", "ab", key + "ab", "a" * 63, f"{key}\n", key.upper()):
        with pytest.raises(ValidationError):
            bandwidth.BandwidthOpening(id="a", key=wrong, certificate="", addresses=[])
    for wrong in ("abc", "AB", "ab\n", "0x"):
        with pytest.raises(ValidationError):
            offer.Challenge(nonce=wrong)
    for wrong in ("A", "A===", "AA=A", "=", "AAAA\n"):
        with pytest.raises(ValidationError):
            signin.CredSspAnswer(session="", token=wrong)
    assert signin.CredSspAnswer(session="", token="AA==").token == "AA=="
