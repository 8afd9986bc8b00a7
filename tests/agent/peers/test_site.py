"""Hosts that an authority of the site vouches for: real certificates, real handshakes on loopback."""

import logging
import queue
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from logging.handlers import QueueHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.agent.http.test_api import raw
from tests.agent.test_peer import KEY, offer
from tests.authority import BOTH, DAY, Authority

from vmferry.agent.peers import site_hosts
from vmferry.agent.peers.site_hosts import SiteHosts
from vmferry.client import Client
from vmferry.core import codes, jobkey
from vmferry.core.errors import Code, VmferryError
from vmferry.core.job import Role
from vmferry.core.messages.api import KnownVerdict, TokenRequest
from vmferry.core.messages.siteapi import TrustRequest
from vmferry.core.policy.settings import HostSettings
from vmferry.identity import site
from vmferry.identity.peer import PeerClient
from vmferry.net import tls
from vmferry.safefiles import write
from vmferry.store.peers import Peer, PeerKind

if TYPE_CHECKING:
    from tests.agent.conftest import Node


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def refused(code: Code, call: Callable[[], object]) -> VmferryError:
    with pytest.raises(VmferryError) as caught:
        call()
    assert caught.value.code is code, caught.value
    return caught.value


def join(node: "Node", authority: Authority, *names: str, trusted: Authority | None = None, **changes: Any) -> None:
    """Let a host trust an authority and have its certificate, whether or not the certificate is right."""
    node.client.set_trust(TrustRequest(certificates=(trusted or authority).pem))
    asked = node.client.request_certificate(names or [f"{node.config.name}.test", "localhost", "127.0.0.1"])
    write(site.chain_file(node.config), authority.sign(asked.request, **changes))
    node.stop()
    node.start()


def find(node: "Node", other: "Node", name: str = "localhost") -> Peer:
    return SiteHosts(node.config, node.stores.peers).find(f"{name}:{other.config.port}")


def test_from_request_to_certificate(kvm1: "Node", authority: Authority) -> None:
    refused(codes.SITE_MISSING, kvm1.client.certificate)
    answer = kvm1.client.set_trust(TrustRequest(certificates=authority.pem, callers=["ann"], names=["*.test"]))
    assert [one.subject for one in answer.authorities] == ["CN=Site CA"]
    assert (answer.callers, answer.names, answer.set_by) == (["ann"], ["*.test"], "root")
    assert "vmferry host certificate request" in answer.notes[0]
    asked = kvm1.client.request_certificate(["kvm1.test", "127.0.0.1"])
    shown = kvm1.client.install_certificate(authority.sign(asked.request))
    assert (shown.name, shown.names, shown.issuer) == ("kvm1.test", ["kvm1.test", "127.0.0.1"], "CN=Site CA")
    assert kvm1.client.certificate() == shown
    assert kvm1.client.trust().notes == []
    for file in ("trust.json", "site.pem"):
        assert (kvm1.config.state_folder / file).stat().st_mode & 0o777 == 0o600
    assert not (kvm1.config.state_folder / "site.pem.new").exists()
    kvm1.client.remove_trust()
    assert kvm1.client.trust().authorities == []


def test_a_request_names_the_host_unless_told_otherwise(kvm1: "Node") -> None:
    asked = kvm1.client.request_certificate()
    assert {"kvm1", "127.0.0.1"} <= set(asked.names)
    refused(codes.BAD_REQUEST, lambda: kvm1.client.request_certificate(["kvm1 é"]))


def test_hosts_of_the_site_know_each_other_without_pairing(kvm1: "Node", kvm2: "Node", authority: Authority) -> None:
    for node in (kvm1, kvm2):
        join(node, authority)
    peer = find(kvm1, kvm2)
    assert (peer.name, peer.address, peer.kind) == ("kvm2.test", "localhost", PeerKind.SITE)
    assert peer.fingerprint == kvm2.client.certificate().fingerprint != kvm2.identity.fingerprint
    (listed,) = kvm1.client.hosts()
    assert (listed.name, listed.known_by, listed.paired_by) == ("kvm2.test", "site", "root")
    (back,) = kvm2.client.hosts()  # it learnt where to ask back
    assert (back.name, back.address, back.port) == ("kvm1.test", "127.0.0.1", kvm1.config.port)
    assert SiteHosts(kvm1.config, kvm1.stores.peers).find("kvm2.test") == peer  # by its name, where it was met


def test_a_host_that_has_moved_is_found_by_its_name(
    kvm1: "Node", kvm2: "Node", authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in (kvm1, kvm2):
        join(node, authority, "localhost")
    met = find(kvm1, kvm2)
    assert met.name == "localhost"
    kvm1.stores.peers.meet(replace(met, address="127.0.0.1", port=1))
    refused(codes.HOST_UNREACHABLE, lambda: SiteHosts(kvm1.config, kvm1.stores.peers).find("localhost"))
    monkeypatch.setattr(site_hosts, "PORT", kvm2.config.port)
    assert SiteHosts(kvm1.config, kvm1.stores.peers).find("localhost") == met
    kvm2.client.set_trust(TrustRequest(certificates=authority.pem))
    assert kvm2.client.hosts() == []  # known again when it is met


def test_a_job_is_bound_to_the_certificates_that_were_shown(kvm1: "Node", kvm2: "Node", authority: Authority) -> None:
    for node in (kvm1, kvm2):
        join(node, authority)
    peer = find(kvm1, kvm2)
    client = PeerClient(kvm1.config, peer)
    client.offer(offer().model_copy(update={"source": "kvm1.test"}))
    assert kvm2.stores.jobs.get("0001").peer == "kvm1.test"
    mine = kvm1.client.certificate().fingerprint
    paired = jobkey.proof(KEY, "0001", kvm1.identity.fingerprint, kvm2.identity.fingerprint, "control")
    refused(codes.JOB_KEY_WRONG, lambda: client.go("0001", paired))
    assert not client.go("0001", jobkey.proof(KEY, "0001", mine, peer.fingerprint, "control")).ended
    assert kvm2.client.audit()[-1].caller == "kvm1.test"
    for change in (
        lambda: kvm2.client.remove_trust(),
        lambda: kvm2.client.set_trust(TrustRequest(certificates=authority.pem)),
        lambda: kvm2.client.install_certificate(authority.sign(kvm2.client.request_certificate(["x"]).request)),
    ):
        assert refused(codes.SITE_BUSY, change).fields == {"job": "0001", "host": "kvm1.test"}


def test_the_destination_asks_back_for_the_verdict(kvm1: "Node", kvm2: "Node", authority: Authority) -> None:
    for node in (kvm1, kvm2):
        join(node, authority)
    there = find(kvm1, kvm2)
    kvm1.job(peer="kvm2.test")
    kvm1.made.said = KnownVerdict.GO
    back = kvm2.stores.peers.get("kvm1.test")
    assert back is not None
    proof = jobkey.proof(KEY, "0001", kvm1.client.certificate().fingerprint, there.fingerprint, "control")
    client = PeerClient(kvm2.config, Peer(**{**_fields(back), "name": "localhost"}))
    assert client.verdict("0001", proof).verdict is KnownVerdict.GO


def _fields(peer: Peer) -> dict[str, Any]:
    return {name: getattr(peer, name) for name in Peer.__slots__}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"start": -2 * DAY, "end": -DAY}, codes.SITE_EXPIRED),
        ({"start": DAY, "end": 2 * DAY}, codes.SITE_NOT_YET_VALID),
        ({"names": ["kvm9.test"]}, codes.SITE_NAME),
        ({"names": ["*.test", "*"]}, codes.SITE_NAME),
        ({"names": []}, codes.SITE_NAME),
        ({"usages": []}, codes.SITE_USAGE),
        ({"usages": BOTH[:1]}, codes.SITE_USAGE),
        ({"usages": BOTH[1:]}, codes.SITE_USAGE),
    ],
)
def test_a_destination_with_a_wrong_certificate(
    kvm1: "Node", kvm2: "Node", authority: Authority, wrong: dict[str, Any], code: Code
) -> None:
    join(kvm1, authority)
    join(kvm2, authority, **wrong)
    error = refused(code, lambda: find(kvm1, kvm2))
    assert int(error.exit_code) == 4
    assert kvm1.client.hosts() == []


def test_a_name_must_be_spelled_out(kvm1: "Node", kvm2: "Node", authority: Authority) -> None:
    join(kvm1, authority)
    join(kvm2, authority, "kvm9.test", "*.site.test")  # TLS itself would take it for kvm2.site.test
    there = Peer("kvm2.site.test", "127.0.0.1", kvm2.config.port, "", "", ("*",), 0.0, "root", PeerKind.SITE)
    error = refused(codes.SITE_NAME, PeerClient(kvm1.config, there).hello)
    assert error.fields["names"] == "kvm9.test"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"names": ["*.test"]}, codes.SITE_NAME),
        ({"names": []}, codes.SITE_UNNAMED),
        ({"usages": []}, codes.SITE_USAGE),
        ({"usages": BOTH[1:]}, codes.SITE_USAGE),
        ({"usages": BOTH[:1]}, codes.SITE_REFUSED),  # by TLS itself
        ({"start": -2 * DAY, "end": -DAY}, codes.SITE_REFUSED),
        ({"start": DAY, "end": 2 * DAY}, codes.SITE_REFUSED),
    ],
)
def test_a_source_with_a_wrong_certificate_is_refused_by_the_destination(
    kvm1: "Node",
    kvm2: "Node",
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, Any],
    code: Code,
) -> None:
    """Even when it does not look at its own."""
    join(kvm1, authority, **wrong)
    join(kvm2, authority)
    monkeypatch.setattr(site, "own", lambda config: None)
    refused(code, lambda: find(kvm1, kvm2))
    assert kvm2.client.hosts() == []


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"start": -2 * DAY, "end": -DAY}, codes.SITE_EXPIRED),
        ({"start": DAY, "end": 2 * DAY}, codes.SITE_NOT_YET_VALID),
    ],
)
def test_a_source_looks_at_its_own_first(
    kvm1: "Node", kvm2: "Node", authority: Authority, wrong: dict[str, Any], code: Code
) -> None:
    join(kvm1, authority, **wrong)
    join(kvm2, authority)
    assert refused(code, lambda: find(kvm1, kvm2)).fields["host"] == "kvm1"


def test_another_authority(kvm1: "Node", kvm2: "Node", authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    said: queue.Queue[logging.LogRecord] = queue.Queue()
    monkeypatch.setattr(logging.getLogger("vmferry.agent"), "handlers", [QueueHandler(said)])
    other = Authority()  # of the same name: it is the key that counts
    join(kvm1, authority)
    join(kvm2, other)
    refused(codes.SITE_ISSUER, lambda: find(kvm1, kvm2))
    join(kvm2, authority, trusted=other)
    error = refused(codes.SITE_REFUSED, lambda: find(kvm1, kvm2))
    assert error.fields == {"host": "localhost", "local": "kvm1"}
    assert "a host at 127.0.0.1 was refused" in said.get(timeout=10.0).getMessage()


def test_one_that_takes_no_part(kvm1: "Node", kvm2: "Node", authority: Authority) -> None:
    refused(codes.HOST_UNKNOWN, lambda: find(kvm1, kvm2))
    kvm1.client.set_trust(TrustRequest(certificates=authority.pem))
    refused(codes.SITE_MISSING, lambda: find(kvm1, kvm2))
    join(kvm1, authority)
    refused(codes.SITE_ISSUER, lambda: find(kvm1, kvm2))
    join(kvm2, authority)
    kvm2.client.remove_trust()
    refused(codes.SITE_REFUSED, lambda: find(kvm1, kvm2))


def test_trust_that_is_taken_back_counts_on_open_connections(kvm1: "Node", kvm2: "Node", authority: Authority) -> None:
    for node in (kvm1, kvm2):
        join(node, authority)
    client = PeerClient(kvm1.config, find(kvm1, kvm2))
    client._peer = client._bond._peer = Peer(**{**_fields(client._peer), "name": "localhost"})  # type: ignore[attr-defined]
    client._bond.server_name = "localhost"
    with client._connect() as connection:
        assert connection.request("GET", "/peer/hello")["name"] == "kvm2"
        kvm2.client.set_trust(TrustRequest(certificates=Authority().pem))
        refused(codes.NOT_PAIRED, lambda: connection.request("GET", "/peer/hello"))
        kvm2.client.remove_trust()
        refused(codes.NOT_PAIRED, lambda: connection.request("GET", "/peer/hello"))
    assert kvm2.client.hosts() == []


def test_intermediate_authorities_and_a_change_of_root(kvm1: "Node", kvm2: "Node", authority: Authority) -> None:
    below = Authority("Hosts CA", authority)
    join(kvm1, below, trusted=authority)
    join(kvm2, authority)
    assert find(kvm1, kvm2).name == "kvm2.test"
    new = Authority("New CA")
    for node in (kvm1, kvm2):
        answer = node.client.set_trust(TrustRequest(certificates=authority.pem + new.pem))
        assert len(answer.authorities) == 2
    join_new = new.sign(kvm2.client.request_certificate(["kvm2.test", "localhost"]).request)
    kvm2.client.install_certificate(join_new)
    assert find(kvm1, kvm2).fingerprint == kvm2.client.certificate().fingerprint
    kvm1.client.set_trust(TrustRequest(certificates=below.pem))  # one that is no root will do
    kvm2.client.install_certificate(below.sign(kvm2.client.request_certificate(["kvm2.test", "localhost"]).request))
    assert find(kvm1, kvm2).name == "kvm2.test"


def test_names_and_callers_that_are_let_in(kvm1: "Node", kvm2: "Node", authority: Authority) -> None:
    for node in (kvm1, kvm2):
        join(node, authority)
    kvm2.client.set_trust(TrustRequest(certificates=authority.pem, names=["*.example", "kvm3*"]))
    error = refused(codes.SITE_NOT_ADMITTED, lambda: find(kvm1, kvm2))
    assert error.fields["host"] == "kvm1.test"
    kvm2.client.set_trust(TrustRequest(certificates=authority.pem, names=["KVM?.test"], callers=["bob"]))
    peer = find(kvm1, kvm2)
    asked = offer("alice").model_copy(update={"source": "kvm1.test"})
    error = refused(codes.NOT_ALLOWED, lambda: PeerClient(kvm1.config, peer).offer(asked))
    assert "alice" in error.reason
    kvm1.client.set_trust(TrustRequest(certificates=authority.pem, names=["kvm9.test"]))
    refused(codes.SITE_NOT_ADMITTED, lambda: find(kvm1, kvm2))  # nor does it send VMs there


def test_pairing_goes_on_beside_it(kvm1: "Node", kvm2: "Node", authority: Authority) -> None:
    kvm1.pair(kvm2)
    for node in (kvm1, kvm2):
        join(node, authority)
    assert kvm1.peer(kvm2).hello().name == "kvm2"
    assert find(kvm1, kvm2).name == "kvm2.test"
    assert {host.name: host.known_by for host in kvm1.client.hosts()} == {"kvm2": "pairing", "kvm2.test": "site"}
    kvm1.client.remove_trust()
    assert [host.name for host in kvm1.client.hosts()] == ["kvm2"]
    assert kvm1.peer(kvm2).hello().name == "kvm2"
    kvm1.client.unpair("kvm2")
    kvm1.pair(kvm2)  # the token's fingerprint is still that of the host's own certificate


def test_a_certificate_does_not_take_over_the_name_of_a_paired_host(
    kvm1: "Node", kvm2: "Node", nodes: "Callable[[str], Node]", authority: Authority
) -> None:
    kvm1.pair(kvm2)
    kvm3 = nodes("kvm3")
    join(kvm1, authority)
    join(kvm3, authority, "kvm2", "localhost")
    refused(codes.PEER_NAME_TAKEN, lambda: find(kvm3, kvm1))
    refused(codes.PEER_NAME_TAKEN, lambda: find(kvm1, kvm3))
    join(kvm3, authority, "kvm1", "localhost")
    refused(codes.PEER_NAME_TAKEN, lambda: find(kvm3, kvm1))
    assert kvm1.peer(kvm2).hello().name == "kvm2"


def test_hosts_of_the_site_have_the_peer_api_only(kvm1: "Node", kvm2: "Node", authority: Authority) -> None:
    for node in (kvm1, kvm2):
        join(node, authority)
    peer = PeerClient(kvm1.config, find(kvm1, kvm2))
    for method, path in (("GET", "/vms"), ("PUT", "/host/trust"), ("POST", "/tokens"), ("DELETE", "/hosts/kvm1")):
        refused(codes.NOT_AUTHENTICATED, lambda method=method, path=path: peer._call(method, path, {}))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"end": timedelta(0)}, codes.SITE_EXPIRED),
        ({"start": DAY, "end": 2 * DAY}, codes.SITE_NOT_YET_VALID),
        ({"names": []}, codes.SITE_UNNAMED),
        ({"usages": []}, codes.SITE_USAGE),
    ],
)
def test_what_is_not_installed(kvm1: "Node", authority: Authority, wrong: dict[str, Any], code: Code) -> None:
    request = kvm1.client.request_certificate(["kvm1.test"]).request
    refused(code, lambda: kvm1.client.install_certificate(authority.sign(request, **wrong)))
    refused(codes.SITE_MISSING, kvm1.client.certificate)


def test_a_certificate_of_another_key_or_authority_is_not_installed(
    kvm1: "Node", kvm2: "Node", authority: Authority
) -> None:
    other = authority.sign(kvm2.client.request_certificate(["kvm1.test"]).request)
    refused(codes.SITE_KEY, lambda: kvm1.client.install_certificate(other))
    kvm1.client.set_trust(TrustRequest(certificates=authority.pem))
    request = kvm1.client.request_certificate(["kvm1.test"]).request
    refused(codes.SITE_ISSUER, lambda: kvm1.client.install_certificate(Authority().sign(request)))
    below = Authority("Hosts CA", authority)
    whole = below.sign(request)
    half = whole[: whole.index("-----END CERTIFICATE-----") + 26]
    refused(codes.SITE_ISSUER, lambda: kvm1.client.install_certificate(half))
    kvm1.client.install_certificate(whole)
    refused(codes.BAD_REQUEST, lambda: kvm1.client.install_certificate("words"))


def test_what_is_not_trusted(kvm1: "Node", authority: Authority) -> None:
    host = authority.sign(kvm1.client.request_certificate(["kvm1.test"]).request)
    for wrong in (host, "words", "", Authority(start=-2 * DAY, end=-DAY).pem, kvm1.identity.certificate):
        refused(codes.TRUST_INVALID, lambda wrong=wrong: kvm1.client.set_trust(TrustRequest(certificates=wrong)))  # type: ignore[misc]
    assert kvm1.client.trust().authorities == []


def test_clients_know_a_host_by_the_authority_or_by_its_own_certificate(kvm1: "Node", authority: Authority) -> None:
    made = kvm1.client.create_token(TokenRequest(role="viewer", expires_in=60))
    join(kvm1, authority)
    for address in ("localhost", "127.0.0.1"):
        with Client.remote(address, made.port, authorities=authority.pem, token=made.token) as client:
            assert client.settings() == HostSettings()
        with Client.remote(address, made.port, made.fingerprint, token=made.token) as client:
            assert client.settings() == HostSettings()
    with Client.remote("localhost", made.port, authorities=Authority().pem, token=made.token) as client:
        refused(codes.SERVER_CERTIFICATE, client.settings)
    join(kvm1, authority, "kvm9.test")
    with Client.remote("localhost", made.port, authorities=authority.pem, token=made.token) as client:
        refused(codes.SERVER_CERTIFICATE, client.settings)


def test_files_that_are_damaged_keep_no_daemon_from_starting(
    kvm1: "Node", authority: Authority, tmp_path: Path
) -> None:
    join(kvm1, authority)
    write(site.chain_file(kvm1.config), "words")
    kvm1.stop()
    kvm1.start()
    assert kvm1.client.settings() == HostSettings()
    trusted = site.trust(kvm1.config)
    assert trusted is not None
    with pytest.raises(ssl.SSLError):
        site.prepare(tls.server(trusted.authorities), site.chain_file(kvm1.config), kvm1.identity.key_file)


def test_who_may_change_it(kvm1: "Node", authority: Authority) -> None:
    made = kvm1.client.create_token(TokenRequest(role="operator", expires_in=60))
    with Client.remote(made.address, made.port, made.fingerprint, token=made.token) as client:
        assert client.trust().authorities == []
        refused(codes.NOT_ALLOWED, lambda: client.set_trust(TrustRequest(certificates=authority.pem)))
        refused(codes.NOT_ALLOWED, client.remove_trust)
        refused(codes.NOT_ALLOWED, client.request_certificate)
        refused(codes.NOT_ALLOWED, lambda: client.install_certificate(authority.pem))


def test_role_of_a_job_is_looked_at(kvm1: "Node", kvm2: "Node", authority: Authority) -> None:
    for node in (kvm1, kvm2):
        join(node, authority)
    peer = find(kvm1, kvm2)
    kvm2.job("0001", Role.DESTINATION, peer="kvm3.test")
    refused(codes.JOB_UNKNOWN, lambda: PeerClient(kvm1.config, peer).admit("0001", "x"))


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "a..b", "\u00e9", "x" * 254, "a.*.org", "a\x1b"])
def test_a_request_for_a_certificate_names_hosts(kvm1: "Node", name: str) -> None:
    answer = raw(kvm1, "POST", "/api/v1/host/certificate/request", json={"names": ["kvm1.example.org", name]})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")
