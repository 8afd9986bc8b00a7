"""What is said of domain controllers that do not know the same."""

from vmferry.core import codes
from vmferry.core.ad.delegation import DelegationKind, DelegationLink, Protocol
from vmferry.core.ad.verification import DelegationCheck, Seen, StepState, VerificationStep, compare
from vmferry.core.errors import UnreachableError

KNOWS = Seen(
    links=[
        DelegationLink(
            source="a",
            destination="b",
            service="migration",
            kind=DelegationKind.CLASSIC,
            protocol=Protocol.ANY,
            missing=[],
        )
    ],
    names=[],
)
NOTHING = Seen(links=[], names=[])
AWAY = UnreachableError(codes.DIRECTORY_UNREACHABLE, domain="ex.test", why="it is off")


def test_controllers_that_know_the_same_and_that_do_not() -> None:
    assert compare({"dc1": KNOWS, "dc2": KNOWS}, {}).state is StepState.OK
    assert compare({"dc1": KNOWS}, {}).state is StepState.OK
    later = compare({"dc1": KNOWS, "dc2": NOTHING, "dc3": KNOWS}, {"dc4": AWAY})
    assert (later.state, later.code) == (StepState.FAILED, "controllers-differ")
    assert later.detail.startswith("dc2 ")
    assert "180 minutes" in later.remedy
    away = compare({"dc1": KNOWS}, {"dc2": AWAY})
    assert (away.state, away.code) == (StepState.NOT_TRIED, "directory-unreachable")


def test_only_what_failed_makes_it_fail() -> None:
    def found(*steps: VerificationStep) -> bool:
        return DelegationCheck(source="a", destination="b", user="ann", controller="dc1", steps=list(steps)).failed

    assert not found(VerificationStep.ok("one", ""), VerificationStep.of("two", AWAY, StepState.NOT_TRIED))
    assert found(VerificationStep.ok("one", ""), VerificationStep.of("two", AWAY))
