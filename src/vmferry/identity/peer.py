"""The client of another host's peer API.

HTTPS; each side accepts the other's paired certificate only, or one of the site's authority where they are not paired.
"""

import hashlib
import ssl
from typing import Any, Protocol
from urllib.parse import quote

from vmferry.config import Config
from vmferry.core import codes, message
from vmferry.core.auditlog.chain import HeadsKept
from vmferry.core.errors import AccessError, InternalError, UnreachableError
from vmferry.core.message import Kind as Said
from vmferry.core.messages.api import GoRequest, Outcome, PeerHello, ReverseTest, VerdictAnswer
from vmferry.core.messages.bandwidth import BandwidthOpening, BandwidthRequest
from vmferry.core.messages.diagnosis import Facts, FactsRequest, View, ViewRequest
from vmferry.core.messages.offer import Admission, Challenge, ChallengeRequest, Grant, Hold, Offer, Proposal, Report
from vmferry.core.messages.probe import ProbeOpening, ProbeRequest
from vmferry.core.messages.signin import PASS_HEADER
from vmferry.net import https, tls
from vmferry.net.https import READ_TIMEOUT, HostConnection
from vmferry.store.peers import Peer, PeerKind

ALPN = "vmferry-peer/1"  # said in the ClientHello, so that only paired hosts are asked for a certificate
PROOF_HEADER = "VMFerry-Job-Proof"
PROOF_PURPOSE = "control"


class PeerClient:
    """Calls one host; every call has a connection of its own, so that nothing stale is kept.

    Arguments:
        config: this host's; its certificate and key come from the state folder.
        read_timeout: seconds that the host may take for an answer.
    """

    def __init__(self, config: Config, peer: Peer, read_timeout: float = READ_TIMEOUT) -> None:
        self._peer = peer
        self._local = config.name
        self._bond = _bond(config, peer)
        self._read_timeout = read_timeout
        self.shown = b""  # the certificate that the host showed last, DER

    def hello(self) -> PeerHello:
        """Ask the host who it is: shows that it answers and that the pairing holds."""
        return self._read(PeerHello, self._call("GET", "/peer/hello"))

    def challenge(self, uuid: str) -> str:
        """Ask the host for what is to be written beside a VM's disks, before it is proposed."""
        request = ChallengeRequest(uuid=uuid)
        return self._read(Challenge, self._call("POST", "/peer/challenges", request.wire())).nonce

    def check(self, vm: Proposal, secret: str = "") -> Report:
        """Ask whether a VM could come to the host.

        Arguments:
            secret: of the sign-in for the caller, if there was one.
        """
        return self._read(Report, self._call("POST", "/peer/checks", vm.wire(), secret=secret))

    def probe(self, request: ProbeRequest) -> ProbeOpening:
        """Ask the host to listen on a data port for a moment."""
        return self._read(ProbeOpening, self._call("POST", "/peer/probes", request.wire()))

    def facts(self, request: FactsRequest) -> Facts:
        """Ask what a move to the host would meet."""
        return self._read(Facts, self._call("POST", "/peer/facts", request.wire()))

    def view(self, request: ViewRequest) -> View:
        """Ask how the host stands, and how it sees others."""
        return self._read(View, self._call("POST", "/peer/views", request.wire()))

    def back(self) -> ReverseTest:
        """Let the host ask this one who it is, and say what came of that."""
        return self._read(ReverseTest, self._call("POST", "/peer/hello/back", {}))

    def measure(self, request: BandwidthRequest) -> BandwidthOpening:
        """Ask the host to listen for a moment for bytes that measure the way to it."""
        return self._read(BandwidthOpening, self._call("POST", "/peer/bandwidth", request.wire()))

    def heads(self) -> HeadsKept:
        """Ask which heads of this host's audit log the host has on record."""
        return self._read(HeadsKept, self._call("GET", "/peer/audit/heads"))

    def offer(self, offer: Offer, secret: str = "") -> Grant:
        """Offer a VM; arguments as for `check`."""
        return self._read(Grant, self._call("POST", "/peer/offers", offer.wire(), secret=secret))

    def hold(self, job: str, proof: str) -> Hold:
        """Ask the destination for a place, for a move that waits."""
        return self._read(Hold, self._call("POST", f"/peer/jobs/{quote(job)}/hold", {}, proof))

    def release(self, job: str, proof: str) -> None:
        """Give a place at the destination back; the move waits on."""
        self._call("POST", f"/peer/jobs/{quote(job)}/release", {}, proof)

    def renew(self, job: str, proof: str, offer: Offer) -> Grant:
        """Offer a VM whose move waited as it is now, under the key that the job has."""
        return self._read(Grant, self._call("POST", f"/peer/jobs/{quote(job)}/renew", offer.wire(), proof))

    def admit(self, job: str, proof: str) -> Admission:
        """Ask the destination to make the disks and start its worker."""
        return self._read(Admission, self._call("POST", f"/peer/jobs/{quote(job)}/admit", {}, proof))

    def abort(self, job: str, proof: str, reason: str, cancelled_by: str = "") -> None:
        """Tell the destination that the move is given up.

        Arguments:
            cancelled_by: who cancelled it; empty: nobody did.
        """
        said = {"reason": reason, "cancelled_by": cancelled_by}
        self._call("POST", f"/peer/jobs/{quote(job)}/abort", said, proof)

    def go(self, job: str, proof: str, *, suspended: bool = False) -> Outcome:
        """Tell the destination that the VM is its own now; returns what it made of that so far.

        Arguments:
            suspended: whether a person had suspended the VM, which stays so.
        """
        said = GoRequest(suspended=suspended).wire()
        return self._read(Outcome, self._call("POST", f"/peer/jobs/{quote(job)}/go", said, proof))

    def verdict(self, job: str, proof: str) -> VerdictAnswer:
        """Ask the source what becomes of the VM."""
        return self._read(VerdictAnswer, self._call("GET", f"/peer/jobs/{quote(job)}/verdict", proof=proof))

    def unpair(self) -> None:
        """Tell the host that this one will forget it."""
        self._call("POST", "/peer/unpair", {})

    def _read(self, kind: type[Said], answer: dict[str, Any]) -> Said:
        return message.read(kind, answer, self._local)

    def _call(
        self, method: str, path: str, body: Any = None, proof: str | None = None, secret: str = ""
    ) -> dict[str, Any]:
        """Make one call.

        Raises:
            UnreachableError: no connection, or it broke (HOST_UNREACHABLE).
            AccessError: the host is another one now (CERTIFICATE_CHANGED), or does not know us (NOT_PAIRED); of a
                host of the site: its certificate or ours is not right (SITE_...).
            VmferryError: what the host answered.
        """
        headers = dict(self._bond.headers)
        if proof is not None:
            headers[PROOF_HEADER] = proof
        if secret:
            headers[PASS_HEADER] = secret
        try:
            with self._connect() as connection:
                return connection.request(method, path, body, headers)
        except https.ClosedError as error:
            # A host that does not know our certificate closes just so (TLS 1.3 has the client finish first),
            # and so does one that is stopping. A question that does no harm twice tells them apart.
            if path == "/peer/hello":
                raise self._bond.stranger() from error
            self.hello()
            raise self._unreachable(error) from error
        except https.FAILURES as error:
            raise self._unreachable(error) from error

    def _connect(self) -> HostConnection:
        try:
            made = HostConnection(
                self._peer.address,
                self._peer.port,
                self._bond.context(),
                self._bond.server_name,
                timeout=self._read_timeout,
            )
        except ssl.SSLCertVerificationError as error:
            raise self._bond.refusal(error) from error
        try:
            self.shown = made.certificate
            self._bond.check(self.shown, made.protocol)
        except BaseException:
            made.close()
            raise
        return made

    def _unreachable(self, error: Exception) -> UnreachableError:
        return https.unreachable(self._peer.name, self._peer.address, self._peer.port, error)


class PeerTls(Protocol):
    """How two hosts know each other, as the one that calls sees to it."""

    server_name: str | None
    headers: dict[str, str]

    def context(self) -> ssl.SSLContext:
        """Make the TLS context of a call."""
        ...

    def check(self, shown: bytes, protocol: str | None) -> None:
        """See that the host showed the right certificate (DER), and speaks our protocol (ALPN)."""
        ...

    def refusal(self, error: ssl.SSLCertVerificationError) -> AccessError:
        """Say why TLS did not accept the host."""
        ...

    def stranger(self) -> AccessError:
        """Say that the host does not accept this one."""
        ...


def _bond(config: Config, peer: Peer) -> PeerTls:
    if peer.kind is not PeerKind.SITE:
        return _PairedTls(config, peer)
    from vmferry.identity import vouched  # the worker of a paired host starts sooner without it

    return vouched.SiteTls(config, peer)


class _PairedTls:
    """Paired hosts: each accepts exactly the certificate that was exchanged (see `Bond`)."""

    def __init__(self, config: Config, peer: Peer) -> None:
        self._config = config
        self._peer = peer
        self.server_name: str | None = None
        self.headers: dict[str, str] = {}

    def context(self) -> ssl.SSLContext:
        context = tls.client(self._peer.certificate, names=False)  # the certificate itself is the name
        try:
            context.load_cert_chain(self._config.state_folder / "host.pem", self._config.state_folder / "host.key")
        except OSError as error:
            raise InternalError(codes.INTERNAL, why=f"this host's certificate cannot be read ({error})") from error
        context.set_alpn_protocols([ALPN])
        return context

    def check(self, shown: bytes, protocol: str | None) -> None:
        if hashlib.sha256(shown).hexdigest() != self._peer.fingerprint:
            raise AccessError(codes.CERTIFICATE_CHANGED, host=self._peer.name)
        if protocol != ALPN:
            raise ValueError("what answers there is not vmferryd")

    def refusal(self, error: ssl.SSLCertVerificationError) -> AccessError:
        return AccessError(codes.CERTIFICATE_CHANGED, host=self._peer.name)

    def stranger(self) -> AccessError:
        return AccessError(codes.NOT_PAIRED, host=self._peer.name)
