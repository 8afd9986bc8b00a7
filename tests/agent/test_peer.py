"""What paired hosts ask of each other, and what they must show for it."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from vmferry.core import codes, jobkey
from vmferry.core.errors import PreflightError, VmferryError
from vmferry.core.job import Role
from vmferry.core.messages.api import KnownVerdict
from vmferry.core.messages.bandwidth import BandwidthRequest
from vmferry.core.messages.diagnosis import FactsRequest, ViewRequest
from vmferry.core.messages.offer import Caller, MoveOptions, Offer, Proposal
from vmferry.core.messages.probe import ProbeRequest
from vmferry.core.messages.snapshot import HostSnapshot
from vmferry.core.options import Encryption
from vmferry.jobs import spec
from vmferry.store.peers import PeerKind

if TYPE_CHECKING:
    from tests.agent.conftest import Node

KEY = "5a" * 32
THEN = ("11" * 32, "22" * 32)


def offer(caller: str = "alice") -> Offer:
    return Offer(
        job="0001",
        vm="web01",
        uuid="7f0c8cc5-2d4c-4f4b-9b5a-0123456789ab",
        caller=Caller(name=caller, host="kvm1", method="unix"),
        source="kvm1",
        host=HostSnapshot(uuid="11111111-1111-4111-8111-111111111111"),
        live_xml="<domain>" + " " * (1 << 20) + "</domain>",
        persistent_xml="<domain/>",
        autostart=True,
        memory=1 << 30,
        artifacts=[],
        options=MoveOptions(),
        certificate="PEM",
    )


def proof(source: "Node", destination: "Node", job: str = "0001", key: str = KEY) -> str:
    return jobkey.proof(key, job, source.identity.fingerprint, destination.identity.fingerprint, "control")


@pytest.fixture
def paired(kvm1: "Node", kvm2: "Node") -> tuple["Node", "Node"]:
    """Give the source and the destination."""
    kvm1.pair(kvm2)
    return kvm1, kvm2


def test_offer_admit_go(paired: tuple["Node", "Node"]) -> None:
    kvm1, kvm2 = paired
    peer = kvm1.peer(kvm2)
    assert peer.offer(offer()).job_key == KEY
    _, asked, host = kvm2.made.asked[-1]
    assert asked == offer()
    assert host.name == "kvm1"
    shown = proof(kvm1, kvm2)
    assert peer.admit("0001", shown).addresses[0].port == 6610
    peer.abort("0001", shown, "the link broke")
    assert not peer.go("0001", shown, suspended=True).ended
    assert not peer.go("0001", shown).ended
    assert kvm2.made.asked[1:3] == [("admit", "0001"), ("abort", "0001", "the link broke")]
    assert kvm2.made.asked[3:] == [("go", ("0001", True)), ("go", ("0001", False))]


def proposal(caller: str) -> Proposal:
    known = offer(caller).model_dump(exclude={"job", "memory_channels", "certificate", "place", "audit_head"})
    return Proposal.model_validate(known)


def test_a_check_is_answered_and_forgotten(paired: tuple["Node", "Node"]) -> None:
    kvm1, kvm2 = paired
    report = kvm1.peer(kvm2).check(proposal("alice"))
    assert [finding.code for finding in report.findings] == ["same-hostname"]
    assert kvm2.made.asked[0][:2] == ("check", proposal("alice"))
    assert kvm2.client.jobs() == []


def test_a_measurement_is_for_paired_hosts(paired: tuple["Node", "Node"]) -> None:
    kvm1, kvm2 = paired
    request = BandwidthRequest(certificate="PEM", encryption=Encryption.REQUIRED, networks=["10.20.0.0/24"])
    peer = kvm1.peer(kvm2)
    assert peer.measure(request).key == KEY
    _, asked, host = kvm2.made.asked[-1]
    assert (asked, host.name) == (request, "kvm1")
    kvm2.client.unpair("kvm1")
    with pytest.raises(VmferryError) as caught:
        peer.measure(request)
    assert caught.value.code is codes.NOT_PAIRED


def test_a_host_of_the_domain_that_has_not_signed_in_of_late_is_not_heard(paired: tuple["Node", "Node"]) -> None:
    kvm1, kvm2 = paired
    client = kvm1.peer(kvm2)
    client.facts(FactsRequest())
    known = kvm2.stores.peers.get("kvm1")
    assert known is not None
    kvm2.stores.peers.remove("kvm1")
    kvm2.stores.peers.meet(replace(known, kind=PeerKind.DOMAIN, callers=()))
    asked: tuple[Callable[[], object], ...] = (
        lambda: client.facts(FactsRequest()),
        lambda: client.probe(ProbeRequest()),
        lambda: client.view(ViewRequest(hosts=[], caller=Caller(name="alice", host="kvm1", method="unix"))),
        lambda: client.measure(BandwidthRequest(certificate="PEM", encryption=Encryption.REQUIRED)),
        lambda: client.challenge("7f0c8cc5-2d4c-4f4b-9b5a-0123456789ab"),
        client.back,
    )
    before = len(kvm2.made.asked)
    for ask in asked:
        with pytest.raises(VmferryError) as caught:
            ask()
        assert caught.value.code is codes.SIGN_IN_NEEDED
    assert len(kvm2.made.asked) == before
    assert client.hello().name == "kvm2"


def test_a_check_is_only_for_whom_the_destination_lets(kvm1: "Node", kvm2: "Node") -> None:
    kvm1.client.pair(kvm2.client.invite(["bob"]).token)
    with pytest.raises(VmferryError) as caught:
        kvm1.peer(kvm2).check(proposal("alice"))
    assert caught.value.code is codes.NOT_ALLOWED
    assert kvm2.made.asked == []


def test_verdict(paired: tuple["Node", "Node"]) -> None:
    kvm1, kvm2 = paired
    kvm1.job()
    shown = proof(kvm1, kvm2)
    assert kvm2.peer(kvm1).verdict("0001", shown).verdict is KnownVerdict.UNDECIDED
    kvm1.made.said = KnownVerdict.GO
    assert kvm2.peer(kvm1).verdict("0001", shown).verdict is KnownVerdict.GO


def test_errors_cross(paired: tuple["Node", "Node"]) -> None:
    kvm1, kvm2 = paired
    kvm2.made.raises = PreflightError(codes.NAME_TAKEN, host="kvm2", vm="web01")
    with pytest.raises(PreflightError) as caught:
        kvm1.peer(kvm2).offer(offer())
    assert caught.value.problem() == kvm2.made.raises.problem()


def test_destination_authorises_the_caller_for_itself(kvm1: "Node", kvm2: "Node") -> None:
    kvm1.client.pair(kvm2.client.invite(["bob"]).token)
    with pytest.raises(VmferryError) as caught:
        kvm1.peer(kvm2).offer(offer("alice"))
    assert caught.value.code is codes.NOT_ALLOWED
    assert "kvm2" in caught.value.reason
    assert "alice" in caught.value.reason
    assert kvm2.made.asked == []
    kvm1.peer(kvm2).offer(offer("bob"))


def test_job_needs_its_key(paired: tuple["Node", "Node"]) -> None:
    kvm1, kvm2 = paired
    peer = kvm1.peer(kvm2)
    peer.offer(offer())
    wrong = [
        "",
        "00" * 32,
        "no hex",
        proof(kvm1, kvm2, key="5b" * 32),
        proof(kvm1, kvm2, job="0002"),
        proof(kvm2, kvm1),
        jobkey.proof(KEY, "0001", kvm1.identity.fingerprint, kvm2.identity.fingerprint, "hello"),
    ]
    for shown in wrong:
        with pytest.raises(VmferryError) as caught:
            peer.go("0001", shown)
        assert caught.value.code is codes.JOB_KEY_WRONG
    assert [asked[0] for asked in kvm2.made.asked] == ["offer"]


def test_job_of_another_host_does_not_exist(paired: tuple["Node", "Node"]) -> None:
    kvm1, kvm2 = paired
    kvm2.job("0001", Role.DESTINATION, peer="kvm3")
    shown = proof(kvm1, kvm2)
    peer = kvm1.peer(kvm2)
    with pytest.raises(VmferryError) as caught:
        peer.admit("0001", shown)
    assert caught.value.code is codes.JOB_UNKNOWN
    kvm2.end("0001")
    kvm2.job("0002", Role.DESTINATION, peer="kvm1")
    with pytest.raises(VmferryError) as caught:  # it is not the source of that one
        peer.verdict("0002", proof(kvm2, kvm1, "0002"))
    assert caught.value.code is codes.JOB_UNKNOWN


def test_host_that_is_unpaired_meanwhile(paired: tuple["Node", "Node"]) -> None:
    kvm1, kvm2 = paired
    with kvm1.peer(kvm2)._connect() as connection:
        assert connection.request("GET", "/peer/hello")["name"] == "kvm2"
        kvm2.stores.peers.remove("kvm1")
        with pytest.raises(VmferryError) as caught:
            connection.request("GET", "/peer/hello")
        assert caught.value.code is codes.NOT_PAIRED


def test_paired_host_has_the_peer_api_only(paired: tuple["Node", "Node"]) -> None:
    kvm1, kvm2 = paired
    peer = kvm1.peer(kvm2)
    for method, path in (("GET", "/vms"), ("POST", "/pairing/invitations"), ("DELETE", "/hosts/kvm1")):
        with pytest.raises(VmferryError) as caught:
            peer._call(method, path, {})
        assert caught.value.code is codes.NOT_AUTHENTICATED


def test_a_newer_host_is_understood(paired: tuple["Node", "Node"]) -> None:
    kvm1, kvm2 = paired
    peer = kvm1.peer(kvm2)
    newer = proposal("alice").wire() | {"weather": "fine", "options": {"hover": True}}
    assert "findings" in peer._call("POST", "/peer/checks", newer)
    assert kvm2.made.asked[0][1] == proposal("alice")
    with pytest.raises(PreflightError, match="Update vmferry on kvm2") as refused:
        peer._call("POST", "/peer/checks", newer | {"requires": ["hovering"]})
    assert refused.value.fields == {"host": "kvm2", "what": "hovering"}
    with pytest.raises(PreflightError) as refused:
        peer._call("POST", "/peer/checks", newer | {"options": {"performance": "teleport"}})
    assert refused.value.fields == {"host": "kvm2", "what": "options.performance teleport"}


def test_what_has_its_default_is_not_answered(paired: tuple["Node", "Node"]) -> None:
    kvm1, kvm2 = paired
    answer = kvm1.peer(kvm2)._call("POST", "/peer/offers", offer().wire())
    assert "job_key" in answer
    assert not {"requires", "findings", "refusal"} & set(answer)


def test_a_proof_holds_where_a_host_shows_another_certificate_by_now(paired: tuple["Node", "Node"]) -> None:
    """The key is bound to what was shown at the offer; else a job in doubt could never be settled."""
    kvm1, kvm2 = paired
    kvm1.peer(kvm2).offer(offer())
    folder = spec.folder(kvm2.config.state_folder, "0001")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ends").write_text(f"{THEN[0]} {THEN[1]}")
    shown = jobkey.proof(KEY, "0001", *THEN, "control")
    assert not kvm1.peer(kvm2).go("0001", shown).ended
    with pytest.raises(VmferryError, match="key"):
        kvm1.peer(kvm2).go("0001", proof(kvm1, kvm2))
    spec.forget(kvm2.config.state_folder, "0001", key=True)
    assert spec.ends(kvm2.config.state_folder, "0001") is None
