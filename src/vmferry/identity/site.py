"""A site's certificate authority, in place of pairing each two hosts: whom this host trusts, and who it says it is.

A host of the site shows a certificate that chains to an authority that both hosts trust, that names it (subject
alternative names, RFC 5280, 4.2.1.6 and RFC 9525), and that says it may be for both ends of TLS (extended key usage,
RFC 5280, 4.2.1.12). The key is the one by which paired hosts know it; the two certificates live side by side.
"""

import hashlib
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import BaseModel, ConfigDict

from vmferry import safefiles
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import AccessError, Code, UsageError
from vmferry.identity import certificates
from vmferry.net.tls import Context
from vmferry.store.peers import Peer, PeerKind

ALPN = "vmferry-site/1"  # said in the ClientHello, so that the host shows the right certificate and asks for one
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?!.{{254}})(\*\.)?{_LABEL}(\.{_LABEL})*")  # RFC 1123, 2.1; RFC 6125, 6.4.3
_USAGES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
# Of OpenSSL's X509_V_ERR (openssl-verification-options(1)); anything else is the issuer's matter.
_VERIFY = {
    9: codes.SITE_NOT_YET_VALID,
    10: codes.SITE_EXPIRED,
    26: codes.SITE_USAGE,
    62: codes.SITE_NAME,
    64: codes.SITE_NAME,
}


class Trust(BaseModel):
    """Whom a host takes for hosts of its site.

    Arguments:
        authorities: PEM, one or more.
        callers: for whom these hosts may move VMs here; ("*",) means anybody whom they let.
        names: patterns, one of which a host's name must match.
        set_at: Unix time.
        set_by: the user who set it.
    """

    model_config = ConfigDict(frozen=True)

    authorities: str
    callers: tuple[str, ...]
    names: tuple[str, ...]
    set_at: float
    set_by: str

    @property
    def digest(self) -> str:
        """What tells one trust from another."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Certificate:
    """A host's certificate of the site.

    Arguments:
        names: those that it has, DNS names in lower case and addresses.
        fingerprint: SHA-256 of its DER form, hex.
    """

    names: tuple[str, ...]
    fingerprint: str
    issuer: str
    not_before: datetime
    not_after: datetime

    @property
    def name(self) -> str:
        """The one name by which every host of the site calls this one: a full DNS name if there is one."""
        dns = [name for name in self.names if not _is_address(name)]
        return next((name for name in dns if "." in name), (dns or self.names)[0])


# --- what is kept ---------------------------------------------------------------------------------------------------


def chain_file(config: Config) -> Path:
    """Name the file of this host's certificate and what leads to its authority."""
    return config.state_folder / "site.pem"


def trust(config: Config) -> Trust | None:
    """Give whom this host trusts; None: nobody but paired hosts."""
    try:
        return Trust.model_validate_json(_trust_file(config).read_bytes())
    except FileNotFoundError:
        return None


def set_trust(config: Config, wanted: Trust | None) -> None:
    """Trust these authorities from now on, or none."""
    if wanted is None:
        _trust_file(config).unlink(missing_ok=True)
    else:
        safefiles.write(_trust_file(config), wanted.model_dump_json())


def _trust_file(config: Config) -> Path:
    return config.state_folder / "trust.json"


def own(config: Config) -> Certificate:
    """Give this host's certificate of the site.

    Raises:
        AccessError: it has none (SITE_MISSING), or it cannot be used now (SITE_EXPIRED, SITE_NOT_YET_VALID).
    """
    found = installed(config)
    if found is None:
        raise AccessError(codes.SITE_MISSING, host=config.name)
    _check_time(found, config.name)
    return found


def installed(config: Config) -> Certificate | None:
    """Give this host's certificate of the site, in its time or not; None where it has none."""
    try:
        return _read(certificates.parsed_all(chain_file(config).read_bytes())[0], config.name)
    except FileNotFoundError:
        return None


def known_as(config: Config, fingerprint: str, peer: Peer) -> tuple[str, str]:
    """Give the name by which a host knows this one, and the fingerprint of the certificate that it is shown.

    Arguments:
        fingerprint: of the certificate that paired hosts are shown.

    Raises:
        AccessError: it is a host of the site, and this one is none now (see `own`).
    """
    if peer.kind is not PeerKind.SITE:
        return config.name, fingerprint
    mine = own(config)
    return mine.name, mine.fingerprint


# --- what is looked at ----------------------------------------------------------------------------------------------


def authorities(pem: str) -> list[x509.Certificate]:
    """Read authorities.

    Raises:
        UsageError: they are none, or their time is over (TRUST_INVALID).
    """
    try:
        found = certificates.parsed_all(pem.encode("ascii"))
        for one in found:
            if not one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                raise ValueError(f"{one.subject.rfc4514_string()} may not certify others")
            if one.not_valid_after_utc <= datetime.now(UTC):
                raise ValueError(f"{one.subject.rfc4514_string()} expired at {one.not_valid_after_utc}")
    except x509.ExtensionNotFound as error:
        raise UsageError(codes.TRUST_INVALID, why="it is not the certificate of an authority") from error
    except ValueError as error:
        raise UsageError(codes.TRUST_INVALID, why=str(error) or "it is no certificate") from error
    return found


def check(shown: bytes, host: str) -> Certificate:
    """See that a certificate, whose chain TLS has verified, is one of a host of the site.

    Arguments:
        shown: DER.
        host: what to call it in errors.

    Raises:
        AccessError: SITE_USAGE, SITE_NAME, SITE_EXPIRED, SITE_NOT_YET_VALID.
    """
    try:
        certificate = certificates.parsed_der(shown)
        found = _read(certificate, host)
        usages = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise AccessError(codes.SITE_ISSUER, host=host, why=f"it is damaged: {error}") from error
    except x509.ExtensionNotFound as error:
        raise AccessError(codes.SITE_USAGE, host=host) from error
    if not usages >= _USAGES:
        raise AccessError(codes.SITE_USAGE, host=host)
    _check_time(found, host)
    return found


def require_name(certificate: Certificate, name: str, host: str) -> None:
    """See that a certificate has a name, spelled out: one for `*.example.org` would be every host at once.

    Raises:
        AccessError: SITE_NAME.
    """
    if name.lower() not in certificate.names:
        raise AccessError(codes.SITE_NAME, host=host, name=name, names=", ".join(certificate.names))


def require_admitted(trusted: Trust, certificate: Certificate) -> None:
    """See that a host's name is one that is let in.

    Raises:
        AccessError: SITE_NOT_ADMITTED.
    """
    if not any(fnmatchcase(certificate.name, pattern.lower()) for pattern in trusted.names):
        raise AccessError(codes.SITE_NOT_ADMITTED, host=certificate.name, names=", ".join(trusted.names))


def refusal(error: ssl.SSLCertVerificationError, host: str) -> AccessError:
    """Say why TLS did not accept the certificate of a host."""
    code: Code = _VERIFY.get(error.verify_code, codes.SITE_ISSUER)
    why = error.verify_message
    return AccessError(code, host=host, why=why, name=host, names="other hosts", when=why)


def _read(certificate: x509.Certificate, host: str) -> Certificate:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise AccessError(codes.SITE_UNNAMED, host=host) from error
    names = [name.lower() for name in san.get_values_for_type(x509.DNSName) if "*" not in name]
    names += [str(address) for address in san.get_values_for_type(x509.IPAddress)]
    if not names:
        raise AccessError(codes.SITE_NAME, host=host, name=host, names="no single host")
    return Certificate(
        names=tuple(names),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        issuer=certificate.issuer.rfc4514_string(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _check_time(certificate: Certificate, host: str) -> None:
    now = datetime.now(UTC)
    if certificate.not_after <= now:
        raise AccessError(codes.SITE_EXPIRED, host=host, when=certificate.not_after.isoformat())
    if certificate.not_before > now:
        raise AccessError(codes.SITE_NOT_YET_VALID, host=host, when=certificate.not_before.isoformat())


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


# --- what is made ---------------------------------------------------------------------------------------------------


def request(key_file: Path, names: Sequence[str]) -> str:
    """Make a request for a certificate of this host's key (PKCS #10, RFC 2986); PEM.

    Arguments:
        key_file: this host's key.
        names: DNS names and addresses that the certificate is to have; the first is its subject.

    Raises:
        UsageError: one of the names is none (BAD_REQUEST).
    """
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    try:
        general: list[x509.GeneralName] = [
            x509.IPAddress(ip_address(name)) if _is_address(name) else x509.DNSName(name) for name in names
        ]
        if not all(_NAME.fullmatch(name) for name in names if not _is_address(name)):
            raise ValueError("neither a host name nor an address")
    except ValueError as error:
        raise UsageError(codes.BAD_REQUEST, detail=f"one of {', '.join(names)} is no host name") from error
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .add_extension(x509.SubjectAlternativeName(general), critical=False)
        .add_extension(x509.ExtendedKeyUsage(sorted(_USAGES, key=lambda usage: usage.dotted_string)), critical=False)
    )
    made = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]  # it is one of our own making
    return made.public_bytes(serialization.Encoding.PEM).decode()


def prepare(made: Context, chain: Path, key_file: Path) -> Context:
    """Let one side of a connection between hosts of the site show its certificate, and return it.

    Arguments:
        made: a context that trusts the site's authorities.
        chain: file of this host's certificate and the intermediate ones.
        key_file: file of its key.

    Raises:
        OSError: a file cannot be read; ssl.SSLError, one of them, where it is not what it should be.
    """
    made.load_cert_chain(chain, key_file)
    made.set_alpn_protocols([ALPN])
    return made
