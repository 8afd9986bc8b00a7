"""Keytabs: made byte by byte, whole and damaged."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core.ad import keytab
from vmferry.core.ad.keytab import KeytabEntry

names = st.text(st.characters(codec="utf-8", exclude_characters="/$"), min_size=1, max_size=20)
made = st.builds(
    KeytabEntry, name=names | names.map(lambda name: f"{name}$"), realm=names, number=st.integers(1, 70000)
)


def counted(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def packed(*found: KeytabEntry, holes: bool = False) -> bytes:
    data = b"\x05\x02"
    for entry in found:
        parts = entry.name.split("/")
        body = struct.pack(">H", len(parts)) + counted(entry.realm) + b"".join(counted(part) for part in parts)
        body += struct.pack(">IIB", 1, 0, entry.number & 0xFF) + struct.pack(">HH", 18, 32) + bytes(32)
        body += struct.pack(">I", entry.number)
        data += struct.pack(">i", len(body)) + body
        if holes:
            data += struct.pack(">i", -40) + bytes(40)
    return data


@given(st.lists(made, max_size=5), st.booleans())
def test_what_is_in_it_is_found(found: list[KeytabEntry], holes: bool) -> None:
    assert keytab.entries(packed(*found, holes=holes)) == found


@given(st.lists(made, min_size=1, max_size=3), st.data())
def test_what_is_cut_off_is_found_out_or_has_less_in_it(found: list[KeytabEntry], data: st.DataObject) -> None:
    whole = packed(*found)
    part = whole[: data.draw(st.integers(0, len(whole) - 5))]
    try:
        assert len(keytab.entries(part)) <= len(found)
    except ValueError:
        pass


@given(st.binary(max_size=200))
def test_anything_else_is_no_keytab(data: bytes) -> None:
    try:
        keytab.entries(b"\x05\x02" + data)
    except ValueError:
        pass


@pytest.mark.parametrize("data", [b"", b"\x05\x01", b"PEM"])
def test_what_is_no_keytab(data: bytes) -> None:
    with pytest.raises(ValueError, match="no keytab"):
        keytab.entries(data)


def test_the_newest_account_is_the_hosts() -> None:
    old, new = KeytabEntry("KVM1$", "LAB.TEST", 2), KeytabEntry("KVM1$", "LAB.TEST", 3)
    service = KeytabEntry("cifs/kvm1", "LAB.TEST", 9)
    assert keytab.account([new, service, old]) == new
    assert keytab.account([service]) is None


def test_which_services_there_are_keys_for() -> None:
    service = KeytabEntry("Microsoft Virtual System Migration Service/kvm1", "LAB.TEST", 1)
    assert keytab.serves([service], "microsoft virtual system migration service")
    assert not keytab.serves([service], "cifs")
    assert keytab.serves([KeytabEntry("KVM1$", "LAB.TEST", 1)], "cifs")
