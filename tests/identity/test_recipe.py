"""The openssl commands of docs/settings.md make certificates that hosts accept."""

import re
import shlex
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from vmferry.core import codes
from vmferry.core.errors import AccessError
from vmferry.identity import site

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture
def recipe(tmp_path: Path) -> list[list[str]]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key = ec.generate_private_key(ec.SECP256R1())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (tmp_path / "host.key").write_bytes(pem)
    (tmp_path / "kvm1.csr").write_text(site.request(tmp_path / "host.key", ["kvm1.example.org", "10.20.0.1"]))
    lines = re.findall(r"^    (openssl .*)$", DOCS.read_text(), re.MULTILINE)
    assert len(lines) == 2
    return [shlex.split(line) for line in lines]


def signed(folder: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert((folder / "kvm1.pem").read_text())


def test_certificates_of_the_recipe_are_accepted(recipe: list[list[str]], tmp_path: Path) -> None:
    for command in recipe:
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert len(site.authorities((tmp_path / "kvm-ca.pem").read_text())) == 1
    assert site.check(signed(tmp_path), "kvm1").names == ("kvm1.example.org", "10.20.0.1")


def test_an_authority_that_drops_the_names_is_what_is_found(recipe: list[list[str]], tmp_path: Path) -> None:
    for command in recipe:
        left = [word for word in command if word not in ("-copy_extensions", "copy")]
        subprocess.run(left, cwd=tmp_path, check=True, capture_output=True)
    with pytest.raises(AccessError, match="the authority left out the requested names") as caught:
        site.check(signed(tmp_path), "kvm1")
    assert caught.value.code is codes.SITE_UNNAMED
    assert "-copy_extensions copy" in caught.value.remedy
