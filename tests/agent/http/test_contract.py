"""The API against its own OpenAPI document: what the schema lets through is answered as the schema says.

schemathesis makes the requests, from the document alone; bounded, and with a seed, so that each run makes the same.
"""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vmferry.agent.http.app import document
from vmferry.core.messages.api import TokenRequest

if TYPE_CHECKING:
    from tests.agent.conftest import Node

pytest.importorskip("schemathesis")

pytestmark = pytest.mark.slow

LIMIT = 300.0  # seconds; it takes some 30 where nothing else runs
TRY = "/host/settings/try$"  # takes what `PATCH /host/settings` takes: hundreds of cases, which are enough once
SAMPLE = ("--phases", "examples,fuzzing", "--max-examples", "2")
ALL = ("--phases", "examples,coverage,fuzzing", "--max-examples", "4")
# For hosts alone; counted by attempts; without an end; and, of moves, only what a test of its own makes up.
LEFT_OUT = "/(peer|pairing|signin)|/events$|/move$"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
    "ignored_auth",
)


@pytest.mark.timeout(2 * LIMIT)
@pytest.mark.parametrize(
    ("role", "cases"),
    [
        ("viewer", (*SAMPLE, "--exclude-path-regex", LEFT_OUT)),  # most is refused before a body is looked at
        ("administrator", (*ALL, "--exclude-path-regex", f"{LEFT_OUT}|{TRY}")),
        ("administrator", (*SAMPLE, "--include-path-regex", TRY)),
    ],
    ids=["viewer", "administrator", "try"],
)
def test_every_operation_answers_as_its_document_says(
    kvm1: "Node", tmp_path: Path, role: str, cases: tuple[str, ...]
) -> None:
    token = kvm1.client.create_token(TokenRequest.model_validate({"role": role, "expires_in": 3600})).token
    described = tmp_path / "openapi.json"
    described.write_text(document())
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", str(described)),
            *("--url", f"https://127.0.0.1:{kvm1.config.port}", "--tls-verify", "false"),
            *("--header", f"Authorization: Bearer {token}", *cases, "--checks", ",".join(CHECKS)),
            *("--seed", "20261128", "--generation-deterministic"),
            *("--workers", "1", "--request-timeout", "20", "--no-color", "--suppress-health-check", "all"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-2000:]
