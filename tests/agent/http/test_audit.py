"""The audit log: every request that may change something leaves one line, whatever became of it."""

import asyncio
import json
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send
from tests.agent.http.test_api import raw
from tests.agent.http.test_server import ask
from tests.agent.test_peer import offer, proof

from vmferry.agent.auditlog import log as trail_module
from vmferry.agent.auditlog.log import AuditLog
from vmferry.agent.http import audit
from vmferry.agent.http.app import document
from vmferry.client import Client
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.auditlog.record import AuditRecord
from vmferry.core.errors import AccessError, PreflightError, UsageError, VmferryError
from vmferry.core.messages.api import TokenRequest
from vmferry.core.messages.offer import Caller, MoveOptions
from vmferry.core.policy.settings import HostSettings
from vmferry.identity import access
from vmferry.identity.access import Login, UnixUser, UserRole
from vmferry.identity.origin import LocalUser

if TYPE_CHECKING:
    from tests.agent.conftest import Node


def lines(node: "Node") -> list[dict[str, Any]]:
    return [json.loads(line) for line in node.config.audit_log.read_text().splitlines()]


def record(number: int = 1, **changes: Any) -> AuditRecord:
    fields = {
        "at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
        "host": "kvm1",
        "action": "move_vm",
        "request": "POST /",
        "caller": "root",
        "method": "unix",
        "address": "unix",
        "job": f"{number:04}",
        "result": "ok",
        "status": 202,
    }
    return AuditRecord.model_validate(fields | changes)


def test_a_move_is_recorded_with_who_asked_and_its_job(kvm1: "Node") -> None:
    kvm1.client.move("web01", "kvm2", MoveOptions(include_storage=True))
    (line,) = kvm1.client.audit()
    assert (line.action, line.request) == ("move_vm", "POST /api/v1/vms/web01/move")
    assert (line.caller, line.method, line.role, line.address) == ("root", "unix", "administrator", "unix")
    assert (line.job, line.result, line.status) == ("0001", "ok", 202)
    assert (line.about["name"], line.about["destination"]) == ("web01", "kvm2")
    assert line.about["include_storage"] is True
    assert abs(line.at - datetime.now(UTC)) < timedelta(seconds=60)
    kvm1.client.cancel("0001")
    assert [(line.action, line.job) for line in kvm1.client.audit(job="0001")] == [
        ("move_vm", "0001"),
        ("cancel_job", "0001"),
    ]


def test_questions_leave_no_record(kvm1: "Node") -> None:
    kvm1.client.vms()
    kvm1.client.audit()
    kvm1.client.check("web01", "kvm2")
    assert not kvm1.config.audit_log.exists()
    kvm1.made.raises = UsageError(codes.VM_UNKNOWN, vm="web09", host="kvm1")
    with pytest.raises(UsageError):
        kvm1.client.check("web09", "kvm2")
    assert [line["result"] for line in lines(kvm1)] == ["vm-unknown"]  # who looks for what is not there is on record


def test_every_changing_operation_leaves_one_record(kvm1: "Node") -> None:
    """Also those that nobody has thought of when this was written: the paths come from the API's own document."""
    asked = 0
    for path, methods in json.loads(document())["paths"].items():
        for method in methods:
            if method != "get" and not path.endswith("/settings/try"):  # a question, which {} answers well
                raw(kvm1, method.upper(), path.replace("{job}", "0001"), json={})
                asked += 1
    assert asked >= 15
    assert len(lines(kvm1)) == asked


def test_what_was_refused_or_failed_is_recorded_with_its_code(kvm1: "Node") -> None:
    kvm1.made.raises = PreflightError(codes.NAME_TAKEN, host="kvm2", vm="web01")
    raw(kvm1, "POST", "/api/v1/vms/web01/move", json={"destination": "kvm2"})
    kvm1.made.raises = RuntimeError("a fault")
    raw(kvm1, "POST", "/api/v1/vms/web01/move", json={"destination": "kvm2"})
    raw(kvm1, "POST", "/api/v1/vms/web01/move", content=b"{", headers={"content-type": "application/json"})
    raw(kvm1, "PUT", "/api/v1/nothing")
    found = [(line["result"], line["status"], line.get("action")) for line in lines(kvm1)]
    assert found == [
        ("name-taken", 409, "move_vm"),
        ("internal", 500, "move_vm"),
        ("bad-request", 400, "move_vm"),
        ("not-found", 404, None),
    ]


def test_whoever_may_not_is_named(kvm1: "Node", monkeypatch: pytest.MonkeyPatch) -> None:
    def viewer(config: Config, user: UnixUser, settings: HostSettings) -> Login:
        return Login(Caller(name="ann", host=config.name, method="unix"), UserRole.VIEWER)

    def nobody(config: Config, user: UnixUser, settings: HostSettings) -> Login:
        raise AccessError(codes.NOT_ALLOWED, host="kvm1", caller="x", action="use vmferry", role="viewer")

    monkeypatch.setattr(access, "login", viewer)
    with pytest.raises(VmferryError):
        kvm1.client.move("web01", "kvm2")
    with pytest.raises(VmferryError) as caught:
        kvm1.client.audit()
    assert caught.value.code is codes.NOT_ALLOWED
    assert "role administrator" in caught.value.remedy
    monkeypatch.setattr(access, "login", nobody)
    with pytest.raises(VmferryError):
        kvm1.client.enable()
    first, second = lines(kvm1)
    assert (first["caller"], first["role"], first["result"]) == ("ann", "viewer", "not-allowed")
    assert (second["caller"], second["method"], second["result"]) == ("root", "unix", "not-allowed")


def test_both_hosts_of_a_pair_have_their_part(kvm1: "Node", kvm2: "Node") -> None:
    kvm1.pair(kvm2)
    peer = kvm1.peer(kvm2)
    peer.offer(offer("alice"))
    shown = proof(kvm1, kvm2)
    peer.admit("0001", shown)
    with pytest.raises(VmferryError):
        peer.go("0001", "00" * 32)
    peer.abort("0001", shown, "the link broke")
    assert [line["action"] for line in lines(kvm1)] == ["pair_host"]
    invited, accepted, offered, admitted, gone, aborted = lines(kvm2)
    assert invited["action"] == "invite_host"
    assert (accepted["action"], accepted["address"], accepted["about"]["name"]) == ("accept_host", "127.0.0.1", "kvm1")
    assert (offered["caller"], offered["method"], offered["on_behalf_of"]) == ("kvm1", "certificate", "alice")
    assert (offered["on_behalf_method"], offered["address"]) == (offer("alice").caller.method, "127.0.0.1")
    assert (offered["about"]["vm"], offered["about"]["source"]) == ("web01", "kvm1")
    assert [line["job"] for line in (offered, admitted, gone, aborted)] == ["0001"] * 4
    assert (gone["action"], gone["result"], gone["status"]) == ("commit_job", "job-key-wrong", 401)
    assert (aborted["result"], aborted["about"]) == ("ok", {"reason": "the link broke"})


def test_no_secret_is_in_it(kvm1: "Node", kvm2: "Node") -> None:
    token = kvm2.client.invite().token
    kvm1.client.pair(token)
    kvm1.peer(kvm2).offer(offer())
    for node in (kvm1, kvm2):
        text = node.config.audit_log.read_text()
        assert token not in text
        assert "BEGIN" not in text
        assert "<domain" not in text
        assert "secret" not in text


def test_strangers_are_recorded_and_cannot_fill_the_disk(kvm1: "Node", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "STRANGERS", 2)
    monkeypatch.setattr(audit, "_MINUTE", 1e12)
    for _ in range(5):
        assert ask(kvm1, "POST", "/api/v1/vms/web01/move")[0] == 403
    kvm1.client.enable()
    first, second, enabled = lines(kvm1)
    assert (first["method"], first["address"], first["result"]) == ("none", "127.0.0.1", "not-authenticated")
    assert (first["caller"], first["action"], first["request"]) == (None, None, "POST /api/v1/vms/web01/move")
    assert (second["status"], enabled["left_out"]) == (403, 3)


def test_a_request_that_nobody_waits_for_is_recorded(kvm1: "Node", monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def slow(name: str, *rest: object, **more: object) -> str:
        kvm1.made.started.put("begun")
        go.wait(10.0)
        raise PreflightError(codes.NAME_TAKEN, host="kvm2", vm=name)

    monkeypatch.setattr(kvm1.made, "move", slow)
    impatient = httpx2.Client(transport=httpx2.HTTPTransport(uds=str(kvm1.config.socket)), timeout=0.2)
    with impatient, pytest.raises(httpx2.ReadTimeout):
        impatient.post("http://x/api/v1/vms/web01/move", json={"destination": "kvm2"})
    assert kvm1.made.started.get(timeout=10.0) == "begun"
    go.set()
    kvm1.stop()  # waits for the requests under way
    (line,) = lines(kvm1)
    assert line["action"] == "move_vm"
    assert line["result"] in ("name-taken", "no-answer")


def test_what_was_never_answered_is_recorded(tmp_path: Path) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("before an answer")

    async def unused() -> Message:
        raise AssertionError

    async def unsent(message: Message) -> None:
        raise AssertionError

    trail = AuditLog(tmp_path / "audit.log")
    scope = {
        "type": "http",
        "method": "POST",
        "raw_path": b"/x",
        "state": {"origin": LocalUser(UnixUser(0, frozenset()))},
    }
    with pytest.raises(RuntimeError):
        asyncio.run(audit.Audit(broken, trail, "kvm1")(scope, unused, unsent))
    (line,) = trail.read()
    assert (line.caller, line.result, line.status, line.request) == ("root", "no-answer", None, "POST /x")


def test_file_is_the_owners_and_outlives_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log" / "audit.log"
    trail = AuditLog(path)
    trail.append(record(1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.rename(path.with_name("audit.log.1"))
    trail.append(record(2))
    assert path.read_text().count("\n") == 1
    assert trail.read() == [record(1), record(2)]
    assert trail.read(since=record(2).at) == [record(2)]
    assert trail.read(job="0001") == [record(1)]


def test_damaged_lines_hide_nothing(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    trail = AuditLog(path)
    trail.append(record(1))
    with path.open("ab") as file:
        file.write(b'{"at": "2026\n\xff\n{}\n')
    trail.append(record(2))
    assert trail.read() == [record(1), record(2)]


def test_the_newest_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail_module, "MOST", 2)
    trail = AuditLog(tmp_path / "audit.log")
    for number in range(4):
        trail.append(record(number))
    assert trail.read() == [record(2), record(3)]


def test_no_link_is_followed_and_what_cannot_be_written_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "audit.log").symlink_to(tmp_path / "elsewhere")
    AuditLog(tmp_path / "audit.log").append(record(1))
    assert not (tmp_path / "elsewhere").exists()
    assert '"job":"0001"' in caplog.text


def test_since(kvm1: "Node") -> None:
    AuditLog(kvm1.config.audit_log).append(record(1, at=datetime.now(UTC) - timedelta(hours=2)))
    kvm1.client.enable()
    assert len(kvm1.client.audit()) == 2
    assert [line.action for line in kvm1.client.audit(since=3600.0)] == ["enable_migration"]


def test_strangers_do_not_read_it(kvm1: "Node") -> None:
    with Client.remote("127.0.0.1", kvm1.config.port, kvm1.identity.fingerprint) as client:
        with pytest.raises(AccessError) as caught:
            client.audit()
        assert caught.value.code is codes.NOT_AUTHENTICATED


def test_no_secret_in_the_wrong_place_is_written_down(
    kvm1: "Node", caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the path, query, body or header: a token is nowhere in the log, and not the chain's concern."""
    made = kvm1.client.create_token(TokenRequest(role="operator", expires_in=3600))
    secret = made.token.rpartition("-")[2] if "-" not in made.token[15:] else made.token[15:]
    pairing = kvm1.client.invite(["*"]).token
    everywhere = "".join(f"%{byte:02x}" for byte in made.token.encode())
    for token in (made.token, everywhere, pairing):
        for method, path in (
            ("DELETE", "/api/v1/hosts/{}"),
            ("POST", "/api/v1/hosts/{}/test"),
            ("POST", "/api/v1/vms/{}/move?x={}"),
            ("POST", "/api/v1/jobs/{}/cancel"),
            ("POST", "/{}"),
            ("DELETE", "/api/v1/tokens/x{}"),
        ):
            body = {"destination": token, "name": token, "callers": [token], "reason": token, "vms": {"a": token}}
            raw(kvm1, method, path.format(token, token), json=body, headers={"X-Token": token, "Authorization": token})
    ask(kvm1, "POST", f"/api/v1/hosts/{made.token}/test")
    monkeypatch.setattr(trail_module, "redacted", lambda text: text)
    assert kvm1.client.verify_audit().broken is None
    for text in (kvm1.config.audit_log.read_text(), kvm1.database.path.read_bytes().decode("latin-1")):
        assert secret[:20] not in text
        assert pairing[10:40] not in text
    assert "vmft1-" in kvm1.config.audit_log.read_text()


def test_a_whole_token_is_revoked_and_not_written_down(kvm1: "Node") -> None:
    made = kvm1.client.create_token(TokenRequest(role="operator", expires_in=3600))
    assert raw(kvm1, "DELETE", f"/api/v1/tokens/{made.token}").status_code == 204
    assert [token.state for token in kvm1.client.tokens()] == ["revoked"]
    assert made.token[16:] not in kvm1.config.audit_log.read_text()
    other = kvm1.client.create_token(TokenRequest(role="operator", expires_in=3600))
    kvm1.client.revoke_token(other.token)
    assert f"DELETE /api/v1/tokens/{other.id}" in kvm1.config.audit_log.read_text()


def test_a_host_cannot_fill_the_disk_with_records(kvm1: "Node", kvm2: "Node", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "HOST", 3)
    monkeypatch.setattr(audit, "_MINUTE", 1e12)
    kvm1.pair(kvm2)
    before = len(lines(kvm2))
    for number in range(8):
        with pytest.raises(VmferryError):
            kvm1.peer(kvm2).go(f"{number:04}", "")
    kvm2.client.invite(["*"])
    written = lines(kvm2)[before:]
    assert [line["action"] for line in written] == ["commit_job"] * 3 + ["invite_host"]
    assert written[-1]["left_out"] == 5
