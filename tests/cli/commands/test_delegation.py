"""`vmferry delegation` where there is no domain: what it lacks is said."""

import json
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Run

from vmferry.core import codes
from vmferry.core.ad.delegation import DelegationKind, DelegationLink, Delegations, HostDelegation, NameFault, Protocol
from vmferry.core.errors import Exit
from vmferry.directory import manage
from vmferry.directory.connection import DirectoryConnector


@pytest.mark.parametrize("missing", ["ldap", "dns.resolver"])
def test_without_its_libraries(vmferry: Run, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    code, out, err = vmferry("delegation", "show")
    assert (code, out) == (Exit.FAILED, "")
    assert "vmferry[directory]" in err
    assert codes.DIRECTORY_LIBRARY.name in err


def test_without_a_ticket(vmferry: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/absent")
    code, _, err = vmferry("--output", "json", "delegation", "grant", "kvm1", "kvm2")
    problem = json.loads(err.splitlines()[-1])["problem"]
    assert (code, problem["code"]) == (Exit.ACCESS, "ticket-missing")
    assert "kinit administrator" in problem["remedy"]


def test_resource_based_is_for_everything(vmferry: Run) -> None:
    for option in ("--no-storage", "--kerberos-only"):
        code, _, err = vmferry("delegation", "grant", "kvm1", "kvm2", "--resource-based", option)
        assert (code, option in err) == (Exit.USAGE, True)


def test_what_is_shown(vmferry: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = NameFault(name="cifs/kvm2", fault="elsewhere", holders=["web"])
    link = DelegationLink(
        source="kvm1",
        destination="kvm2",
        service="storage",
        kind=DelegationKind.CLASSIC,
        protocol=Protocol.ANY,
        missing=[],
    )
    none = DelegationLink(
        source="kvm2",
        destination="kvm1",
        service="storage",
        kind=DelegationKind.NONE,
        protocol=Protocol.NONE,
        missing=["x"],
    )
    hosts = [
        HostDelegation(name="kvm1", account="CN=kvm1", unconstrained=True, names=[]),
        HostDelegation(name="kvm2", account="CN=kvm2", unconstrained=False, names=[fault]),
    ]
    found = Delegations(controller="dc", hosts=hosts, links=[link, none])
    monkeypatch.setattr(manage, "show", lambda _directory, _hosts: found)
    monkeypatch.setattr(DirectoryConnector, "__call__", lambda _self: memoryview(b""))  # nothing but a context manager
    code, out, err = vmferry("delegation", "show")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["kvm1", "kvm2", "storage", "classic", "any", "-"],
        ["kvm2", "kvm1", "storage", "-", "-", "all"],
    ]
    assert "kvm1 may act for any user at any host" in err
    assert "cifs/kvm2 is elsewhere, held by web. Run `vmferry delegation register kvm2`" in err
    code, out, _ = vmferry("delegation", "show", "--output", "json")
    assert (code, json.loads(out)) == (Exit.DONE, json.loads(found.model_dump_json()))
