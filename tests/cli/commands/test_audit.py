"""`vmferry audit`."""

import json

import pytest
from tests.cli.conftest import Run
from tests.cli.fake import BROKEN, CHAIN, FakeClient

from vmferry.cli.terminal.units import parse_span
from vmferry.core.auditlog.chain import LogFault, Missed, Witness


def test_list(vmferry: Run, daemon: FakeClient) -> None:
    code, out, _ = vmferry("audit", "list", "--since", "2h", "--job", "7f3a9c")
    assert code == 0
    heading, line = out.splitlines()
    assert heading.split() == ["WHEN", "WHO", "FROM", "WHAT", "JOB", "ABOUT", "RESULT"]
    assert "2026-03-04 05:06:07  kvm2 for ann  10.77.0.2  offer_vm  7f3a9c" in line
    assert line.endswith("vm=web01, source=kvm2  name-taken")
    assert daemon.calls[0] == ("audit", 7200.0, "7f3a9c")


def test_json(vmferry: Run) -> None:
    (record,) = json.loads(vmferry("audit", "list", "--output", "json")[1])
    assert (record["caller"], record["on_behalf_of"], record["status"]) == ("kvm2", "ann", 409)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1H", 3600), ("30 d", 30 * 86400)])
def test_spans(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "0h", "-1h", "1,5h", "1y"])
def test_what_is_no_span(vmferry: Run, text: str) -> None:
    assert vmferry("audit", "list", f"--since={text}")[0] == 2


def test_verify_a_chain_that_holds(vmferry: Run) -> None:
    code, out, _ = vmferry("audit", "verify")
    assert code == 0
    assert "812" in out
    assert "100 older records" in out
    assert "912 " + "ab" * 32 in out
    assert "not altered" in out


def test_verify_names_the_first_break(vmferry: Run, daemon: FakeClient) -> None:
    daemon.chain = CHAIN.model_copy(update={"broken": BROKEN})
    code, out, err = vmferry("audit", "verify")
    assert code == 4
    assert "record 117 was changed (changed, line 17 of audit.log.2.gz)" in out
    assert "audit-log-broken" in err
    code, out, _ = vmferry("audit", "verify", "--output", "json")
    assert (code, json.loads(out)["broken"]["line"]) == (4, 17)


def test_verify_names_what_a_peer_misses(vmferry: Run, daemon: FakeClient) -> None:
    missed = Missed(kind=LogFault.CUT, head=CHAIN.head)
    away = Witness(host="kvm3", heads=0, error="kvm3 does not answer")
    daemon.chain = CHAIN.model_copy(update={"peers": [Witness(host="kvm2", heads=7, missed=[missed]), away]})
    code, out, err = vmferry("audit", "verify", "--peers")
    assert (code, daemon.calls[0]) == (4, ("verify_audit", True))
    assert "record 912, which kvm2 knows of, is missing (cut)" in out
    assert "not asked: kvm3 does not answer" in out
    assert "record 912" in err
