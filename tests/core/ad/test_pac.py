"""What a ticket says of its user: built as [MS-PAC] has it, read back, and damaged."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core.ad import pac

DOMAIN = "S-1-5-21-1-2-3"
OTHER = "S-1-5-21-9-8-7"
ENABLED = 0x7
texts = st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF), max_size=20)
rids = st.lists(st.integers(1000, 2**31), max_size=5)


class Writer:
    """Writes NDR: fixed parts, and then what they point to."""

    def __init__(self) -> None:
        self.fixed = b""
        self.rest: list[bytes] = []

    def words(self, *numbers: int) -> None:
        self.fixed += struct.pack(f"<{len(numbers)}I", *numbers)

    def string(self, text: str, pointer: int = 1) -> None:
        data = text.encode("utf-16-le")
        self.fixed += struct.pack("<HHI", len(data), len(data), pointer)
        self.rest.append(string(data) if pointer else b"")

    def data(self) -> bytes:
        body = struct.pack("<I", 1) + self.fixed + b"".join(self.rest)
        return struct.pack("<BBHI", 1, 0x10, 8, 0xCCCCCCCC) + struct.pack("<II", len(body), 0) + body


def string(data: bytes) -> bytes:
    count = len(data) // 2
    return struct.pack("<III", count, 0, count) + data + bytes(-len(data) % 4)


def sid(text: str) -> bytes:
    _, revision, authority, *rest = text.split("-")
    head = bytes([int(revision), len(rest)]) + int(authority).to_bytes(6, "big")
    return struct.pack("<I", len(rest)) + head + struct.pack(f"<{len(rest)}I", *map(int, rest))


def groups(found: list[int], attributes: int = ENABLED) -> bytes:
    return struct.pack("<I", len(found)) + b"".join(struct.pack("<II", rid, attributes) for rid in found)


def logon(
    name: str = "ann",
    members: list[int] | None = None,
    extra: list[tuple[str, int]] | None = None,
    resource: list[int] | None = None,
    flags: int = 0x210,
) -> bytes:
    members, extra, resource = members or [], extra or [], resource or []
    made = Writer()
    made.fixed += bytes(48)
    for text in (name, "Ann", "", "", "", ""):
        made.string(text)
    made.words(0)
    made.words(1105, 513, len(members), 1)
    made.rest.append(groups(members))
    made.words(0)
    made.fixed += bytes(16)
    made.string("DC")
    made.string("LAB")
    made.words(1)
    made.rest.append(sid(DOMAIN))
    made.fixed += bytes(8)
    made.words(flags)
    made.fixed += bytes(4 + 16 + 8)
    made.words(len(extra), 1, 1 if resource else 0, len(resource), 1 if resource else 0)
    made.rest.append(struct.pack("<I", len(extra)) + b"".join(struct.pack("<II", 1, a) for _, a in extra))
    made.rest += [sid(one) for one, _ in extra]
    if resource:
        made.rest += [sid(OTHER), groups(resource)]
    return made.data()


@given(texts, rids, rids)
def test_who_she_is_and_her_groups(name: str, members: list[int], resource: list[int]) -> None:
    found = pac.logon_info(logon(name, members, [("S-1-18-1", ENABLED)], resource))
    assert (found.name, found.domain, found.sid) == (name, "LAB", f"{DOMAIN}-1105")
    wanted = {f"{DOMAIN}-{rid}" for rid in [513, *members]} | {f"{OTHER}-{rid}" for rid in resource} | {"S-1-18-1"}
    assert found.groups == wanted
    assert not found.protected
    assert not found.sensitive


def test_a_group_that_only_forbids_is_none() -> None:
    found = pac.logon_info(logon(extra=[("S-1-5-21-4-5-6-512", 0x10), ("S-1-5-21-4-5-6-513", ENABLED | 0x10)]))
    assert found.groups == {f"{DOMAIN}-513"}


def test_who_must_not_be_acted_for() -> None:
    assert pac.logon_info(logon(members=[525])).protected
    assert pac.logon_info(logon(flags=0x4210)).sensitive


@given(st.binary(max_size=400), st.booleans())
def test_anything_else_is_refused(data: bytes, begun: bool) -> None:
    for read in (pac.logon_info, pac.delegation_info):
        try:
            read((b"\x01\x10\x08\x00" if begun else b"") + data)
        except ValueError:
            pass


@given(st.data())
def test_what_is_cut_off_is_refused(data: st.DataObject) -> None:
    whole = logon(members=[1200, 1201], extra=[("S-1-18-1", ENABLED)], resource=[7])
    with pytest.raises(ValueError, match=r".+"):
        pac.logon_info(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(texts, st.lists(texts.filter(bool), max_size=3))
def test_who_acted_for_what(target: str, services: list[str]) -> None:
    made = Writer()
    made.string(target)
    made.words(len(services), 1 if services else 0)
    heads = b""
    for service in services:
        data = service.encode("utf-16-le")
        heads += struct.pack("<HHI", len(data), len(data), 1)
    if services:
        made.rest.append(struct.pack("<I", len(services)) + heads)
        made.rest += [string(service.encode("utf-16-le")) for service in services]
    found = pac.delegation_info(made.data())
    assert (found.target, found.services) == (target, tuple(services))
