"""Certificates of hosts and of jobs."""

import stat
from pathlib import Path

import pytest

from vmferry.config import Config
from vmferry.identity import certificates


def test_identity_is_made_once(tmp_path: Path) -> None:
    config = Config(name="kvm1", state_folder=tmp_path / "state")
    first = certificates.host_identity(config)
    assert certificates.host_identity(config) == first
    assert certificates.fingerprint(first.certificate) == first.fingerprint
    for file in (first.certificate_file, first.key_file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_identity_is_whole_after_an_interruption(tmp_path: Path) -> None:
    config = Config(name="kvm1", state_folder=tmp_path / "state")
    first = certificates.host_identity(config)
    first.certificate_file.unlink()  # as if power went between the two files
    (tmp_path / "state" / "host.pem.part").write_text("-----BEG")
    second = certificates.host_identity(config)
    assert second.fingerprint != first.fingerprint
    import ssl

    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(second.certificate_file, second.key_file)


def test_checked_gives_one_plain_certificate() -> None:
    certificate, key = certificates.create("kvm2 job 0001")
    assert certificates.checked(f"words\n{certificate}") == certificate
    for wrong in ("", "words", key, certificate[:100], "é"):
        with pytest.raises(ValueError):
            certificates.checked(wrong)
