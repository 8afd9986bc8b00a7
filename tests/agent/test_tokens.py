"""API tokens over HTTPS: who comes in with them, as whom, and for how long."""

import http.client
import json
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

import pytest
from tests.agent.http.test_server import connect, context

from vmferry.agent.http.app import document
from vmferry.client import Client
from vmferry.core import codes
from vmferry.core.errors import Code, VmferryError
from vmferry.core.messages.api import NewToken, TokenRequest
from vmferry.core.messages.offer import Caller
from vmferry.core.policy.settings import SettingsChange

if TYPE_CHECKING:
    from tests.agent.conftest import Node


def make(node: "Node", role: Literal["viewer", "operator", "administrator"] = "operator", name: str = "ci") -> NewToken:
    return node.client.create_token(TokenRequest(role=role, expires_in=3600, name=name))


def remote(made: NewToken, token: str | None = None) -> Client:
    return Client.remote(made.address, made.port, made.fingerprint, token=token or made.token)


def refused(code: Code, call: Callable[[], object]) -> VmferryError:
    with pytest.raises(VmferryError) as caught:
        call()
    assert caught.value.code is code, caught.value
    return caught.value


def ask(node: "Node", path: str, *authorization: str, method: str = "GET") -> tuple[http.client.HTTPResponse, Any]:
    connection = http.client.HTTPConnection("127.0.0.1")
    with closing(connection):
        connection.sock = connect(node, context())
        connection.putrequest(method, path)
        for value in authorization:
            connection.putheader("Authorization", value)
        connection.endheaders()
        response = connection.getresponse()
        return response, json.loads(response.read() or b"null")


def test_a_token_lets_in_as_its_role(kvm1: "Node") -> None:
    viewer, operator, administrator = (make(kvm1, role, role) for role in ("viewer", "operator", "administrator"))
    with remote(viewer) as client:
        assert [vm.name for vm in client.vms()] == ["web01"]
        error = refused(codes.NOT_ALLOWED, lambda: client.move("web01", "kvm2"))
        assert "token viewer" in error.reason
        refused(codes.NOT_ALLOWED, client.audit)
        refused(codes.NOT_ALLOWED, client.tokens)
    with remote(operator) as client:
        job = client.move("web01", "kvm2")
        assert job.caller == Caller(name="token operator", host="kvm1", method="token")
        refused(codes.NOT_ALLOWED, lambda: client.change_settings(SettingsChange(max_migrations=3)))
    with remote(administrator) as client:
        assert client.change_settings(SettingsChange(max_migrations=3)).changed


def test_it_is_shown_once(kvm1: "Node") -> None:
    made = make(kvm1)
    (listed,) = kvm1.client.tokens()
    assert (listed.id, listed.name, listed.role, listed.state, listed.created_by) == (
        made.id,
        "ci",
        "operator",
        "valid",
        "root",
    )
    assert "token" not in listed.model_dump()
    for file in kvm1.config.state_folder.rglob("*"):
        assert not file.is_file() or made.token.encode()[15:] not in file.read_bytes()
    assert made.token not in kvm1.config.audit_log.read_text()


def test_revoked_and_expired_tokens_are_told_and_count_at_once(kvm1: "Node") -> None:
    made = make(kvm1)
    with remote(made) as client:
        client.vms()
        kvm1.client.revoke_token("ci")
        error = refused(codes.API_TOKEN_REVOKED, client.vms)  # the same connection
        assert error.fields == {"host": "kvm1", "name": "ci"}
    assert kvm1.client.tokens()[0].state == "revoked"
    made = make(kvm1)
    with remote(made) as client:
        client.vms()
        with kvm1.database.transaction() as connection:
            connection.execute("UPDATE tokens SET expires_at = created_at WHERE id = ?", (made.id,))
        refused(codes.API_TOKEN_EXPIRED, client.vms)
        refused(codes.API_TOKEN_EXPIRED, lambda: client.move("web01", "kvm2"))
    assert kvm1.made.asked == [("vms",), ("vms",)]
    last = kvm1.client.audit()[-1]
    assert (last.caller, last.method, last.result, last.status) == ("token ci", "token", "api-token-expired", 401)


def test_wrong_tokens_are_answered_alike_with_a_challenge(kvm1: "Node") -> None:
    made = make(kvm1)
    answers = []
    wrong = [made.token[:-1], made.token.replace(made.id, "00000000"), f"{made.token[:15]}{'A' * 43}", "", "x" * 5000]
    for word in wrong:
        response, answer = ask(kvm1, "/api/v1/vms", f"Bearer {word}")
        assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        answers.append(answer)
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["code"] == "api-token-wrong"
    assert answers[0]["exit_code"] == 4
    for header in (made.token, f"Basic {made.token}"):
        assert ask(kvm1, "/api/v1/vms", header)[0].status == 401
    assert ask(kvm1, "/api/v1/vms", f"Bearer {made.token}", "Bearer x")[0].status == 401
    assert ask(kvm1, "/api/v1/vms", f"bearer {made.token}")[0].status == 200
    assert ask(kvm1, "/api/v1/version", "Bearer wrong")[0].status == 200  # open to strangers as they are


def test_tokens_of_another_host_are_wrong_here(kvm1: "Node", kvm2: "Node") -> None:
    there, here = make(kvm2), make(kvm1)
    with remote(here, there.token) as client:
        refused(codes.API_TOKEN_WRONG, client.vms)


def test_a_token_is_no_host(kvm1: "Node") -> None:
    made = make(kvm1, "administrator")
    for path, methods in json.loads(document())["paths"].items():
        for method in methods:
            if path.startswith("/api/v1/peer/"):
                path = path.replace("{job}", "0001")
                response, answer = ask(kvm1, path, f"Bearer {made.token}", method=method.upper())
                assert (response.status, answer["code"]) == (403, "not-paired")


def test_no_token_makes_another(kvm1: "Node") -> None:
    made = make(kvm1, "administrator")
    with remote(made) as client:
        refused(codes.API_TOKEN_BY_TOKEN, lambda: client.create_token(TokenRequest(role="viewer", expires_in=60)))
        client.revoke_token("ci")
        refused(codes.API_TOKEN_REVOKED, client.tokens)
    assert kvm1.client.tokens()[0].revoked_by == "token ci"


def test_a_token_is_not_asked_for_where_the_kernel_knows(kvm1: "Node") -> None:
    kvm1.client._http.headers["Authorization"] = "Bearer wrong"
    assert kvm1.client.vms()


@pytest.mark.parametrize(("field", "value"), [("expires_in", 59), ("expires_in", 367 * 86400), ("name", "a b")])
def test_what_no_token_can_be(kvm1: "Node", field: str, value: object) -> None:
    asked = {"role": "viewer", "expires_in": 3600, field: value}
    refused(codes.BAD_REQUEST, lambda: kvm1.client._call("POST", "/tokens", asked))


def test_nothing_is_shown_to_another_certificate(kvm1: "Node", kvm2: "Node") -> None:
    made = make(kvm1)
    with Client.remote(made.address, made.port, kvm2.identity.fingerprint, token=made.token) as client:
        error = refused(codes.SERVER_CERTIFICATE, client.vms)
        assert int(error.exit_code) == 4
    assert kvm1.made.asked == []


def test_records_name_the_token(kvm1: "Node") -> None:
    with remote(make(kvm1)) as client:
        client.move("web01", "kvm2")
    record = kvm1.client.audit(job="0001")[0]
    assert (record.caller, record.method, record.role, record.address) == (
        "token ci",
        "token",
        "operator",
        "127.0.0.1",
    )
    row = kvm1.stores.jobs.get("0001")
    assert row.caller.name == "token ci"
