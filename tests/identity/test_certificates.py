"""Certificates of hosts and of jobs."""

import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from vmferry.config import Config
from vmferry.core.errors import AccessError
from vmferry.identity import certificates, site


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


def test_a_certificate_of_a_version_that_is_none_cannot_be_read_like_any_other() -> None:
    pem, _ = certificates.create("kvm1")
    der = ssl.PEM_cert_to_DER_cert(pem).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x2f", 1)
    text = ssl.DER_cert_to_PEM_cert(der)
    readers: list[Callable[[str], object]] = [certificates.checked, certificates.validity]
    readers.append(lambda pem: certificates.parsed_all(pem.encode()))
    for read in readers:
        with pytest.raises(ValueError, match="version"):
            read(text)
    with pytest.raises(AccessError, match="damaged"):
        site.check(der, "kvm2")
