"""The client of vmferryd's API: for the command line, for tests and for other programs."""

import json
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

import httpx2
from pydantic import BaseModel

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.api import (
    DisableRequest,
    Host,
    Invitation,
    Job,
    MigrationNetwork,
    NetworkChange,
    NetworkRequest,
    PairedHost,
    PhaseEvent,
    SettingsAnswer,
    StateEvent,
    Version,
)
from vmferry.core.diagnosis import HostReport, Matrix
from vmferry.core.audit import AuditRecord
from vmferry.core.errors import InternalError, UnreachableError, VmferryError
from vmferry.core.job import Progress
from vmferry.core.offer import MoveOptions, Report
from vmferry.core.settings import HostSettings, SettingsChange
from vmferry.core.vm import VmDetail, VmSummary

TIMEOUT = httpx2.Timeout(60.0, connect=5.0)  # seconds; a move is answered once the destination has admitted it
SILENCE = 30.0  # seconds without even a heartbeat, after which an event stream counts as broken
PATIENCE = 30.0  # seconds to go on trying to reach a daemon that was there before: it may be restarting
PAUSE = 0.5  # seconds between such attempts

Event = PhaseEvent | Progress | StateEvent | Job
"""What happens to a job: a phase begins, progress, its state changes; a Job is the last, ended."""


class Client:
    """One vmferryd, over its unix socket or over HTTPS. Every method may raise a VmferryError.

    Arguments:
        transport: carries the requests.
        url: of the daemon.
        address: what to call the daemon in errors.
    """

    def __init__(self, transport: httpx2.BaseTransport, url: str, address: str) -> None:
        self._address = address
        self._http = httpx2.Client(transport=transport, base_url=f"{url}/api/v1", timeout=TIMEOUT, trust_env=False)

    @classmethod
    def local(cls, config: Config) -> Self:
        """Speak to this host's daemon."""
        unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # spares the search for the system's authorities
        transport = httpx2.HTTPTransport(uds=str(config.socket), verify=unused)
        return cls(transport, "http://vmferryd", str(config.socket))

    @classmethod
    def remote(cls, address: str, port: int, certificate: str) -> Self:
        """Speak to another host's daemon.

        Arguments:
            certificate: PEM; the only one that is accepted.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # the certificate itself is the name
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=certificate)
        host = f"[{address}]" if ":" in address else address
        return cls(httpx2.HTTPTransport(verify=context), f"https://{host}:{port}", f"{address} port {port}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- hosts ------------------------------------------------------------------------------------------

    def version(self) -> Version:
        """Ask what answers; needs no authentication."""
        return Version.model_validate(self._call("GET", "/version"))

    def host(self) -> Host:
        """Show the host itself."""
        return Host.model_validate(self._call("GET", "/host"))

    def settings(self) -> HostSettings:
        """Show the host's settings."""
        return HostSettings.model_validate(self._call("GET", "/host/settings"))

    def change_settings(self, change: SettingsChange) -> SettingsAnswer:
        """Change settings; effective at once."""
        return self._changed("PATCH", "/host/settings", change)

    def networks(self) -> list[MigrationNetwork]:
        """List the migration networks, in the order in which they are tried."""
        return [MigrationNetwork.model_validate(network) for network in self._call("GET", "/host/networks")]

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
        return SettingsAnswer.model_validate(self._call(method, path, body and body.model_dump(mode="json")))

    def hosts(self) -> list[PairedHost]:
        """List the hosts that it is paired with."""
        return [PairedHost.model_validate(host) for host in self._call("GET", "/hosts")]

    def invite(self, callers: Sequence[str] = ("*",)) -> Invitation:
        """Make a pairing token for another host to use.

        Arguments:
            callers: for whom that host may move VMs here.
        """
        return Invitation.model_validate(self._call("POST", "/pairing/invitations", {"callers": list(callers)}))

    def pair(self, token: str, address: str | None = None, callers: Sequence[str] = ("*",)) -> PairedHost:
        """Pair with the host that made the token.

        Arguments:
            address: HOST or HOST:PORT, instead of the one in the token.
            callers: for whom that host may move VMs here.
        """
        body = {"token": token, "address": address, "callers": list(callers)}
        return PairedHost.model_validate(self._call("POST", "/hosts", body))

    def unpair(self, name: str) -> None:
        """Forget a paired host, and tell it."""
        self._call("DELETE", f"/hosts/{quote(name, safe='')}")

    # --- doctor -----------------------------------------------------------------------------------------

    def examine(self) -> HostReport:
        """Examine the host; what is wrong is in the findings."""
        return HostReport.model_validate(self._call("GET", "/doctor"))

    def diagnose(self, hosts: Sequence[str] = ()) -> Matrix:
        """Examine the host, others, and every way between two of them.

        Arguments:
            hosts: names of paired hosts; none: all of them.
        """
        return Matrix.model_validate(self._call("POST", "/doctor", {"hosts": list(hosts)}))

    # --- VMs --------------------------------------------------------------------------------------------

    def vms(self) -> list[VmSummary]:
        """List the host's VMs."""
        return [VmSummary.model_validate(vm) for vm in self._call("GET", "/vms")]

    def vm(self, name: str) -> VmDetail:
        """Show a VM."""
        return VmDetail.model_validate(self._call("GET", f"/vms/{quote(name, safe='')}"))

    def check(self, vm: str, destination: str, options: MoveOptions | None = None) -> Report:
        """Run the checks of a move; changes nothing."""
        body = {"destination": destination, **(options or MoveOptions()).model_dump(mode="json")}
        return Report.model_validate(self._call("POST", f"/vms/{quote(vm, safe='')}/check", body))

    def move(self, vm: str, destination: str, options: MoveOptions | None = None, *, wait: bool = True) -> Job:
        """Begin to move a VM to a paired host; the job runs when this returns, or waits for a place.

        Arguments:
            wait: false: fail when a host has no place now (LIMIT_REACHED).
        """
        body = {"destination": destination, "wait": wait, **(options or MoveOptions()).model_dump(mode="json")}
        return Job.model_validate(self._call("POST", f"/vms/{quote(vm, safe='')}/move", body))

    # --- jobs -------------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """List the jobs, the oldest first."""
        return [Job.model_validate(job) for job in self._call("GET", "/jobs")]

    def job(self, id: str) -> Job:  # noqa: A002
        """Show a job."""
        return Job.model_validate(self._call("GET", f"/jobs/{quote(id, safe='')}"))

    def cancel(self, id: str) -> None:  # noqa: A002
        """Ask a job to end."""
        self._call("POST", f"/jobs/{quote(id, safe='')}/cancel")

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
                for event in self._stream(id, after):
                    last_seen = time.monotonic()
                    if event is None:
                        continue
                    if isinstance(event, PhaseEvent):
                        after = event.seq
                    yield event
                    if isinstance(event, Job):
                        return
            except (httpx2.TransportError, httpx2.StreamError) as error:
                if last_seen is None or time.monotonic() - last_seen > PATIENCE:
                    raise self._unreachable(error) from error
            time.sleep(PAUSE)

    def _stream(self, job: str, after: int) -> Iterator[Event | None]:
        """Read one connection's events; None for a sign of life."""
        with self._http.stream(
            "GET",
            f"/jobs/{quote(job, safe='')}/events",
            headers={"Last-Event-ID": str(after), "Accept": "text/event-stream"},
            timeout=httpx2.Timeout(SILENCE, connect=5.0),
        ) as response:
            if response.status_code >= 400:
                response.read()
                raise self._error(response)
            for message in _messages(response.iter_lines()):
                yield _event(message) if message else None

    # --- audit ------------------------------------------------------------------------------------------

    def audit(self, since: float | None = None, job: str | None = None) -> list[AuditRecord]:
        """Give the newest records of the audit log, the oldest of them first.

        Arguments:
            since: seconds before now; older ones are left out.
            job: only what is about this job.
        """
        asked = {"since": since, "job": job}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        return [AuditRecord.model_validate(record) for record in self._call("GET", f"/audit?{query}")]

    # --- the call ---------------------------------------------------------------------------------------

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        try:
            response = self._http.request(method, path, json=body)
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error
        if response.status_code >= 400:
            raise self._error(response)
        return response.json() if response.content else None

    def _unreachable(self, error: Exception) -> VmferryError:
        cause: BaseException = error
        while cause.__cause__ is not None or cause.__context__ is not None:
            cause = cause.__cause__ or cause.__context__ or cause
        why = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error) or "no answer"
        return UnreachableError(codes.DAEMON_UNREACHABLE, address=self._address, why=why)

    def _error(self, response: httpx2.Response) -> VmferryError:
        try:
            problem = response.json()
        except ValueError:
            problem = None
        if not isinstance(problem, dict) or "code" not in problem:
            why = f"{self._address} answered {response.status_code} and not in the way of vmferryd"
            return InternalError(codes.INTERNAL, why=why)
        return VmferryError.from_problem(problem)


@dataclass(frozen=True, slots=True)
class _Message:
    event: str
    data: str


def _messages(lines: Iterator[str]) -> Iterator[_Message | None]:
    """Take a text/event-stream apart (HTML standard, 9.2.6); None for a comment."""
    event, data = "message", list[str]()
    for line in lines:
        if not line:
            if data:
                yield _Message(event, "\n".join(data))
            event, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "":
            yield None
        elif field == "event":
            event = value
        elif field == "data":
            data.append(value)


def _event(message: _Message) -> Event | None:
    data = json.loads(message.data)
    match message.event:
        case "phase":
            return PhaseEvent.model_validate(data)
        case "progress":
            return Progress.model_validate(data)
        case "state":
            return StateEvent.model_validate(data)
        case "end":
            return Job.model_validate(data)
    return None  # of a newer daemon
