"""Migration networks: how they are written, and which addresses they let through, in which order."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.policy import networks
from vmferry.core.policy.networks import Local, Network, Route

MANAGEMENT = Local("10.91.0.1", 24, "mgmt")
MIGRATION = Local("10.92.0.1", 24, "mig")
SECOND = Local("10.94.0.1", 24, "mig2")
SIXTH = Local("fd20::1", 64, "mig")
HOST = [MANAGEMENT, MIGRATION, SECOND, SIXTH, Local("127.0.0.1", 8, "lo"), Local("fe80::1", 64, "mig")]


def listed(*entries: str | tuple[str, int]) -> list[Network]:
    pairs = [(one, 100) if isinstance(one, str) else one for one in entries]
    return networks.ordered(Network(subnet=subnet, priority=priority) for subnet, priority in pairs)


@pytest.mark.parametrize(
    ("text", "subnet", "noted"),
    [
        ("10.20.0.0/24", "10.20.0.0/24", False),
        (" 10.20.0.7/24 ", "10.20.0.0/24", True),
        ("10.20.0.7", "10.20.0.7/32", False),
        ("10.20.0.7/32", "10.20.0.7/32", False),
        ("10.20.0.0/255.255.0.0", "10.20.0.0/16", False),
        ("fd20::1", "fd20::1/128", False),
        ("FD20:0::1/64", "fd20::/64", True),
        ("0.0.0.0/0", "0.0.0.0/0", False),
    ],
)
def test_a_subnet_is_kept_in_one_form(text: str, subnet: str, noted: bool) -> None:
    made = networks.add([], text)
    assert [one.subnet for one in made.networks] == [subnet]
    assert bool(made.notes) is noted
    assert all(subnet in note for note in made.notes)


NOWHERE = [
    "kvm2",
    "10.20.0.0/33",
    "10.20.0",
    "127.0.0.1",
    "::1",
    "224.0.0.0/4",
    "0.0.0.0",
    "fe80::/64",
    "::ffff:10.0.0.1",
]


@pytest.mark.parametrize("text", ["", "/", "fe80::1%a", *NOWHERE])
def test_what_leads_to_no_host_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        networks.add([], text)
    assert caught.value.code is codes.NETWORK_INVALID


def test_an_exact_duplicate_changes_nothing_and_says_so() -> None:
    before = listed(("10.20.0.0/24", 10))
    for again in (networks.add(before, "10.20.0.9/24"), networks.add(before, "10.20.0.0/24", 10)):
        assert again.networks == before
        assert "10.20.0.0/24 is listed already; nothing was changed." in again.notes
    with pytest.raises(UsageError) as caught:
        networks.add(before, "10.20.0.0/24", 11)
    assert caught.value.code is codes.NETWORK_EXISTS
    assert "priority 10" in caught.value.reason


def test_overlaps_are_warned_of() -> None:
    made = networks.add(listed("10.20.0.0/16", "10.30.0.0/24", "fd20::/64"), "10.20.7.0/24")
    assert len(made.networks) == 4
    assert len(made.notes) == 1
    assert "overlaps 10.20.0.0/16" in made.notes[0]


def test_set_and_remove() -> None:
    before = listed(("10.20.0.0/24", 10), ("10.30.0.0/24", 20))
    assert [one.subnet for one in networks.replace(before, "10.30.0.0/24", priority=5).networks] == [
        "10.30.0.0/24",
        "10.20.0.0/24",
    ]
    moved = networks.replace(before, "10.20.0.0/24", subnet="10.40.0.1/24")
    assert moved.networks[0] == Network(subnet="10.40.0.0/24", priority=10)
    assert networks.replace(before, "10.20.0.0/24", priority=10).networks == before
    with pytest.raises(UsageError) as caught:
        networks.replace(before, "10.20.0.0/24", subnet="10.30.0.0/24")
    assert caught.value.code is codes.NETWORK_EXISTS
    assert networks.remove(before, "10.20.0.1/24").networks == before[1:]
    with pytest.raises(UsageError) as caught:
        networks.remove(before, "10.50.0.0/24")
    assert caught.value.code is codes.NETWORK_UNKNOWN


def test_addresses_come_in_the_order_of_the_networks() -> None:
    chosen = networks.choose(HOST, listed(("10.92.0.0/24", 20), ("10.94.0.0/24", 10), ("fd20::/64", 30)))
    assert chosen == [SECOND, MIGRATION, SIXTH]
    assert networks.choose(HOST, []) == []
    assert networks.choose(HOST, listed("0.0.0.0/0")) == [MANAGEMENT, MIGRATION, SECOND]
    assert networks.choose([Local("kvm1.example", 0)], listed("0.0.0.0/0")) == []


def test_a_way_goes_from_an_address_beside_the_other_hosts() -> None:
    both = listed(("10.92.0.0/24", 20), ("10.94.0.0/24", 10))
    theirs = [("10.92.0.2", 6610), ("10.94.0.2", 6611), ("10.91.0.2", 6610), ("kvm2", 1)]
    assert networks.routes(theirs, HOST, both) == [
        Route("10.92.0.2", 6610, MIGRATION),
        Route("10.94.0.2", 6611, SECOND),
    ]


def test_a_router_may_stand_between_two_listed_networks() -> None:
    far = listed("10.92.0.0/24", "10.95.0.0/24")
    assert networks.routes([("10.95.0.2", 6610)], HOST, far) == [Route("10.95.0.2", 6610, MIGRATION)]


def test_a_bare_address_of_ours_stands_for_its_subnet() -> None:
    own = listed("10.92.0.1")
    assert networks.reach(HOST, own) == ["10.92.0.0/24"]
    assert networks.routes([("10.92.0.2", 1), ("10.91.0.2", 1)], HOST, own) == [Route("10.92.0.2", 1, MIGRATION)]
    assert networks.routes([("10.92.0.2", 1)], HOST, listed("10.92.0.9")) == []


SUBNETS = st.one_of(
    st.builds(lambda a, n: f"10.{a % 4}.{a % 3}.0/{n}", st.integers(0, 9), st.integers(8, 32)),
    st.builds(lambda a, n: f"fd2{a}::{a}/{n}", st.integers(0, 3), st.integers(16, 128)),
)
ENTRIES = st.lists(st.tuples(SUBNETS, st.integers(0, 3)), max_size=6)
ADDRESSES = st.one_of(
    st.builds(lambda a, b, c: f"10.{a}.{b}.{c}", st.integers(0, 3), st.integers(0, 2), st.integers(0, 5)),
    st.builds(lambda a, b: f"fd2{a}::{b}", st.integers(0, 3), st.integers(1, 5)),
)
LOCALS = st.lists(
    st.builds(
        lambda address, bits: Local(address, bits if ":" not in address else 64, "eth0"), ADDRESSES, st.integers(16, 30)
    ),
    max_size=5,
    unique_by=lambda local: local.address,
)


def build(entries: list[tuple[str, int]]) -> list[Network]:
    made: list[Network] = []
    for subnet, priority in entries:
        if networks.canonical(subnet) not in [one.subnet for one in made]:
            made = networks.add(made, subnet, priority).networks
    return made


@given(ENTRIES)
def test_a_list_is_in_order_and_adding_again_changes_nothing(entries: list[tuple[str, int]]) -> None:
    made = build(entries)
    assert [one.priority for one in made] == sorted(one.priority for one in made)
    assert build(list(reversed(entries))) == made or len(made) < len(entries)
    for one in made:
        assert networks.canonical(one.subnet) == one.subnet
        assert networks.add(made, one.subnet, one.priority).networks == made
        assert one not in networks.remove(made, one.subnet).networks


@given(ENTRIES, LOCALS)
def test_nothing_outside_the_list_is_chosen_and_nothing_inside_left_out(
    entries: list[tuple[str, int]], addresses: list[Local]
) -> None:
    made = build(entries)

    def best(local: Local) -> int | None:
        ranks = [rank for rank, one in enumerate(made) if ip_address(local.address) in one.parsed]
        return ranks[0] if ranks else None

    chosen = networks.choose(addresses, made)
    assert {one for one in addresses if best(one) is not None} == set(chosen)
    assert len(chosen) == len(set(chosen))
    ranks = [best(one) for one in chosen]
    assert ranks == sorted(rank for rank in ranks if rank is not None)


@given(ENTRIES, LOCALS, st.lists(ADDRESSES, max_size=4, unique=True))
def test_no_way_leaves_the_list(entries: list[tuple[str, int]], addresses: list[Local], theirs: list[str]) -> None:
    made = build(entries)
    chosen = networks.choose(addresses, made)
    allowed = [ip_network(subnet) for subnet in networks.reach(addresses, made)]
    found = networks.routes([(host, 6610) for host in theirs], addresses, made)
    for route in found:
        assert route.local in chosen
        assert any(ip_address(route.host) in place for place in allowed)
        assert (":" in route.host) == (":" in route.local.address)
        assert route.local.address != route.host
    order = [theirs.index(route.host) for route in found]
    assert order == sorted(order)
