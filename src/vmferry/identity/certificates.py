"""Self-signed certificates: a host is known by the fingerprint of its own, by nothing else."""

import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vmferry import safefiles
from vmferry.config import Config
from vmferry.net import tls

_PROOF = b"vmferry certificate proof\0"  # so that a signature for this serves for nothing else
NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280, 4.1.2.5: no expiry


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """A host, as its peers know it.

    Arguments:
        certificate: PEM.
        fingerprint: SHA-256 of the certificate's DER form, hex.
        certificate_file: where the certificate is.
        key_file: where its private key is (mode 0600).
    """

    name: str
    certificate: str
    fingerprint: str
    certificate_file: Path
    key_file: Path


def create(name: str) -> tuple[str, str]:
    """Make a self-signed certificate on P-256 and its key.

    Returns:
        The certificate and the key, as PEM.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The hosts' clocks need not agree: whether a pairing holds is not a question of time.
        .not_valid_before(datetime.now(UTC) - timedelta(days=365))
        .not_valid_after(NEVER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    )


def fingerprint(pem: str) -> str:
    """Give the SHA-256 of a certificate's DER form, as hex.

    Raises:
        ValueError: that is no PEM.
    """
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def parsed(pem: bytes) -> x509.Certificate:
    """Return the first certificate in a PEM text.

    Raises:
        ValueError: there is none, whatever kept it from being read.
    """
    with _one_error():
        return x509.load_pem_x509_certificate(pem)


def parsed_all(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates in a PEM text; errors as of `parsed`."""
    with _one_error():
        return x509.load_pem_x509_certificates(pem)


def parsed_der(data: bytes) -> x509.Certificate:
    """Return a certificate in DER; errors as of `parsed`."""
    with _one_error():
        return x509.load_der_x509_certificate(data)


@contextmanager
def _one_error() -> Iterator[None]:
    try:
        yield
    except x509.InvalidVersion as error:  # is no ValueError, as every other reason is
        raise ValueError(str(error)) from error


def checked(pem: str) -> str:
    """Give a certificate that came from elsewhere in its plain form: one PEM block, nothing around it.

    Raises:
        ValueError: it is not one certificate that this host's TLS library can use.
    """
    certificate = parsed(pem.encode("ascii"))
    plain = certificate.public_bytes(serialization.Encoding.PEM).decode()
    try:
        tls.client(plain)
    except ssl.SSLError as error:
        raise ValueError(str(error)) from error
    return plain


def validity(pem: str) -> tuple[datetime, datetime]:
    """Give from when and until when a certificate is valid.

    Raises:
        ValueError: that is no certificate.
    """
    certificate = parsed(pem.encode("ascii"))
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def trouble(certificate_file: Path, key_file: Path) -> str | None:
    """Say why a certificate and a key cannot be used together; None: they can."""
    try:
        tls.server().load_cert_chain(certificate_file, key_file)
    except ssl.SSLError as error:
        return f"{certificate_file.name} and {key_file.name} do not belong together ({error.reason or error})"
    except OSError as error:
        return f"{certificate_file.name} or {key_file.name}: {error.strerror or error}"
    return None


def host_identity(config: Config) -> HostIdentity:
    """Give this host's identity, made when it is asked for the first time."""
    certificate_file = config.state_folder / "host.pem"
    key_file = config.state_folder / "host.key"
    if not certificate_file.exists():
        config.state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate, key = create(config.name)
        # The certificate comes last: where it is, the key is whole.
        safefiles.write(key_file, key)
        safefiles.write(certificate_file, certificate)
    certificate = certificate_file.read_text("ascii")
    return HostIdentity(
        name=config.name,
        certificate=certificate,
        fingerprint=fingerprint(certificate),
        certificate_file=certificate_file,
        key_file=key_file,
    )


def prove(key: Path, data: bytes) -> bytes:
    """Sign something with a certificate's key, which shows that one has it.

    Arguments:
        key: the PEM file.

    Raises:
        OSError: it cannot be read.
    """
    found = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(found, ec.EllipticCurvePrivateKey), "the keys that `create` makes are of this kind"
    return found.sign(_PROOF + data, ec.ECDSA(hashes.SHA256()))


def proven(certificate: str, data: bytes, signature: bytes) -> bool:
    """Tell whether something was signed with a certificate's key (see `prove`).

    Raises:
        ValueError: that is no PEM.
    """
    key = parsed(certificate.encode("ascii")).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, _PROOF + data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
