"""Our own secrets where they do not belong."""

import io
import logging
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from vmferry.core import redaction
from vmferry.core.messages.api import MoveRequest, PairRequest, TokenRequest
from vmferry.core.policy.restrictions import Restriction
from vmferry.core.policy.settings import SettingsChange
from vmferry.core.redaction import Formatter, is_secret, redacted, redacted_path, token_identifier
from vmferry.identity.pairing import Token

SECRET = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF"
API_TOKEN = f"vmft1-0a1b2c3d-{SECRET}"
PAIRING_TOKEN = Token.new("10.0.0.1", 6601, "ab" * 32).encode()


@pytest.mark.parametrize("token", [API_TOKEN, PAIRING_TOKEN], ids=["API", "pairing"])
def test_secrets_are_found_wherever_they_stand(token: str) -> None:
    everywhere = "".join(f"%{byte:02X}" for byte in token.encode())
    for text in (token, f"/hosts/{token}/test", f'{{"name":"{token}"}}', f"Bearer {token}, {token}", token[:-20]):
        assert is_secret(text)
        assert token[20:30] not in redacted(text)
    for path in (everywhere, quote(everywhere), f"/hosts/{everywhere}", f"/x/{token}"):
        assert is_secret(path)
        assert token[20:30] not in redacted_path(path)


def test_what_is_no_secret_stays() -> None:
    for text in ("web01", "/api/v1/vms/a%20b/move", "vmferry-web01", "vmft1-0a1b2c3d", "%zz", "token ci"):
        assert redacted(text) == redacted_path(text) == text
        assert not is_secret(text)


def test_a_whole_token_names_itself() -> None:
    assert token_identifier(f" {API_TOKEN}\n") == "0a1b2c3d"
    for word in ("0a1b2c3d", "ci", PAIRING_TOKEN):
        assert token_identifier(word) == word


@pytest.mark.parametrize("token", [API_TOKEN, PAIRING_TOKEN], ids=["API", "pairing"])
def test_a_secret_is_no_name(token: str) -> None:
    for made in (
        lambda: SettingsChange(operators=[token]),
        lambda: SettingsChange(viewers=[f"@{token}"]),
        lambda: Restriction(who=token),
        lambda: MoveRequest(destination=token),
        lambda: MoveRequest(destination="kvm2", storage_path=f"/{token}"),
        lambda: PairRequest(token=PAIRING_TOKEN, address=token),
        lambda: TokenRequest(role="viewer", expires_in=3600, name=token[:60]),
    ):
        with pytest.raises(ValidationError) as refused:
            made()
        assert token[20:30] not in refused.value.errors()[0]["msg"]


def test_logs_have_no_secret_and_no_line_of_another_s_making() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter(logging.Formatter("%(levelname)s %(message)s")))
    made = logging.Logger("test")
    made.addHandler(handler)
    made.info("%s asks for %s", "kvm1\nERROR all is lost\x1b[2J", API_TOKEN)
    try:
        raise ValueError(PAIRING_TOKEN)
    except ValueError:
        made.exception("it failed")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "INFO kvm1?ERROR all is lost?[2J asks for vmft1-0a1b2c3d-..."
    assert lines[1:3] == ["ERROR it failed", "Traceback (most recent call last):"]
    assert SECRET not in stream.getvalue()
    assert PAIRING_TOKEN[10:30] not in stream.getvalue()


def test_every_handler_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = logging.NullHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    redaction.install()
    assert isinstance(handler.formatter, Formatter)
