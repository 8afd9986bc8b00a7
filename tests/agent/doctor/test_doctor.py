"""What a host makes of itself, of others, and of what these say; the try of the ways, between two daemons."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from tests.agent.conftest import Node
from tests.preflight.make import THERE, UUIDS, expired
from tests.preflight.test_doctor import WELL

from vmferry.core import codes
from vmferry.core.errors import AccessError, InternalError, UnreachableError, UsageError, VmferryError
from vmferry.core.messages.diagnosis import Facts, FactsRequest, HostReport, PairReport, View, ViewRequest
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import Caller
from vmferry.core.messages.probe import ProbedRoute, ProbeOpening, ProbeRequest
from vmferry.core.options import Encryption
from vmferry.core.policy.networks import Local, Network
from vmferry.core.policy.settings import HostSettings, Protection
from vmferry.identity.certificates import create, fingerprint
from vmferry.net import interfaces
from vmferry.preflight.case import End
from vmferry.store.database import Database
from vmferry.store.peers import Peer, Peers
from vmferry.store.settings import Settings

pytest.importorskip("libvirt")
from vmferry.agent.doctor.doctor import Doctor
from vmferry.agent.measure import reachability
from vmferry.agent.measure.reachability import ReachabilityTests
from vmferry.config import Config
from vmferry.preflight.doctor.health import CertificateHealth

Answer = TypeVar("Answer", Facts, View)
ANN = Caller(name="ann", host="kvm1", method="unix")
ON = HostSettings(migration=True)
OTHER = THERE.model_copy(update={"uuid": UUIDS[1], "hostname": "kvm2"})
FACTS = Facts(host=OTHER, encryption=Protection.REQUIRED, addresses=["10.92.0.2"], findings=[])
STALLED = Finding.warns(codes.PROBE_UNTRIED, ("", "x"), host="kvm2", why="x")


def peer(name: str, pem: str) -> Peer:
    return Peer(name, "10.91.0.2", 6601, pem, fingerprint(pem), ("*",), 0.0, "root")


class World:
    """This host's looks and the other hosts' answers, in the place of libvirt and the network."""

    def __init__(self) -> None:
        self.away = False  # this host's libvirt
        self.facts_of: dict[str, Facts | VmferryError] = {}
        self.views: dict[str, View | VmferryError] = {}
        self.asked: list[tuple[str, Any]] = []
        self.reached: list[Finding] = []

    # Look
    def host(self) -> Any:
        if self.away:
            raise UnreachableError(codes.LIBVIRT_UNREACHABLE, host="kvm1", why="refused")
        return THERE

    def certificate(self) -> CertificateHealth:
        return CertificateHealth("x")

    def health(self) -> Any:
        return replace(WELL, host=None, libvirt="refused") if self.away else WELL

    # the client of a host
    def client(self, _config: Config, host: Peer) -> Any:
        return Answers(self, host.name)

    def reach(self, client: Any, end: End, there: str) -> list[Finding]:
        self.asked.append(("reach", there))
        return self.reached


class Answers:
    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    def facts(self, request: FactsRequest) -> Facts:
        self._world.asked.append(("facts", self._name))
        return _said(self._world.facts_of.get(self._name, FACTS))

    def view(self, request: ViewRequest) -> View:
        self._world.asked.append((self._name, request))
        return _said(self._world.views[self._name])


def _said(answer: Answer | VmferryError) -> Answer:
    if isinstance(answer, VmferryError):
        raise answer
    return answer


def report(name: str) -> HostReport:
    return HostReport(name=name, vmferry="1", libvirt="9", qemu="7", migration=True, findings=[], untold=[])


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def doctor(tmp_path: Any, world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doctor]:
    monkeypatch.setattr(interfaces, "addresses", lambda: [Local("10.92.0.1", 24, "mig")])
    config = Config(name="kvm1", state_folder=tmp_path, run_folder=tmp_path / "run")
    with Database(config.database) as database:
        peers, settings = Peers(database), Settings(database)
        settings.save(ON)
        for name in ("kvm2", "kvm3"):
            peers.add(peer(name, create(name)[0]))
        made: Any = world
        yield Doctor(config, peers, settings, made, world.client, world.reach)


def meet(doctor: Doctor) -> PairReport:
    return doctor.view(["kvm2"]).pairs[0]


def found(pair: PairReport) -> list[str]:
    return [finding.code for finding in pair.findings]


def test_this_host(doctor: Doctor, world: World) -> None:
    said = doctor.examine()
    assert (said.name, said.libvirt, said.qemu, said.migration) == ("kvm1", "9.0.0", "7.2.22", True)
    assert (said.findings, said.untold) == ([], [])
    world.away = True
    said = doctor.examine()
    assert (said.libvirt, [finding.code for finding in said.findings]) == ("", ["libvirt-unreachable"])


def test_what_others_are_told(doctor: Doctor) -> None:
    facts = doctor.facts(FactsRequest(networks=["10.92.0.0/24"]))
    assert (facts.addresses, facts.findings) == (["10.92.0.1"], [])
    assert facts.host.clock > THERE.clock  # the time of the answer, not of the snapshot
    doctor.settings.save(HostSettings())
    assert [finding.code for finding in doctor.facts(FactsRequest()).findings] == ["migration-disabled"]


def with_clock(facts: Facts, seconds: float) -> Facts:
    return facts.model_copy(update={"host": facts.host.model_copy(update={"clock": time.time() + seconds})})


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            FACTS.model_copy(update={"host": OTHER.model_copy(update={"uuid": UUIDS[0]})}),
            ["same-host-uuid"],
        ),
        (FACTS.model_copy(update={"host": OTHER.model_copy(update={"hostname": "kvm1"})}), ["same-hostname"]),
        (FACTS.model_copy(update={"host": OTHER.model_copy(update={"vmferry": "0.9"})}), ["vmferry-differs"]),
        (FACTS.model_copy(update={"encryption": Protection.OPTIONAL}), ["encryption-differs"]),
        (AccessError(codes.NOT_PAIRED, host="kvm2"), ["not-paired"]),
        (AccessError(codes.CERTIFICATE_CHANGED, host="kvm2"), ["certificate-changed"]),
        (UnreachableError(codes.HOST_UNREACHABLE, host="kvm2", address="x", why="no route"), ["host-unreachable"]),
    ],
)
def test_what_stands_between_two_hosts(
    doctor: Doctor, world: World, facts: Facts | VmferryError, expected: list[str]
) -> None:
    world.facts_of["kvm2"] = with_clock(facts, 0) if isinstance(facts, Facts) else facts
    assert found(meet(doctor)) == expected
    assert (("reach", "kvm2") in world.asked) == isinstance(facts, Facts)


@pytest.mark.parametrize(("seconds", "expected"), [(0, []), (-60, ["clock-differs"]), (60, ["clock-differs"])])
def test_a_clock_that_is_off(doctor: Doctor, world: World, seconds: float, expected: list[str]) -> None:
    world.facts_of["kvm2"] = with_clock(FACTS, seconds)
    assert found(meet(doctor)) == expected


def test_what_the_settings_of_either_host_forbid(doctor: Doctor, world: World) -> None:
    world.facts_of["kvm2"] = with_clock(FACTS, 0)
    doctor.settings.save(
        HostSettings(migration=False, any_network=False, networks=[Network(subnet="10.92.0.0/30", priority=1)])
    )
    assert found(meet(doctor)) == ["migration-disabled"]
    elsewhere = with_clock(FACTS.model_copy(update={"addresses": ["10.95.0.2"]}), 0)
    world.facts_of["kvm2"] = elsewhere
    assert found(meet(doctor)) == ["migration-disabled", "migration-network-not-common"]


def test_a_certificate_of_the_other_host_that_has_expired(doctor: Doctor, world: World) -> None:
    doctor.peers.remove("kvm2")
    doctor.peers.add(peer("kvm2", expired("kvm2")[0]))
    world.facts_of["kvm2"] = AccessError(codes.CERTIFICATE_CHANGED, host="kvm2")
    assert found(meet(doctor)) == ["certificate-expired"]


def test_every_way_is_told_by_the_host_that_it_begins_at(doctor: Doctor, world: World) -> None:
    for name in ("kvm2", "kvm3"):
        world.facts_of[name] = with_clock(FACTS, 0)
    world.reached = [STALLED]
    gone = Finding.blocks(codes.HOST_UNKNOWN, ("not paired", ""), host="kvm3", local="kvm2")
    world.views["kvm2"] = View(
        report=report("kvm2"),
        pairs=[
            PairReport(source="kvm2", destination="kvm3", findings=[gone]),
            PairReport(source="kvm2", destination="kvm1", findings=[]),
            PairReport(source="kvm3", destination="kvm1", findings=[]),  # not its to tell
            PairReport(source="kvm2", destination="kvm9", findings=[]),  # not asked
        ],
    )
    world.views["kvm3"] = UnreachableError(codes.HOST_UNREACHABLE, host="kvm3", address="x", why="no route")
    matrix = doctor.diagnose([], ANN)
    assert {f"{pair.source} {pair.destination}": found(pair) for pair in matrix.pairs} == {
        "kvm1 kvm2": ["data-port-untried"],
        "kvm1 kvm3": ["data-port-untried"],
        "kvm2 kvm1": [],
        "kvm2 kvm3": ["host-unknown"],
        "kvm3 kvm1": ["view-unknown"],
        "kvm3 kvm2": ["view-unknown"],
    }
    assert [(host.name, [one.code for one in host.findings]) for host in matrix.hosts] == [
        ("kvm1", []),
        ("kvm2", []),
        ("kvm3", ["host-unreachable"]),
    ]
    assert ("kvm2", ViewRequest(hosts=["kvm1", "kvm3"], caller=ANN)) in world.asked


def test_a_host_that_leaves_one_out(doctor: Doctor, world: World) -> None:
    world.views["kvm2"] = View(report=report("another"), pairs=[])
    matrix = doctor.diagnose(["kvm2", "kvm1", "kvm2"], ANN)
    assert [host.name for host in matrix.hosts] == ["kvm1", "kvm2"]
    assert found(matrix.pairs[1]) == ["view-unknown"]


def test_a_host_that_this_one_does_not_know(doctor: Doctor) -> None:
    with pytest.raises(UsageError) as caught:
        doctor.diagnose(["kvm9"], ANN)
    assert caught.value.code is codes.HOST_UNKNOWN
    assert found(doctor.view(["kvm9"]).pairs[0]) == ["host-unknown"]


# --- the try of the ways, and who may ask for it ------------------------------------------------------------


@pytest.fixture
def listeners(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> ReachabilityTests:
    monkeypatch.setattr(interfaces, "addresses", lambda: [Local("127.0.0.1", 8, "lo")])
    config = doctor.config.model_copy(update={"advertise": "127.0.0.1", "data_ports": (16610, 16619)})
    return ReachabilityTests(config, doctor.settings, lambda: True)


class Asked:
    """The other host's daemon, called directly."""

    def __init__(self, listeners: ReachabilityTests | VmferryError) -> None:
        self._listeners = listeners

    def probe(self, request: ProbeRequest) -> ProbeOpening:
        if isinstance(self._listeners, VmferryError):
            raise self._listeners
        return self._listeners.listen(request, peer("kvm1", create("kvm1")[0]))


def reach(asked: Any, settings: HostSettings = ON) -> list[Finding]:
    return reachability.reach(asked, End("kvm1", settings, interfaces.addresses(), Encryption.REQUIRED, True), "kvm2")


def test_a_way_that_carries_everything(listeners: ReachabilityTests) -> None:
    assert reach(Asked(listeners)) == []


@pytest.mark.parametrize("here", [True, False])
def test_where_moves_fill_the_way_what_is_lost_tells_nothing(
    listeners: ReachabilityTests, monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    lost = [ProbedRoute(address="127.0.0.1", port=16610, error="timed out")]
    monkeypatch.setattr("vmferry.transfer.measure.reachability.reach", lambda *_: lost)
    settings, idle = ON, lambda: True
    end = End("kvm1", settings, interfaces.addresses(), Encryption.REQUIRED, True)
    assert [one.code for one in reachability.reach(Asked(listeners), end, "kvm2", idle)] == ["data-port-unreachable"]  # type: ignore[arg-type]
    there = listeners if here else replace(listeners, quiet=lambda: False)
    (finding,) = reachability.reach(Asked(there), end, "kvm2", (lambda: False) if here else idle)  # type: ignore[arg-type]
    assert (finding.code, finding.severity) == ("data-port-untried", "warns")


def test_a_try_that_cannot_be_made_is_told_and_blocks_nothing(listeners: ReachabilityTests) -> None:
    full = InternalError(codes.PORTS_TAKEN, first=6610, last=6659, addresses="x", why="in use")
    older = UsageError(codes.NOT_FOUND, path="/peer/probes")
    for error in (full, older):
        (untried,) = reach(Asked(error))
        assert (untried.code, untried.severity) == ("data-port-untried", "warns")
    for _ in range(reachability.AT_ONCE):
        assert listeners.places.acquire(blocking=False)
    (untried,) = reach(Asked(listeners))
    assert "Too many hosts" in untried.detail


def test_hosts_without_a_common_network_try_nothing(listeners: ReachabilityTests) -> None:
    only = HostSettings(migration=True, any_network=False, networks=[Network(subnet="10.95.0.0/24")])
    assert reach(Asked(listeners), only) == []
    listeners.settings.save(only)
    assert reach(Asked(listeners)) == []


def test_a_place_is_free_again_when_a_listener_has_ended(listeners: ReachabilityTests) -> None:
    listeners.listen(ProbeRequest(), peer("kvm1", create("kvm1")[0]))
    taken = [listeners.places.acquire(blocking=False) for _ in range(reachability.AT_ONCE)]
    assert taken.count(True) == reachability.AT_ONCE - 1
    assert listeners.places.acquire(timeout=10.0)


def test_over_the_api(kvm1: Node, kvm2: Node) -> None:
    kvm1.pair(kvm2)
    assert kvm1.client.examine().name == "kvm1"
    assert kvm1.client.diagnose(["kvm2"]).pairs == []
    assert kvm1.made.asked[-1][:2] == ("diagnose", ["kvm2"])
    asked = kvm1.peer(kvm2)
    assert asked.facts(FactsRequest(networks=["10.92.0.0/24"])).addresses == ["10.0.0.2"]
    assert asked.view(ViewRequest(hosts=["kvm1"], caller=ANN)).report.name == "kvm1"
    assert asked.probe(ProbeRequest()).addresses == []
    assert [one[0] for one in kvm2.made.asked] == ["facts", "view", "listen"]
    assert kvm2.made.asked[-1][2].name == "kvm1"


def test_a_view_is_only_for_whom_the_host_lets(nodes: Callable[[str], Node]) -> None:
    kvm1, kvm2 = nodes("kvm1"), nodes("kvm2")
    kvm1.client.pair(kvm2.client.invite(["bob"]).token)
    with pytest.raises(VmferryError) as caught:
        kvm1.peer(kvm2).view(ViewRequest(hosts=[], caller=ANN))
    assert caught.value.code is codes.NOT_ALLOWED
    assert kvm2.made.asked == []
