"""Who gives way where there are too many."""

from hypothesis import given
from hypothesis import strategies as st

from vmferry.core.crowd import gives_way, origin


def test_the_oldest_of_the_most_crowded_place_gives_way() -> None:
    assert gives_way([(1, "a")]) == 1
    assert gives_way([(1, "a"), (2, "b"), (3, "b")]) == 2
    assert gives_way([(1, "a"), (2, "b")]) == 1


@given(st.integers(1, 8), st.integers(9, 40))
def test_who_opens_many_never_takes_the_places_of_who_opens_few(few: int, many: int) -> None:
    held = [(("honest", number), "source") for number in range(few)]
    for number in range(many * 10):
        if len(held) >= few + many:
            held.remove(next(one for one in held if one[0] == gives_way(held)))
        held.append((("flood", number), "attacker"))
    assert sum(place == "source" for _, place in held) == few


def test_a_network_of_ipv6_is_one_caller() -> None:
    assert origin("2001:db8::1") == origin("2001:db8::ffff:2") != origin("2001:db8:0:1::1")
    assert origin("fe80::1%eth0") == "fe80::/64"
    assert origin("::ffff:192.0.2.1") == "192.0.2.1"
    assert origin("192.0.2.1") != origin("192.0.2.2")
