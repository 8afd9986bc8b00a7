"""What of a request is written down."""

import json

from hypothesis import given
from hypothesis import strategies as st

from vmferry.core.auditlog.record import LONGEST, AuditRecord, on_behalf_method, on_behalf_of, read, told
from vmferry.core.text import printable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_only_what_is_named_is_told() -> None:
    asked = {"vm": "web01", "live_xml": "<domain/>", "secret": "s", "token": "t", "certificate": "PEM", "job_key": "k"}
    assert told(asked) == {"vm": "web01"}
    assert told({"destination": "kvm2", "bandwidth": None, "include_storage": True, "max_downtime": 0.3}) == {
        "destination": "kvm2",
        "include_storage": True,
        "max_downtime": 0.3,
    }
    assert told({"callers": ["ann", "bob"]}) == {"callers": '["ann", "bob"]'}


def test_what_is_long_or_not_to_be_shown_is_cut_and_masked() -> None:
    assert told({"reason": "a\n\x1b[2J" + "b" * 1000}) == {"reason": ("a??[2J" + "b" * 1000)[: LONGEST - 3] + "..."}
    assert printable("\ud800é") == "?é"


def test_for_whom_a_host_asks() -> None:
    assert on_behalf_of({"caller": {"name": "ann\n", "host": "kvm1"}}) == "ann?"
    assert on_behalf_of({"caller": "ann"}) is None
    assert on_behalf_of({}) is None
    assert on_behalf_method({"caller": {"name": "ann", "method": "kerberos\n"}}) == "kerberos?"
    assert on_behalf_method({"caller": "ann"}) is None


def test_bodies_that_are_no_objects_say_nothing() -> None:
    for body in (b"", b"[]", b"{", b"\xff", b"[" * 100_000):
        assert read(body) == {}


@given(st.dictionaries(st.sampled_from(["vm", "reason", "networks", "port", "token"]), JSON))
def test_every_record_can_be_written_and_read_again(values: dict[str, object]) -> None:
    record = AuditRecord(
        at="2026-01-01T00:00:00Z",
        host="kvm1",
        action=None,
        request="POST /",
        caller=None,
        method="none",
        address="10.0.0.1",
        about=told(read(json.dumps(values).encode())),
        result="ok",
        status=200,
    )
    line = record.model_dump_json(exclude_defaults=True)
    assert "\n" not in line
    assert AuditRecord.model_validate_json(line) == record
