"""The lab's Active Directory domains as values: their names, their users, and what is registered for a host."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmferry.lab import layout

ADMINISTRATORS = "vmferry administrators"
OPERATORS = "vmferry operators"
VIEWERS = "vmferry viewers"
GROUPS = (ADMINISTRATORS, OPERATORS, VIEWERS)

MIGRATION = "Microsoft Virtual System Migration Service"
SERVICES = ("host", "cifs", "HTTP", MIGRATION)


@dataclass(frozen=True, slots=True)
class LabUser:
    """A user of the domain, with a password.

    Arguments:
        groups: groups of the user, in addition to those of all users.
        sensitive: whether the account is marked so that nobody may act for it.
    """

    name: str
    groups: tuple[str, ...]
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class LabDomain:
    """An Active Directory domain.

    Arguments:
        name: its DNS name.
        short: its NetBIOS name.
        controller: name of the lab's machine that is its controller.
    """

    name: str
    short: str
    controller: str
    people: tuple[LabUser, ...]

    @property
    def realm(self) -> str:
        """Its name in Kerberos."""
        return self.name.upper()


HOME = LabDomain(
    "lab.vmferry.test",
    "LAB",
    layout.CONTROLLER,
    (
        LabUser("administrator", (ADMINISTRATORS,)),  # the domain's own, so in Domain Admins already
        LabUser("operator", (OPERATORS,)),
        LabUser("viewer", (VIEWERS,)),
        # These two have the rights of operator; only delegation distinguishes them.
        LabUser("sensitive", (OPERATORS,), sensitive=True),
        LabUser("protected", (OPERATORS, "Protected Users")),
    ),
)
# It has no hosts. It and the domain of the hosts trust each other.
TRUSTED = LabDomain(
    "partner.vmferry.test",
    "PARTNER",
    layout.TRUSTED_CONTROLLER,
    (LabUser("administrator", (ADMINISTRATORS,)), LabUser("partner", (OPERATORS,))),
)
DOMAINS = {one.controller: one for one in (HOME, TRUSTED)}
NAME, REALM = HOME.name, HOME.realm


def full_name(host: str) -> str:
    """Return the full name of a machine in its domain."""
    return f"{host}.{DOMAINS.get(host, HOME).name}"


def service_names(host: str) -> list[str]:
    """Return the service principal names of a host, with its short name and its full name."""
    return [f"{service}/{name}" for service in SERVICES for name in (host, full_name(host))]


def hosts_file(names: Sequence[str], *, with_domain: bool) -> str:
    """Return /etc/hosts of every host. Hosts know each other's names without the controller, as on well-kept hosts."""
    lines = ["127.0.0.1 localhost"]
    for name in names:
        full = f"{full_name(name)} " if with_domain else ""
        lines.append(f"{layout.management(name)} {full}{name}")
    return "\n".join(lines) + "\n"


def resolver(*, with_domain: bool) -> str:
    """Return /etc/resolv.conf: the controller, where clients find the domain's services, or no name server."""
    if not with_domain:
        return "# No name server: the lab's hosts know each other from /etc/hosts.\n"
    return f"search {NAME}\nnameserver {layout.management(HOME.controller)}\noptions timeout:1 attempts:2\n"


def kerberos(home: Path, *, with_domain: bool) -> str:
    """Return a host's krb5.conf.

    Tickets are forwardable, as in the files of Debian and Red Hat. The host's folder has the files of Kerberos:
    tickets, the keytab, and the replay cache, which would otherwise be in the machine's /var/tmp. The domain's DNS
    does not know the controller of the domain that it trusts.
    """
    if not with_domain:
        return "# There is no domain in this lab.\n"
    trusted = {"trusted": TRUSTED.realm, "controller": layout.management(TRUSTED.controller)}
    return _KERBEROS.format(realm=REALM, name=NAME, home=home, **trusted)


_KERBEROS = """\
[libdefaults]
  default_realm = {realm}
  dns_lookup_kdc = true
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  forwardable = true
  udp_preference_limit = 0
  default_keytab_name = FILE:{home}/krb5.keytab
  default_client_keytab_name = FILE:{home}/krb5.keytab
  default_ccache_name = FILE:{home}/tickets/default
  default_rcache_name = file2:{home}/replays
[realms]
  {trusted} = {{
    kdc = {controller}
  }}
[domain_realm]
  .{name} = {realm}
  {name} = {realm}
"""
