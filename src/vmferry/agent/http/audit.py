"""The audit log: one line for each request that may change something, whether it was allowed, refused or failed.

agent/auditlog/log.py has the file.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmferry.agent.auditlog.log import AuditLog
from vmferry.agent.http import actions, problems
from vmferry.core.auditlog.record import (
    LONGEST,
    AuditRecord,
    on_behalf_method,
    on_behalf_of,
    peer_head,
    read,
    told,
    told_path,
)
from vmferry.core.messages.offer import Caller
from vmferry.core.redaction import redacted_path
from vmferry.core.text import printable
from vmferry.identity.origin import Origin

HARMLESS = ("GET", "HEAD", "OPTIONS")
STRANGERS = 60  # records a minute of refused strangers: anybody could fill the disk with them
HOST = 600  # records a minute of one host: a move leaves some ten
_MINUTE = 60.0
_JOBS = "/api/v1/jobs/"


class Audit:
    """ASGI middleware around everything else, so that nothing can be asked for without a record.

    Arguments:
        host: this host's name.
        clock: gives Unix time.
    """

    def __init__(self, app: ASGIApp, trail: AuditLog, host: str, clock: Callable[[], float] = time.time) -> None:
        self._app = app
        self._trail = trail
        self._host = host
        self._clock = clock
        self._minute = 0
        self._written: Counter[str] = Counter()  # in this minute, by who caused it
        self._left_out = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["method"] in HARMLESS:
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, lambda: self._write(scope, exchange))
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:  # also where no answer came of it
            exchange.end()

    def _write(self, scope: Scope, exchange: "_Exchange") -> None:
        values = read(bytes(exchange.asked))
        who = _who(scope["state"])
        if who["method"] == "none" and exchange.result != "ok" and self._too_many("", STRANGERS):
            return
        if who["method"] == "certificate" and self._too_many(str(who["caller"]), HOST):
            return
        parameters = scope.get("path_params", {})
        action = actions.of(scope.get("endpoint"))
        if action is not None and action.question and exchange.result == "ok":
            return
        job = parameters.get("job") or exchange.job or values.get("job")
        has_head = action is not None and action.carries_head and "caller" in scope["state"]
        record = AuditRecord(
            at=datetime.fromtimestamp(self._clock(), UTC),
            host=self._host,
            action=action.name if action else None,
            request=printable(f"{scope['method']} {redacted_path(scope['raw_path'].decode('latin-1'))}", LONGEST),
            on_behalf_of=on_behalf_of(values),
            on_behalf_method=on_behalf_method(values),
            job=printable(str(job), LONGEST) if job else None,
            about=told_path(parameters) | told(values),
            peer_head=peer_head(values, str(who["caller"])) if has_head else None,
            result=exchange.result,
            status=exchange.status,
            left_out=self._left_out,
            **who,
        )
        self._left_out = 0
        self._trail.append(record)

    def _too_many(self, who: str, limit: int) -> bool:
        minute = int(self._clock() / _MINUTE)
        if minute != self._minute:
            self._minute = minute
            self._written.clear()
        self._written[who] += 1
        if self._written[who] > limit:
            self._left_out += 1
            return True
        return False


class _Exchange:
    """A request and its answer, as they go by.

    Arguments:
        ended: called once, before the last of the answer is sent: whoever has the answer finds the record.
    """

    def __init__(self, receive: Receive, send: Send, ended: Callable[[], None]) -> None:
        self._receive = receive
        self._send = send
        self._ended: Callable[[], None] | None = ended
        self._problem = False
        self._said = bytearray()
        self.asked = bytearray()  # no longer than agent/http/gate.py lets a body be
        self.status: int | None = None
        self.job: str | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        self.asked += message.get("body", b"")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = {name.lower(): value.decode("latin-1") for name, value in message.get("headers", ())}
            self._problem = headers.get(b"content-type") == problems.MEDIA_TYPE
            location = headers.get(b"location", "")
            self.job = location.removeprefix(_JOBS) if location.startswith(_JOBS) else None
            if not self._problem:
                self.end()
        elif self._problem:  # its body has the code
            self._said += message.get("body", b"")
            if not message.get("more_body", False):
                self.end()
        await self._send(message)

    def end(self) -> None:
        """Say that there will be no more, unless it was said."""
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()

    @property
    def result(self) -> str:
        """`ok`, or the code of the error that was answered."""
        if self.status is None:
            return "no-answer"
        if self._problem:
            return str(json.loads(self._said)["code"]) if self._said else "unknown"
        return "ok" if self.status < 400 else "unknown"


def _who(state: dict[str, Any]) -> dict[str, Any]:
    """Return who asked: as the routes found out (agent/http/auth.py), else as far as the listener knew."""
    origin: Origin = state["origin"]
    caller: Caller | None = state.get("caller")
    if caller is None:
        return {"caller": origin.name, "method": origin.method, "address": origin.address}
    role = state.get("role")
    return {"caller": caller.name, "method": caller.method, "role": role and str(role), "address": origin.address}
