"""`vmferry host restrict` and `unrestrict`."""

from tests.cli.conftest import Run
from tests.cli.fake import FakeClient

from vmferry.core.restrictions import Restriction
from vmferry.core.settings import HostSettings


def sent(daemon: FakeClient) -> list[Restriction]:
    body = next(call[-1] for call in reversed(daemon.calls) if call[0] == "PATCH")
    return [Restriction.model_validate(one) for one in body["restrictions"]]


def test_limits_come_and_go(vmferry: Run, daemon: FakeClient) -> None:
    assert vmferry("host", "restrict", "ann", "--vm", "web*", "--to", "kvm2", "--to", "kvm3")[0] == 0
    web = Restriction(who="ann", vms=["web*"], to=["kvm2", "kvm3"])
    assert sent(daemon) == [web]
    daemon.now = HostSettings(restrictions=[web, Restriction(who="bob")])
    vmferry("host", "restrict", "ann", "--vm", "db*")
    assert sent(daemon) == [web, Restriction(who="bob"), Restriction(who="ann", vms=["db*"])]
    vmferry("host", "restrict", "ann", "--vm", "web*", "--to", "kvm2", "--to", "kvm3")
    assert sent(daemon) == [web, Restriction(who="bob")]  # once is enough
    vmferry("host", "unrestrict", "ann")
    assert sent(daemon) == [Restriction(who="bob")]


def test_restrict_says_to_what(vmferry: Run) -> None:
    assert vmferry("host", "restrict", "ann")[0] == 2
