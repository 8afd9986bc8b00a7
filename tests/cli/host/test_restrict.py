"""`vmferry host restrict` and `unrestrict`."""

from typing import Any

from tests.cli.conftest import Run
from tests.cli.fake import FakeClient

from vmferry.core.policy.restrictions import Restriction


def sent(daemon: FakeClient) -> tuple[Any, ...]:
    return next(call for call in reversed(daemon.calls) if call[0] in ("POST", "DELETE"))


def test_limits_come_and_go(vmferry: Run, daemon: FakeClient) -> None:
    assert vmferry("host", "restrict", "ann", "--vm", "web*", "--to", "kvm2", "--to", "kvm3")[0] == 0
    assert sent(daemon) == ("POST", "/host/restrictions", {"who": "ann", "vms": ["web*"], "to": ["kvm2", "kvm3"]})
    vmferry("host", "restrict", "@dba", "--vm", "db*")
    assert sent(daemon)[-1] == {"who": "@dba", "vms": ["db*"], "to": ["*"]}
    assert vmferry("host", "unrestrict", "token ci")[0] == 0
    assert sent(daemon)[:2] == ("DELETE", "/host/restrictions/token%20ci")


def test_what_has_changed_is_printed(vmferry: Run, daemon: FakeClient) -> None:
    same = "No changes: ann has no limit on this host.\n"
    assert vmferry("host", "unrestrict", "ann") == (0, "", same)
    assert "No changes: ann already has this limit." in vmferry("host", "restrict", "ann", "--vm", "web*")[2]
    limit = Restriction(who="ann", vms=["web*"], to=["*"])
    daemon.after = daemon.now.model_copy(update={"restrictions": [limit]})
    _, out, err = vmferry("host", "restrict", "ann", "--vm", "web*")
    assert (out, err) == (f"restrictions  nobody -> {limit}\n", "")


def test_restrict_says_to_what(vmferry: Run) -> None:
    assert vmferry("host", "restrict", "ann")[0] == 2
