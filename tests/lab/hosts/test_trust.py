"""Users of a domain that the hosts' domain trusts."""

from collections.abc import Iterator

import pytest
from tests.lab.conftest import NAME
from tests.lab.harness import Failed, Pair, vmferry
from tests.lab.realm import GUEST, MOVE, as_person, dc, follow_remedy, refused, said

from vmferry.lab import domain
from vmferry.lab.controller import Controller
from vmferry.lab.lab import Lab

pytestmark = pytest.mark.lab

PARTNER = f"partner@{domain.TRUSTED.realm}"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Two hosts of a domain with a guest on the first, and a newer Samba's domain on the other side of a trust."""
    lab = Lab.named(f"{NAME}t")
    lab.down()
    try:
        lab.up(2, samba="trixie", trust=True, say=print)
        pair = Pair(lab)
        with pair.observing():
            pair.start(GUEST)
            yield pair
            assert pair.observer.ran_twice() == []
    finally:
        lab.down()


def partner(pair: Pair) -> Controller:
    """Return the controller of the other domain."""
    return Controller.of(pair.lab.layout, domain.TRUSTED)


def test_a_user_of_the_other_domain_moves_a_vm_with_her_ticket(pair: Pair) -> None:
    shown = partner(pair).run("samba-tool", "group", "show", domain.OPERATORS, "--attributes=objectSid").stdout
    sid = shown.partition("objectSid: ")[2].split()[0]
    with partner(pair).ticket("partner", pair.two) as variables:
        command = ["env", *(f"{name}={value}" for name, value in variables.items()), "vmferry", "--output", "json"]
        command += ["--host", "kvm1", *MOVE, "kvm2", "--include-storage"]
        with refused("not-allowed", "kvm1"):
            said(pair.two.run(*command, check=False))
        with pytest.raises(Failed) as caught:
            vmferry(pair.one, "host", "set", f"--operator=@{domain.OPERATORS}@{domain.TRUSTED.realm}")
        assert (caught.value.problem["code"], "SID" in caught.value.problem["remedy"]) == ("domain-other", True)
        for host in pair.hosts:
            vmferry(host, "host", "set", f"--operator=@{sid}")
        with refused("delegation-absent", "vmferry delegation grant kvm1 kvm2") as absent:
            said(pair.two.run(*command, check=False))
        follow_remedy(pair, absent)
        assert said(pair.two.run(*command, check=False))["state"] == "done"
    pair.assert_only_on(GUEST, pair.two)
    pair.check(GUEST, pair.two)
    job = vmferry(pair.two, "job", "list")[0]
    assert job["caller"] == {"name": PARTNER, "host": "kvm1", "method": "kerberos"}


def test_a_second_start_changes_nothing(pair: Pair) -> None:
    before = [(one.name, one.pid, (one.home / "wanted.json").read_text()) for one in pair.lab.controllers]
    assert [name for name, _, _ in before] == ["dc", "dc2"]
    pair.lab.up(2, samba="trixie", trust=True)
    assert [(one.name, one.pid, (one.home / "wanted.json").read_text()) for one in pair.lab.controllers] == before
    assert (pair.lab.layout.state / "trust").stat().st_mode & 0o777 == 0o600


def test_on_the_host_itself_she_needs_a_ticket(pair: Pair) -> None:
    """Samba's KDC looks for her in its own domain; Windows' passes the request on."""
    host = pair.two
    as_person(pair.lab, "administrator", host, "delegation", "grant", "kvm2", "kvm1")
    vmferry(host, "host", "set", f"--principal=root={PARTNER}")
    with refused("principal-unknown", f"kinit -f {PARTNER}", "vmferry --host kvm2"):
        vmferry(host, *MOVE, "kvm1", "--include-storage")
    with partner(pair).ticket("partner", host) as variables:
        command = ["env", *(f"{name}={value}" for name, value in variables.items()), "vmferry", "--output", "json"]
        said(host.run(*command, "--host", "kvm2", *MOVE, "kvm1", "--include-storage", check=False))
    pair.assert_only_on(GUEST, pair.one)


def test_a_verification_knows_that_she_is_of_another_domain(pair: Pair) -> None:
    with dc(pair.lab).ticket("administrator", pair.one) as variables:
        command = ["env", *(f"{name}={value}" for name, value in variables.items()), "vmferry", "delegation", "verify"]
        done = pair.one.run(*command, "kvm1", "kvm2", "--as", PARTNER, check=False)
    assert f"{PARTNER} is of another domain" in done.stdout
    assert "principal-unknown" in done.stdout
