"""Find the controllers of a domain in the DNS ([MS-ADTS] 6.3.2.3)."""

from vmferry.core import codes
from vmferry.core.errors import UnreachableError

LIMIT = 5.0  # seconds


def find(domain: str) -> list[str]:
    """Return the full names of a domain's controllers, preferred ones first (RFC 2782).

    Raises:
        UnreachableError: directory-unreachable: the DNS does not answer, or has none.
    """
    import dns.exception
    import dns.resolver

    try:
        found = dns.resolver.resolve(f"_ldap._tcp.dc._msdcs.{domain}", "SRV", lifetime=LIMIT)
    except dns.exception.DNSException as error:
        why = f"the DNS names none ({' '.join(str(error).split())})"
        raise UnreachableError(codes.DIRECTORY_UNREACHABLE, domain=domain, why=why) from error
    rows = sorted(found, key=lambda row: (row.priority, -row.weight, str(row.target)))
    return [str(row.target).rstrip(".").lower() for row in rows]
