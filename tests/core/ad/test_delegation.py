"""What a grant writes and a revocation takes away, and what is found missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core.ad import delegation, descriptor
from vmferry.core.ad.delegation import ACTING, ALL, CONTROL, MIGRATION, NAMES, TARGETS, Account, Change, Registered

SID = "S-1-5-21-1-2-3-"
ESCAPED = MIGRATION.replace(" ", "\\ ")
WINDOWS = (f"{MIGRATION}/kvm2", f"{MIGRATION}/kvm2.ex.test", "cifs/kvm2", "cifs/kvm2.ex.test")


def account(number: int, **other: object) -> Account:
    name = f"kvm{number}"
    known = {
        "dn": f"CN={name}",
        "name": name,
        "full": f"{name}.ex.test",
        "sids": (f"{SID}{number}",),
        "control": 0x1000,
    }
    return Account(**{**known, **other})  # type: ignore[arg-type]


ONE, TWO = account(1), account(2)


def applied(found: Account, changes: list[Change]) -> Account:
    """Make the changes as a directory would: what goes must be there, what comes must not."""
    for change in changes:
        if change.dn != found.dn:
            continue
        old = {TARGETS: found.targets, CONTROL: (str(found.control),), NAMES: found.names}
        values = [one.encode() for one in old[change.attribute]]
        assert set(change.remove) <= set(values)
        assert not set(change.add) & (set(values) - set(change.remove))
        kept = [one.decode() for one in values if one not in change.remove] + [one.decode() for one in change.add]
        targets = tuple(kept) if change.attribute == TARGETS else found.targets
        names = tuple(kept) if change.attribute == NAMES else found.names
        control = int(kept[0]) if change.attribute == CONTROL else found.control
        found = account(1, dn=found.dn, targets=targets, control=control, names=names)
    return found


def test_a_grant_writes_what_windows_wants() -> None:
    changes = delegation.grant(ONE, TWO, ALL, any_protocol=True, samba=False)
    assert [(change.dn, change.attribute) for change in changes] == [("CN=kvm1", TARGETS), ("CN=kvm1", CONTROL)]
    assert {one.decode() for one in changes[0].add} == set(WINDOWS)
    assert (changes[1].remove, changes[1].add) == ((b"4096",), (b"16781312",))
    only = delegation.grant(ONE, TWO, ALL[:1], any_protocol=False, samba=False)
    assert [{one.decode() for one in change.add} for change in only] == [set(WINDOWS[:2])]


def test_samba_gets_escaped_names_too() -> None:
    (change,) = delegation.grant(ONE, TWO, ALL, any_protocol=False, samba=True)
    assert {one.decode() for one in change.add} == {*WINDOWS, f"{ESCAPED}/kvm2", f"{ESCAPED}/kvm2.ex.test"}


others = st.lists(
    st.sampled_from(["cifs/other", "http/kvm2", "host/kvm2", "CIFS/KVM2", f"{MIGRATION}/kvm3", "cifs/kvm22"]),
    unique=True,
)


@given(others, st.booleans(), st.booleans(), st.booleans())
def test_grant_twice_is_once_and_revoke_takes_just_that_away(
    before: list[str], samba: bool, any_protocol: bool, flagged: bool
) -> None:
    control = 0x1000 | (delegation.ANY_PROTOCOL if flagged else 0)
    first = account(1, targets=tuple(before), control=control)
    granted = applied(first, delegation.grant(first, TWO, ALL, any_protocol=any_protocol, samba=samba))
    assert set(before) <= set(granted.targets)
    assert delegation.grant(granted, TWO, ALL, any_protocol=any_protocol, samba=samba) == []
    for service in ALL:
        link = delegation.link(granted, TWO, service, samba=samba)
        assert (link.kind, link.missing) == ("classic", [])
        assert link.protocol == ("any" if any_protocol or flagged else "kerberos-only")
    revoked = applied(granted, delegation.revoke(granted, TWO, samba=samba))
    stay = [one for one in before if one.lower() not in {name.lower() for name in WINDOWS}]
    assert set(revoked.targets) == set(stay)
    assert revoked.any_protocol == (bool(stay) and granted.any_protocol)
    assert delegation.revoke(revoked, TWO, samba=samba) == []


def test_resource_based_is_written_at_the_destination() -> None:
    (change,) = delegation.grant_at_resource(ONE, TWO)
    assert (change.account, change.attribute, change.remove, change.says) == ("kvm2", ACTING, (), ("+ kvm1",))
    two = account(2, acting=descriptor.parse(change.add[0]))
    assert delegation.grant_at_resource(ONE, two) == []
    assert delegation.link(ONE, two, "storage", samba=False).kind == "resource-based"
    assert delegation.link(two, ONE, "storage", samba=False).kind == "none"
    (more,) = delegation.grant_at_resource(account(3), two)
    both = account(2, acting=descriptor.parse(more.add[0]))
    (back,) = delegation.revoke(account(3), both, samba=False)
    assert (back.remove, back.add, back.says) == (more.add, change.add, ("- kvm3",))
    (last,) = delegation.revoke(ONE, two, samba=False)
    assert (last.remove, last.add, last.says) == (change.add, (), ("- kvm1",))


def test_part_of_a_grant_is_seen_as_part() -> None:
    link = delegation.link(account(1, targets=WINDOWS[1:2]), TWO, "migration", samba=False)
    assert (link.kind, link.missing) == ("classic", [WINDOWS[0]])
    assert delegation.link(ONE, TWO, "migration", samba=False).missing == list(WINDOWS[:2])


WHOLE = (*WINDOWS, "HTTP/kvm2", "HTTP/kvm2.ex.test")


@pytest.mark.parametrize(
    ("names", "holders", "faults"),
    [
        (WHOLE, {}, []),
        (tuple(name.upper() for name in WHOLE), {}, []),
        (("host/kvm2", "HOST/kvm2.ex.test", *WINDOWS[:2]), {}, []),  # host/ stands for cifs/ and HTTP/
        (WHOLE[1:], {}, [(WINDOWS[0], "missing", [])]),
        (WHOLE, {"cifs/kvm2": {"kvm2": "CN=kvm2", "web": "CN=web"}}, [("cifs/kvm2", "duplicate", ["kvm2", "web"])]),
        (WHOLE[1:], {WINDOWS[0].lower(): {"web": "CN=web"}}, [(WINDOWS[0], "elsewhere", ["web"])]),
    ],
)
def test_faults_of_service_names(
    names: tuple[str, ...], holders: dict[str, dict[str, str]], faults: list[tuple[str, str, list[str]]]
) -> None:
    two, registered = account(2, names=names), Registered(holders)
    found = delegation.name_faults(two, registered, samba=False)
    assert [(one.name, one.fault, one.holders) for one in found] == faults
    changes = delegation.register(two, found, registered)
    assert {change.dn for change in changes if change.remove} <= {"CN=web"}  # nothing is taken from the host itself
    mended = two.names + tuple(one.decode() for change in changes if change.dn == "CN=kvm2" for one in change.add)
    assert delegation.name_faults(account(2, names=mended), Registered({}), samba=False) == []


def test_unconstrained_is_seen() -> None:
    assert account(1, control=0x1000 | delegation.UNCONSTRAINED).unconstrained
    assert not ONE.unconstrained
