"""The client of vmferryd's API: for the command line, for tests and for other programs."""

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

SILENCE = 30.0  # seconds without even a heartbeat, after which an event stream counts as broken
PATIENCE = 30.0  # seconds to go on trying to reach a daemon that was there before: it may be restarting
PAUSE = 0.5  # seconds between such attempts


class Client(ApiConnection):
    """One vmferryd, over its unix socket or over HTTPS. Every method may raise a VmferryError."""

    # --- hosts ------------------------------------------------------------------------------------------

    def version(self) -> Version:
        """Ask what answers; needs no authentication."""
        return self._ask(Version, "GET", "/version")

    def host(self) -> Host:
        """Show the host itself."""
        return self._ask(Host, "GET", "/host")

    def settings(self) -> HostSettings:
        """Show the host's settings."""
        return self._ask(HostSettings, "GET", "/host/settings")

    def change_settings(self, change: SettingsChange) -> SettingsAnswer:
        """Change settings; effective at once."""
        return self._changed("PATCH", "/host/settings", change)

    def try_settings(self, change: SettingsChange) -> SettingsAnswer:
        """See whether settings can be changed, and how they would be then; nothing is changed."""
        return self._changed("POST", "/host/settings/try", change)

    def restrict(self, made: Restriction) -> SettingsAnswer:
        """Limit an operator, besides what they are limited to already."""
        return self._changed("POST", "/host/restrictions", made)

    def unrestrict(self, who: str) -> SettingsAnswer:
        """Take all limits of somebody away."""
        return self._changed("DELETE", f"/host/restrictions/{quote(who, safe='')}")

    def networks(self) -> list[MigrationNetwork]:
        """List the migration networks, in the order in which they are tried."""
        return self._list(MigrationNetwork, "GET", "/host/networks")

    def addresses(self) -> list[LocalAddress]:
        """List the host's addresses on which moves can travel."""
        return self._list(LocalAddress, "GET", "/host/addresses")

    def add_network(self, subnet: str, priority: int | None = None) -> SettingsAnswer:
        """List a migration network."""
        return self._changed("POST", "/host/networks", NetworkRequest(subnet=subnet, priority=priority))

    def set_network(self, subnet: str, change: NetworkChange) -> SettingsAnswer:
        """Give a listed network another subnet or priority."""
        return self._changed("PATCH", f"/host/networks/{quote(subnet, safe='')}", change)

    def remove_network(self, subnet: str) -> SettingsAnswer:
        """Take a migration network off the list."""
        return self._changed("DELETE", f"/host/networks/{quote(subnet, safe='')}")

    def enable(self) -> SettingsAnswer:
        """Let VMs come and go."""
        return self._changed("POST", "/host/migration/enable")

    def disable(self, moves: Literal["wait", "cancel"] | None = None) -> SettingsAnswer:
        """Let no more VMs come and go.

        Arguments:
            moves: what becomes of those that have not ended; None refuses while there are any.
        """
        return self._changed("POST", "/host/migration/disable", DisableRequest(moves=moves))

    def _changed(self, method: str, path: str, body: BaseModel | None = None) -> SettingsAnswer:
        return self._ask(SettingsAnswer, method, path, body and body.model_dump(mode="json"))

    def hosts(self) -> list[PairedHost]:
        """List the hosts that it is paired with."""
        return self._list(PairedHost, "GET", "/hosts")

    def invite(self, callers: Sequence[str] = ("*",)) -> Invitation:
        """Make a pairing token for another host to use.

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
        """Forget a paired host, and tell it.

        Arguments:
            force: end jobs with it that have not ended, whatever it does.
        """
        self._call("DELETE", f"/hosts/{quote(name, safe='')}{'?force=true' if force else ''}")

    def try_host(self, name: str) -> PairTest:
        """Try whether the host and another reach and accept each other."""
        return self._ask(PairTest, "POST", f"/hosts/{quote(name, safe='')}/test")

    # --- doctor -----------------------------------------------------------------------------------------

    def examine(self) -> HostReport:
        """Examine the host; what is wrong is in the findings."""
        return self._ask(HostReport, "GET", "/doctor")

    def diagnose(self, hosts: Sequence[str] = ()) -> Matrix:
        """Examine the host, others, and every way between two of them.

        Arguments:
            hosts: names of paired hosts; none: all of them.
        """
        return self._ask(Matrix, "POST", "/doctor", {"hosts": list(hosts)})

    # --- the site's authority ---------------------------------------------------------------------------

    def trust(self) -> TrustAnswer:
        """Say whose hosts this one knows without pairing."""
        return self._ask(TrustAnswer, "GET", "/host/trust")

    def set_trust(self, request: TrustRequest) -> TrustAnswer:
        """Trust these authorities, in place of those before."""
        return self._ask(TrustAnswer, "PUT", "/host/trust", request.model_dump(mode="json"))

    def remove_trust(self) -> None:
        """Trust no authority."""
        self._call("DELETE", "/host/trust")

    def certificate(self) -> HostCertificate:
        """Show the host's certificate of the site."""
        return self._ask(HostCertificate, "GET", "/host/certificate")

    def request_certificate(self, names: Sequence[str] = ()) -> CertificateRequest:
        """Make a request for a certificate of the host's key.

        Arguments:
            names: what it is to name; none: what the host is called.
        """
        return self._ask(CertificateRequest, "POST", "/host/certificate/request", {"names": [*names]})

    def install_certificate(self, chain: str) -> HostCertificate:
        """Show this certificate (PEM) to hosts of the site from now on."""
        return self._ask(HostCertificate, "PUT", "/host/certificate", {"chain": chain})

    # --- tokens -----------------------------------------------------------------------------------------

    def tokens(self) -> list[ApiToken]:
        """List the API tokens; those that have ended, for thirty days."""
        return self._list(ApiToken, "GET", "/tokens")

    def create_token(self, request: TokenRequest) -> NewToken:
        """Make an API token; its secret is in this answer only."""
        return self._ask(NewToken, "POST", "/tokens", request.model_dump(mode="json"))

    def revoke_token(self, token: str) -> None:
        """End an API token, by its identifier or its name; of a whole token only the identifier is sent."""
        self._call("DELETE", f"/tokens/{quote(token_identifier(token), safe='')}")

    # --- VMs --------------------------------------------------------------------------------------------

    def vms(self) -> list[VmSummary]:
        """List the host's VMs."""
        return self._list(VmSummary, "GET", "/vms")

    def vm(self, name: str) -> VmDetail:
        """Show a VM."""
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
        """Run the checks of a move; changes nothing.

        Arguments:
            predict: measure VM and network, which takes some seconds, and foretell what the move would be like.
            password: the caller's in the domain, where hosts use CredSSP.
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
        """Begin to move a VM to a paired host; the job runs when this returns, or waits for a place.

        Arguments:
            wait: false: fail when a host has no place now (LIMIT_REACHED).
            password: as for `check`.
        """
        body = {"destination": destination, "wait": wait, **(options or MoveOptions()).model_dump(mode="json")}
        if password is not None:
            body["password"] = password
        return self._ask(Job, "POST", f"/vms/{quote(vm, safe='')}/move", body)

    # --- jobs -------------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """List the jobs, the oldest first."""
        return self._list(Job, "GET", "/jobs")

    def job(self, id: str) -> Job:  # noqa: A002
        """Show a job."""
        return self._ask(Job, "GET", f"/jobs/{quote(id, safe='')}")

    def job_log(self, id: str) -> JobLog:  # noqa: A002
        """Show what the host's transfer process of a job has logged."""
        return self._ask(JobLog, "GET", f"/jobs/{quote(id, safe='')}/log")

    def cancel(self, id: str, *, force: bool = False) -> None:  # noqa: A002
        """Ask a job to end.

        Arguments:
            force: whatever the other host does; takes an administrator.
        """
        self._call("POST", f"/jobs/{quote(id, safe='')}/cancel{'?force=true' if force else ''}")

    def resolution(self, id: str) -> Resolution:  # noqa: A002
        """Show both ways to settle a move whose other host is gone for good."""
        return self._ask(Resolution, "GET", f"/jobs/{quote(id, safe='')}/resolution")

    def resolve(self, found: Resolution, owner: Owner) -> Job:
        """Settle a move whose other host is gone for good.

        Arguments:
            found: what was shown of it.
            owner: whose the VM is.
        """
        body = {"owner": owner.value, "vm": found.vm, "peer": found.peer}
        return self._ask(Job, "POST", f"/jobs/{quote(found.job, safe='')}/resolution", body)

    def events(self, id: str, after: int = 0) -> Iterator[Event]:  # noqa: A002
        """Follow a job to its end; goes on where it was when the daemon is restarted meanwhile.

        Arguments:
            after: leave the phases up to this step of the journal out.

        Raises:
            UnreachableError: the daemon was not there, or stayed away for long (DAEMON_UNREACHABLE).
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
        """Read one connection's events; None for a sign of life."""
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
        """Give the newest records of the audit log, the oldest of them first.

        Arguments:
            since: seconds before now; older ones are left out.
            job: only what is about this job.
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
