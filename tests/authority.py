"""Certificate authorities of the tests: real certificates, right or wrong in one way each."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
DAY = timedelta(days=1)


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


class Authority:
    """A root, or an authority below another.

    Arguments:
        above: who certifies it; None: itself.
        start: of its time, from now.
        end: of its time, from now.
    """

    def __init__(
        self, name: str = "Site CA", above: "Authority | None" = None, start: timedelta = -DAY, end: timedelta = DAY
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.above = above
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name((above or self).subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + start)
            .not_valid_after(now + end)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign((above or self).key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        return pem(self.certificate)

    def issue(
        self,
        public_key: Any,
        names: Sequence[str] = ("localhost",),
        *,
        usages: Sequence[x509.ObjectIdentifier] = BOTH,
        start: timedelta = -DAY,
        end: timedelta = DAY,
    ) -> str:
        """Certify a key; gives the certificate and what leads to the root, but not the root."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a host")]))
            .issuer_name(self.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + start)
            .not_valid_after(now + end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_name(name) for name in names]), critical=False
            )
        chain, authority = pem(builder.sign(self.key, hashes.SHA256())), self
        while authority.above is not None:
            chain += authority.pem
            authority = authority.above
        return chain

    def sign(self, request: str, **changes: Any) -> str:
        """Do as a request for a certificate asks, as an administrator's authority would."""
        asked = x509.load_pem_x509_csr(request.encode())
        assert asked.is_signature_valid
        san = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*san.get_values_for_type(x509.DNSName), *map(str, san.get_values_for_type(x509.IPAddress))]
        usages = list(asked.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        return self.issue(asked.public_key(), **{"names": names, "usages": usages} | changes)


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
