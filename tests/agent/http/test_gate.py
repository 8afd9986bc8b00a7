"""The gate takes callers by what their kind says of itself: a new kind needs no word in it."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from starlette.types import Message, Receive, Scope, Send

from vmferry.agent.auditlog.log import AuditLog
from vmferry.agent.http.audit import Audit
from vmferry.agent.http.gate import Gate
from vmferry.identity.kerberos import HostKeys
from vmferry.identity.origin import Audience, Origin
from vmferry.store.database import Database
from vmferry.store.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Session(Origin):
    """A kind that the program does not have: somebody who signed in with a browser."""

    audience: ClassVar[Audience] = Audience.PEOPLE
    method: ClassVar[str] = "session"
    proved_by_request: ClassVar[bool] = True
    name: str
    address: str = "10.0.0.9"

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"set-cookie", b"a=b")]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/v1/vms/web01/move", 202), ("/api/v1/peer/offers", 403), ("/api/v1/pairing", 403), ("/api/v1/signin", 403)],
)
def test_a_kind_of_caller_that_is_new(path: str, status: int, tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    vouched: list[bool] = []
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "headers": [],
        "state": {"origin": Session("ann"), "vouch": lambda: vouched.append(True)},
    }
    database = Database(tmp_path / "db")
    trail = AuditLog(tmp_path / "audit.log")
    try:
        gate = Gate(app, Tokens(database), HostKeys(tmp_path / "keytab", "kvm1"), "kvm1")
        asyncio.run(Audit(gate, trail, "kvm1")(scope, receive, send))
    finally:
        database.close()
    assert sent[0]["status"] == status
    assert vouched == [True] * (status == 202)
    assert ((b"set-cookie", b"a=b") in sent[0]["headers"]) is (status == 202)
    (line,) = trail.read()
    assert (line.caller, line.method, line.address, line.status) == ("ann", "session", "10.0.0.9", status)
