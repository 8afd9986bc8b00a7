"""What is said of domain controllers that do not know the same."""

from vmferry.core import codes
from vmferry.core.ad.delegation import Kind, Link, Protocol
from vmferry.core.ad.verification import DelegationCheck, Seen, State, Step, compare
from vmferry.core.errors import UnreachableError

KNOWS = Seen(
    links=[
        Link(source="a", destination="b", service="migration", kind=Kind.CLASSIC, protocol=Protocol.ANY, missing=[])
    ],
    names=[],
)
NOTHING = Seen(links=[], names=[])
AWAY = UnreachableError(codes.DIRECTORY_UNREACHABLE, domain="ex.test", why="it is off")


def test_controllers_that_know_the_same_and_that_do_not() -> None:
    assert compare({"dc1": KNOWS, "dc2": KNOWS}, {}).state is State.OK
    assert compare({"dc1": KNOWS}, {}).state is State.OK
    later = compare({"dc1": KNOWS, "dc2": NOTHING, "dc3": KNOWS}, {"dc4": AWAY})
    assert (later.state, later.code) == (State.FAILED, "controllers-differ")
    assert later.detail.startswith("dc2 ")
    assert "180 minutes" in later.remedy
    away = compare({"dc1": KNOWS}, {"dc2": AWAY})
    assert (away.state, away.code) == (State.NOT_TRIED, "directory-unreachable")


def test_only_what_failed_makes_it_fail() -> None:
    def found(*steps: Step) -> bool:
        return DelegationCheck(source="a", destination="b", user="ann", controller="dc1", steps=list(steps)).failed

    assert not found(Step.ok("one", ""), Step.of("two", AWAY, State.NOT_TRIED))
    assert found(Step.ok("one", ""), Step.of("two", AWAY))
