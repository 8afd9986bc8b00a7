"""The API over the unix socket: what it shows, what it starts, how it says no."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from vmferry.agent.http.app import document
from vmferry.agent.http.gate import PERSON_LIMIT
from vmferry.core import codes
from vmferry.core.errors import PreflightError, VmferryError
from vmferry.core.job import Phase, Progress, State
from vmferry.core.messages.offer import Caller, MoveOptions

if TYPE_CHECKING:
    from tests.agent.conftest import Node

ROOT = Path(__file__).parents[3]


def raw(node: "Node", method: str, path: str, **more: Any) -> httpx2.Response:
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(node.config.socket)), timeout=30) as http:
        return http.request(method, f"http://x{path}", **more)


def test_host(kvm1: "Node") -> None:
    host = kvm1.client.host()
    assert host.name == "kvm1"
    assert host.fingerprint == kvm1.identity.fingerprint
    assert (host.address, host.port) == ("127.0.0.1", kvm1.config.port)
    assert kvm1.client.hosts() == []
    assert kvm1.client.version().api == ["v1"]


def test_vms(kvm1: "Node") -> None:
    assert [vm.name for vm in kvm1.client.vms()] == ["web01"]
    assert kvm1.client.vm("web01").machine == "pc-q35-7.2"
    with pytest.raises(VmferryError) as caught:
        kvm1.client.vm("a b?c")
    assert caught.value.code is codes.VM_UNKNOWN
    assert kvm1.made.asked[-1] == ("vm", "a b?c")


def test_move_becomes_a_job(kvm1: "Node") -> None:
    options = MoveOptions(include_storage=True, disk_paths={"vda": "/srv/web01.qcow2"})
    job = kvm1.client.move("web01", "kvm2", options)
    assert kvm1.made.asked == [("move", "web01", "kvm2", options, Caller(name="root", host="kvm1", method="unix"))]
    assert (job.id, job.source, job.destination, job.state) == ("0001", "kvm1", "kvm2", State.RUNNING)
    assert job.options == options
    assert [warning.code for warning in job.warnings] == ["same-hostname"]
    job = job.model_copy(update={"warnings": []})
    assert kvm1.client.job("0001") == job
    assert kvm1.client.jobs() == [job]
    kvm1.end()
    answer = raw(kvm1, "POST", "/api/v1/vms/web02/move", json={"destination": "kvm2"})
    assert answer.status_code == 500  # the made-up mover has one id only
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_check_is_an_answer_and_makes_no_job(kvm1: "Node") -> None:
    options = MoveOptions(include_storage=True, map_networks={"br0": "none"})
    report = kvm1.client.check("web01", "kvm2", options)
    assert kvm1.made.asked == [("check", "web01", "kvm2", options, Caller(name="root", host="kvm1", method="unix"))]
    kvm1.client.check("web01", "kvm2", options, predict=True)
    assert kvm1.made.asked[-1][-1] == "predict"
    assert [finding.code for finding in report.findings] == ["same-hostname"]
    assert kvm1.client.jobs() == []


def test_accepted_says_where_the_job_is(kvm1: "Node") -> None:
    answer = raw(kvm1, "POST", "/api/v1/vms/web01/move", json={"destination": "kvm2"})
    assert answer.status_code == 202
    assert answer.headers["location"] == "/api/v1/jobs/0001"
    assert raw(kvm1, "GET", answer.headers["location"]).json()["vm"] == "web01"


def test_errors_come_as_problems_and_go_as_errors(kvm1: "Node") -> None:
    kvm1.made.raises = PreflightError(codes.NAME_TAKEN, host="kvm2", vm="web01")
    with pytest.raises(PreflightError) as caught:
        kvm1.client.move("web01", "kvm2")
    assert caught.value.code is codes.NAME_TAKEN
    answer = raw(kvm1, "POST", "/api/v1/vms/web01/move", json={"destination": "kvm2"})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == kvm1.made.raises.problem()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "destination"),
        ({"destination": "kvm2", "colour": 1}, "colour"),
        ({"destination": "kvm2", "encryption": "rot13"}, "encryption"),
        ("{", "JSON"),
        ("[]", "dictionary"),
    ],
)
def test_what_is_not_valid_is_named(kvm1: "Node", body: Any, named: str) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    answer = raw(kvm1, "POST", "/api/v1/vms/web01/move", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad-request"
    assert named in answer.json()["detail"]
    assert kvm1.made.asked == []


def test_secrets_do_not_come_back(kvm1: "Node") -> None:
    answer = raw(kvm1, "POST", "/api/v1/hosts", json={"token": "vmf1-SeCrEt" * 200})
    assert answer.status_code == 400
    assert "SeCrEt" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not-found"),
        ("GET", "/", 404, "not-found"),
        ("PUT", "/api/v1/vms", 405, "method-wrong"),
        ("GET", "/api/v1/jobs/0009", 404, "job-unknown"),
        ("GET", "/api/v1/jobs/0009/events", 404, "job-unknown"),
        ("POST", "/api/v1/jobs/0009/cancel", 404, "job-unknown"),
        ("GET", "/api/v1/jobs/a%2e%2e", 400, "bad-request"),
        ("DELETE", "/api/v1/hosts/kvm9", 404, "host-unknown"),
        ("GET", "/api/v1/peer/hello", 403, "not-paired"),
        ("POST", "/api/v1/pairing", 403, "not-authenticated"),
    ],
)
def test_other_paths(kvm1: "Node", method: str, path: str, status: int, code: str) -> None:
    answer = raw(kvm1, method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_faults_are_logged_and_not_told(kvm1: "Node", caplog: pytest.LogCaptureFixture) -> None:
    kvm1.made.raises = RuntimeError("the secret cause")
    answer = raw(kvm1, "GET", "/api/v1/vms")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "secret" not in answer.text
    record = next(record for record in caplog.records if record.exc_info)
    assert record.getMessage().split(":")[0] in answer.json()["detail"]
    assert str(record.exc_info and record.exc_info[1]) == "the secret cause"


def test_bodies_have_a_limit(kvm1: "Node") -> None:
    answer = raw(kvm1, "POST", "/api/v1/vms/web01/move", content=b" " * (5 << 20))
    assert answer.status_code == 400
    assert "longer" in answer.json()["detail"]


def test_cancel(kvm1: "Node") -> None:
    kvm1.client.move("web01", "kvm2")
    kvm1.client.cancel("0001")
    assert kvm1.made.asked[-1] == ("cancel", "0001", Caller(name="root", host="kvm1", method="unix"))


def test_job_shows_progress_and_end(kvm1: "Node") -> None:
    kvm1.client.move("web01", "kvm2")
    progress = Progress(phase=Phase.COPYING, percent=50.0)
    kvm1.made.report("0001", progress)
    assert progress in kvm1.client.events("0001")
    assert kvm1.client.job("0001").progress == progress
    error = PreflightError(codes.NAME_TAKEN, host="kvm2", vm="web01")
    kvm1.stores.jobs.end("0001", State.FAILED, error.problem())
    shown = kvm1.client.job("0001")
    assert (shown.state, shown.reason) == (State.FAILED, error.reason)
    assert shown.error is not None
    assert VmferryError.from_problem(shown.error.model_dump()).code is codes.NAME_TAKEN


STRANGER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    for request in sys.argv[2:]:
        head = request + " HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 2\\r\\n"
        sock.sendall((head + "Content-Type: application/json\\r\\n\\r\\n{}").encode())
        head = b""
        while not head.endswith(b"\\r\\n\\r\\n"):
            head += sock.recv(1)
        length = next(int(x.split(b":")[1]) for x in head.split(b"\\r\\n") if x.startswith(b"content-length"))
        body = b""
        while len(body) < length:
            body += sock.recv(length - len(body))
        print(head.split()[1].decode(), body.decode())
"""


def test_users_outside_the_group_are_refused_everywhere(kvm1: "Node") -> None:
    if kvm1.config.socket.stat().st_uid != 0:
        pytest.skip("needs root, to become another user")
    requests = [
        f"{method.upper()} {path.replace('{name}', 'web01').replace('{job}', '0001')}"
        for path, methods in json.loads(document())["paths"].items()
        for method in methods
        if path != "/api/v1/version"
    ]
    assert len(requests) > 15
    done = subprocess.run(
        ["/usr/bin/python3", "-c", STRANGER, str(kvm1.config.socket), *requests],
        user="nobody",
        group="nogroup",
        extra_groups=[],
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
        timeout=20,
    )
    answers = done.stdout.splitlines()
    assert len(answers) == len(requests)
    for request, answer in zip(requests, answers, strict=True):
        status, _, body = answer.partition(" ")
        assert status == "403", (request, answer)
        assert json.loads(body)["code"] in ("not-allowed", "not-paired", "not-authenticated")
    assert "nobody" in done.stdout
    assert kvm1.made.asked == []


def test_openapi_document_is_current() -> None:
    assert (ROOT / "docs" / "openapi.json").read_text() == document(), (
        "run: vmferryd --print-openapi > docs/openapi.json"
    )


def test_openapi_document_is_printed_without_libvirt() -> None:
    program = "import sys; sys.modules['libvirt'] = None\n"
    program += "from vmferry.agent.main import main; main(['--print-openapi'])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == document()


def test_openapi_describes_every_operation() -> None:
    schema = json.loads(document())
    seen = set()
    for methods in schema["paths"].values():
        for operation in methods.values():
            assert operation["description"]
            assert operation["operationId"] not in seen
            seen.add(operation["operationId"])
            assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
    assert "HTTPValidationError" not in json.dumps(schema)


def test_the_document_says_what_a_caller_shows_and_which_methods_there_are(kvm1: "Node") -> None:
    described = json.loads(document())
    assert described["servers"][0]["url"] == "https://{host}:{port}"
    schemes = set(described["components"]["securitySchemes"])
    for path, operations in described["paths"].items():
        for operation in operations.values():
            named = {scheme for one in operation["security"] for scheme in one}
            assert named <= schemes
            assert ("certificate" in named) is ("/peer/" in path)
            assert {"400", "401", "403", "404", "409"} <= set(operation["responses"])
    answer = raw(kvm1, "OPTIONS", "/api/v1/host/networks/x")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, PATCH")


def test_head_is_get_without_the_body(kvm1: "Node") -> None:
    for path in ("/host", "/vms", "/no-such-thing", "/host/migration/enable"):
        whole, head = (raw(kvm1, method, f"/api/v1{path}") for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (whole.status_code, b"")
        assert head.headers["content-length"] == whole.headers["content-length"]
        assert head.headers["content-type"] == whole.headers["content-type"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(b"[" * 100_000, "parsing the body", id="deep"),
        pytest.param(b'{"a":' * 100_000, "parsing the body", id="deep-object"),
        pytest.param(b" " * (PERSON_LIMIT + 1), f"longer than {PERSON_LIMIT} bytes", id="long"),
        pytest.param(b'{"role": "viewer", "expires_in": NaN}', "expires_in", id="nan"),
        pytest.param(b'{"role": "viewer", "expires_in": 1e999}', "expires_in", id="infinity"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_bad_request(kvm1: "Node", body: bytes, why: str) -> None:
    answer = raw(kvm1, "POST", "/api/v1/tokens", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad-request"
    assert why in answer.json()["detail"]


def test_a_step_beyond_what_can_be_counted_is_a_bad_request(kvm1: "Node") -> None:
    answer = raw(kvm1, "GET", "/api/v1/jobs/0001/events", headers={"Last-Event-ID": str(1 << 70)})
    assert answer.status_code == 400
