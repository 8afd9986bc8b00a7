"""The client of vmferryd's API, for the command line, for tests and for other programs."""

import time
from collections.abc import Iterator, Sequence
from typing import Literal
from urllib.parse import quote, urlencode

import httpx2
from pydantic import BaseModel

from vmferry.client.connection import ApiConnection
from vmferry.client.events import Event, event, messages
from vmferry.core.auditlog.chain import Verification
from vmferry.core.auditlog.record import AuditRecord
from vmferry.core.messages.api import (
    ApiToken,
    DisableRequest,
    Host,
    Invitation,
    Job,
    JobLog,
    LocalAddress,
    MigrationNetwork,
    NetworkChange,
    NetworkRequest,
    NewToken,
    PairedHost,
    PairTest,
    PhaseEvent,
    SettingsAnswer,
    TokenRequest,
    Version,
)
from vmferry.core.messages.diagnosis import HostReport, Matrix
from vmferry.core.messages.offer import MoveOptions, Report
from vmferry.core.messages.siteapi import CertificateRequest, HostCertificate, TrustAnswer, TrustRequest
from vmferry.core.messages.vm import VmDetail, VmSummary
from vmferry.core.policy.restrictions import Restriction
from vmferry.core.policy.settings import HostSettings, SettingsChange
from vmferry.core.redaction import token_identifier
from vmferry.core.resolution import Owner, Resolution

__all__ = ["Client", "Event"]

SILENCE = 30.0  # seconds without an event or a heartbeat, after which an event stream counts as broken
PATIENCE = 30.0  # seconds for which a daemon that has answered before is tried again: it may be restarting
PAUSE = 0.5  # seconds between such attempts


class Client(ApiConnection):
    """One vmferryd, over its unix socket or over HTTPS. Every method may raise a VmferryError."""

    # --- hosts ------------------------------------------------------------------------------------------

    def version(self) -> Version:
        """Return the version of vmferryd. This needs no authentication."""
        return self._ask(Version, "GET", "/version")

    def host(self) -> Host:
        """Return the host itself."""
        return self._ask(Host, "GET", "/host")

    def settings(self) -> HostSettings:
        """Return the host's settings."""
        return self._ask(HostSettings, "GET", "/host/settings")

    def change_settings(self, change: SettingsChange) -> SettingsAnswer:
        """Change settings. They take effect at once."""
        return self._changed("PATCH", "/host/settings", change)

    def try_settings(self, change: SettingsChange) -> SettingsAnswer:
        """Return the settings as they would be after a change. Nothing is changed."""
        return self._changed("POST", "/host/settings/try", change)

    def restrict(self, made: Restriction) -> SettingsAnswer:
        """Limit an operator, in addition to the limits that they already have."""
        return self._changed("POST", "/host/restrictions", made)

    def unrestrict(self, who: str) -> SettingsAnswer:
        """Remove all limits of an operator."""
        return self._changed("DELETE", f"/host/restrictions/{quote(who, safe='')}")

    def networks(self) -> list[MigrationNetwork]:
        """Return the migration networks in the order in which they are tried."""
        return self._list(MigrationNetwork, "GET", "/host/networks")

    def addresses(self) -> list[LocalAddress]:
        """Return the host's addresses that moves can use."""
        return self._list(LocalAddress, "GET", "/host/addresses")

    def add_network(self, subnet: str, priority: int | None = None) -> SettingsAnswer:
        """Add a migration network to the list."""
        return self._changed("POST", "/host/networks", NetworkRequest(subnet=subnet, priority=priority))

    def set_network(self, subnet: str, change: NetworkChange) -> SettingsAnswer:
        """Change the subnet or the priority of a listed network."""
        return self._changed("PATCH", f"/host/networks/{quote(subnet, safe='')}", change)

    def remove_network(self, subnet: str) -> SettingsAnswer:
        """Remove a migration network from the list."""
        return self._changed("DELETE", f"/host/networks/{quote(subnet, safe='')}")

    def enable(self) -> SettingsAnswer:
        """Enable moves to and from the host."""
        return self._changed("POST", "/host/migration/enable")

    def disable(self, moves: Literal["wait", "cancel"] | None = None) -> SettingsAnswer:
        """Disable moves to and from the host.

        Arguments:
            moves: whether to wait for moves in progress or to cancel them; None refuses if there are any.
        """
        return self._changed("POST", "/host/migration/disable", DisableRequest(moves=moves))

    def _changed(self, method: str, path: str, body: BaseModel | None = None) -> SettingsAnswer:
        return self._ask(SettingsAnswer, method, path, body and body.model_dump(mode="json"))

    def hosts(self) -> list[PairedHost]:
        """Return the hosts that it is paired with."""
        return self._list(PairedHost, "GET", "/hosts")

    def invite(self, callers: Sequence[str] = ("*",)) -> Invitation:
        """Create a pairing token for another host to use.

        Arguments:
            callers: for whom that host may move VMs here.
        """
        return self._ask(Invitation, "POST", "/pairing/invitations", {"callers": list(callers)})

    def pair(self, token: str, address: str | None = None, callers: Sequence[str] = ("*",)) -> PairedHost:
        """Pair with the host that made the token.

        Arguments:
            address: HOST or HOST:PORT, instead of the one in the token.
            callers: for whom that host may move VMs here.
        """
        body = {"token": token, "address": address, "callers": list(callers)}
        return self._ask(PairedHost, "POST", "/hosts", body)

    def unpair(self, name: str, *, force: bool = False) -> None:
        """Remove a paired host, and tell it.

        Arguments:
            force: cancel moves in progress with it, even if it does not respond.
        """
        self._call("DELETE", f"/hosts/{quote(name, safe='')}{'?force=true' if force else ''}")

    def try_host(self, name: str) -> PairTest:
        """Test whether the host and another one reach and accept each other."""
        return self._ask(PairTest, "POST", f"/hosts/{quote(name, safe='')}/test")

    # --- doctor -----------------------------------------------------------------------------------------

    def examine(self) -> HostReport:
        """Examine the host. Problems are in the findings."""
        return self._ask(HostReport, "GET", "/doctor")

    def diagnose(self, hosts: Sequence[str] = ()) -> Matrix:
        """Examine the host, other hosts, and every route between two of them.

        Arguments:
            hosts: names of paired hosts; all of them if empty.
        """
        return self._ask(Matrix, "POST", "/doctor", {"hosts": list(hosts)})

    # --- the site's authority ---------------------------------------------------------------------------

    def trust(self) -> TrustAnswer:
        """Return the authorities whose hosts this one trusts without pairing."""
        return self._ask(TrustAnswer, "GET", "/host/trust")

    def set_trust(self, request: TrustRequest) -> TrustAnswer:
        """Trust these authorities, instead of the previous ones."""
        return self._ask(TrustAnswer, "PUT", "/host/trust", request.model_dump(mode="json"))

    def remove_trust(self) -> None:
        """Stop trusting all authorities."""
        self._call("DELETE", "/host/trust")

    def certificate(self) -> HostCertificate:
        """Return the host's certificate from the site's authority."""
        return self._ask(HostCertificate, "GET", "/host/certificate")

    def request_certificate(self, names: Sequence[str] = ()) -> CertificateRequest:
        """Create a certificate request for the host's key.

        Arguments:
            names: names for the certificate; the names of the host if empty.
        """
        return self._ask(CertificateRequest, "POST", "/host/certificate/request", {"names": [*names]})

    def install_certificate(self, chain: str) -> HostCertificate:
        """Install a certificate (PEM) of the host, for other hosts of the site."""
        return self._ask(HostCertificate, "PUT", "/host/certificate", {"chain": chain})

    # --- tokens -----------------------------------------------------------------------------------------

    def tokens(self) -> list[ApiToken]:
        """Return the API tokens; tokens that have ended are listed for thirty days."""
        return self._list(ApiToken, "GET", "/tokens")

    def create_token(self, request: TokenRequest) -> NewToken:
        """Create an API token. Only this answer contains its secret."""
        return self._ask(NewToken, "POST", "/tokens", request.model_dump(mode="json"))

    def revoke_token(self, token: str) -> None:
        """Revoke an API token by its identifier or its name. Of a whole token, only the identifier is sent."""
        self._call("DELETE", f"/tokens/{quote(token_identifier(token), safe='')}")

    # --- VMs --------------------------------------------------------------------------------------------

    def vms(self) -> list[VmSummary]:
        """Return the host's VMs."""
        return self._list(VmSummary, "GET", "/vms")

    def vm(self, name: str) -> VmDetail:
        """Return the details of a VM."""
        return self._ask(VmDetail, "GET", f"/vms/{quote(name, safe='')}")

    def check(
        self,
        vm: str,
        destination: str,
        options: MoveOptions | None = None,
        *,
        predict: bool = False,
        password: str | None = None,
    ) -> Report:
        """Run the checks of a move. Nothing is changed.

        Arguments:
            predict: measure the VM and the network for some seconds, and predict the move.
            password: the caller's domain password, for hosts that use CredSSP.
        """
        body = {"destination": destination, "predict": predict, **(options or MoveOptions()).model_dump(mode="json")}
        if password is not None:
            body["password"] = password
        return self._ask(Report, "POST", f"/vms/{quote(vm, safe='')}/check", body)

    def move(
        self,
        vm: str,
        destination: str,
        options: MoveOptions | None = None,
        *,
        wait: bool = True,
        password: str | None = None,
    ) -> Job:
        """Start to move a VM to a paired host. When this returns, the job runs, or waits for its turn.

        Arguments:
            wait: whether to wait if a host has reached its limit of moves; if not, that is an error (LIMIT_REACHED).
            password: as for `check`.
        """
        body = {"destination": destination, "wait": wait, **(options or MoveOptions()).model_dump(mode="json")}
        if password is not None:
            body["password"] = password
        return self._ask(Job, "POST", f"/vms/{quote(vm, safe='')}/move", body)

    # --- jobs -------------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """Return the jobs, oldest first."""
        return self._list(Job, "GET", "/jobs")

    def job(self, id: str) -> Job:  # noqa: A002
        """Return a job."""
        return self._ask(Job, "GET", f"/jobs/{quote(id, safe='')}")

    def job_log(self, id: str) -> JobLog:  # noqa: A002
        """Return the log of the host's transfer process for a job."""
        return self._ask(JobLog, "GET", f"/jobs/{quote(id, safe='')}/log")

    def cancel(self, id: str, *, force: bool = False) -> None:  # noqa: A002
        """Cancel a job. This returns before the job has ended.

        Arguments:
            force: cancel it even if the other host does not respond; requires an administrator.
        """
        self._call("POST", f"/jobs/{quote(id, safe='')}/cancel{'?force=true' if force else ''}")

    def resolution(self, id: str) -> Resolution:  # noqa: A002
        """Return both choices for a move whose other host is permanently gone."""
        return self._ask(Resolution, "GET", f"/jobs/{quote(id, safe='')}/resolution")

    def resolve(self, found: Resolution, owner: Owner) -> Job:
        """Settle a move whose other host is permanently gone.

        Arguments:
            found: the choices that were shown.
            owner: the host that owns the VM.
        """
        body = {"owner": owner.value, "vm": found.vm, "peer": found.peer}
        return self._ask(Job, "POST", f"/jobs/{quote(found.job, safe='')}/resolution", body)

    def events(self, id: str, after: int = 0) -> Iterator[Event]:  # noqa: A002
        """Yield the events of a job until it ends. If the daemon is restarted, continue after the last event.

        Arguments:
            after: omit the phases up to this step of the journal.

        Raises:
            UnreachableError: the daemon does not answer, or did not answer again in time (DAEMON_UNREACHABLE).
        """
        last_seen = None
        while True:
            try:
                for found in self._stream(id, after):
                    last_seen = time.monotonic()
                    if found is None:
                        continue
                    if isinstance(found, PhaseEvent):
                        after = found.seq
                    yield found
                    if isinstance(found, Job):
                        return
            except (httpx2.TransportError, httpx2.StreamError) as error:
                gone = self._unreachable(error)
                if last_seen is None or time.monotonic() - last_seen > PATIENCE:
                    raise gone from error
            time.sleep(PAUSE)

    def _stream(self, job: str, after: int) -> Iterator[Event | None]:
        """Yield the events of one connection, and None for each heartbeat."""
        began = time.monotonic()
        with self._http.stream(
            "GET",
            f"/jobs/{quote(job, safe='')}/events",
            headers={"Last-Event-ID": str(after), "Accept": "text/event-stream"},
            timeout=httpx2.Timeout(SILENCE, connect=5.0),
        ) as response:
            self._told("GET", f"/jobs/{quote(job, safe='')}/events", response, began)
            if response.status_code >= 400:
                response.read()
                raise self._error(response)
            for message in messages(response.iter_lines()):
                try:
                    found = event(message) if message else None
                except ValueError as error:
                    raise self._strange("with an event that cannot be read") from error
                yield found

    # --- audit ------------------------------------------------------------------------------------------

    def audit(self, since: float | None = None, job: str | None = None) -> list[AuditRecord]:
        """Return the newest records of the audit log, oldest first.

        Arguments:
            since: greatest age in seconds; older records are omitted.
            job: return only records of this job.
        """
        asked = {"since": since, "job": job}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        return self._list(AuditRecord, "GET", f"/audit?{query}")

    def verify_audit(self, *, peers: bool = False) -> Verification:
        """Walk along the audit log's hash chain, and say where it breaks.

        Arguments:
            peers: also see that the log has all heads that other hosts were told.
        """
        return self._ask(Verification, "GET", f"/audit/verification?peers={str(peers).lower()}")
