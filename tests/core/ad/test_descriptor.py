"""Security descriptors: read and written without losing anything, and who is let act by one."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core.ad import descriptor
from vmferry.core.ad.descriptor import ALLOWED, DENIED, FULL, Ace, Acl, Descriptor

ONE, TWO = "S-1-5-21-1-2-3-1104", "S-1-5-21-1-2-3-1105"
# What Windows' Set-ADComputer -PrincipalsAllowedToDelegateToAccount writes ([MS-DTYP] 2.4.6, laid out by hand).
WRITTEN = bytes.fromhex(
    "01000480" + "14000000" + "00000000" + "00000000" + "24000000"  # header: owner at 20, list at 36
    "01020000000000052000000020020000"  # S-1-5-32-544
    "04002c000100000000002400ff010f00010500000000000515000000010000000200000003000000" + "50040000"
)

sids = st.builds(
    lambda authority, parts: "-".join(map(str, ("S", 1, authority, *parts))),
    st.integers(0, 2**48 - 1),
    st.lists(st.integers(0, 2**32 - 1), max_size=15),
)
understood = st.builds(
    lambda kind, flags, mask, sid: Ace(kind, flags, struct.pack("<I", mask) + descriptor.sid_bytes(sid)),
    st.sampled_from([ALLOWED, DENIED]),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    sids,
)
others = st.builds(Ace, st.integers(2, 255), st.integers(0, 255), st.binary(max_size=40))
lists = st.builds(Acl, st.lists(understood | others, max_size=6).map(tuple), st.sampled_from([2, 4]))


@st.composite
def descriptors(draw: st.DrawFn) -> Descriptor:
    dacl, sacl = draw(st.none() | lists), draw(st.none() | lists)
    control = 0x8000 | (0x4 if dacl is not None or draw(st.booleans()) else 0) | (0x10 if sacl is not None else 0)
    owner, group = draw(st.none() | sids), draw(st.none() | sids)
    return Descriptor(control, owner, group, dacl, sacl, draw(st.integers(0, 255)))


@given(sids)
def test_a_sid_is_the_same_again(sid: str) -> None:
    assert descriptor.sid_text(descriptor.sid_bytes(sid)) == sid


@pytest.mark.parametrize("text", ["", "S-1", "S-2-5-32", "S-1-5-x", "S-1-5-4294967296", "S-1-5" + "-1" * 16, "S-1--1"])
def test_what_is_no_sid(text: str) -> None:
    with pytest.raises(ValueError):
        descriptor.sid_bytes(text)


@given(descriptors())
def test_a_descriptor_is_the_same_again(found: Descriptor) -> None:
    assert descriptor.parse(descriptor.build(found)) == found


@given(descriptors(), sids)
def test_allowing_and_disallowing_keeps_what_others_set(found: Descriptor, sid: str) -> None:
    before = found.dacl.entries if found.dacl else ()
    mine = [one for one in before if one.sid == sid]
    allowed = descriptor.allow(found, sid)
    after = allowed.dacl.entries if allowed.dacl else ()
    assert after[: len(before)] == before
    assert descriptor.allow(allowed, sid) == allowed
    if not mine:
        assert descriptor.allows(allowed, {sid})
        back = descriptor.disallow(allowed, sid)
        assert back == found or (back is None and not before)
    assert (allowed.owner, allowed.group, allowed.sacl) == (found.owner, found.group, found.sacl)


@given(st.binary(max_size=200))
def test_bytes_that_nobody_meant_are_refused_or_read(data: bytes) -> None:
    for noise in (data, WRITTEN[:20] + data, WRITTEN[:-1] + data[:1]):
        try:
            descriptor.build(descriptor.parse(noise))
        except ValueError:
            pass


def test_what_windows_writes() -> None:
    found = descriptor.parse(WRITTEN)
    assert found == descriptor.allow(None, ONE)
    assert descriptor.build(found) == WRITTEN
    assert descriptor.allows(found, {ONE})
    assert not descriptor.allows(found, {TWO})
    assert descriptor.disallow(found, TWO) == found
    assert descriptor.disallow(found, ONE) is None


def test_parts_in_another_order_are_the_same() -> None:
    owner, dacl = WRITTEN[20:36], WRITTEN[36:]
    places = struct.pack("<IIII", 20 + len(dacl), 0, 0, 20)
    assert descriptor.parse(WRITTEN[:4] + places + dacl + owner) == descriptor.parse(WRITTEN)


def test_the_first_entry_that_counts_decides() -> None:
    def entry(kind: int, sid: str, mask: int = FULL, flags: int = 0) -> Ace:
        return Ace(kind, flags, struct.pack("<I", mask) + descriptor.sid_bytes(sid))

    def allowed(*entries: Ace) -> bool:
        return descriptor.allows(Descriptor(dacl=Acl(entries)), {ONE, TWO})

    assert allowed(entry(ALLOWED, TWO), entry(DENIED, ONE))
    assert not allowed(entry(DENIED, ONE), entry(ALLOWED, TWO))
    assert not allowed(entry(ALLOWED, ONE, mask=0x20))  # no right that is asked for
    assert not allowed(entry(ALLOWED, ONE, flags=0x08))  # for children alone
    assert descriptor.allows(Descriptor(dacl=None), {ONE})
    assert not descriptor.allows(None, {ONE})
