"""A domain controller of the lab: Samba on a machine of its own, `dc`. lab/provision.py fills its database."""

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vmferry import safefiles
from vmferry.core import codes
from vmferry.core.errors import InternalError, PreflightError, UnreachableError, UsageError
from vmferry.lab import domain, layout, network, root
from vmferry.lab.domain import LabDomain
from vmferry.lab.init import MachinePlan
from vmferry.lab.layout import Layout
from vmferry.lab.machine import Machine
from vmferry.lab.shell import failed, run

READY_LIMIT = 180.0  # seconds; creating a template takes 15 s of CPU time, which other programs may also need
TICKET_LIMIT = 30.0
_PORTS = {53, 88, 389, 464}  # DNS, Kerberos, LDAP, passwords
_PROGRAMS = {"samba": "samba-tool", "krb5-user": "kinit"}
_OLD = "bookworm"  # its Samba knows no functional level above 2008 R2


@dataclass(frozen=True, slots=True)
class Controller(Machine):
    """A domain controller of a lab, whether it exists or not."""

    @classmethod
    def of(cls, lab: Layout, domain: LabDomain = domain.HOME) -> "Controller":
        """Return the controller of a lab's domain."""
        return cls(lab, domain.controller)

    @property
    def domain(self) -> LabDomain:
        """Its domain."""
        return domain.DOMAINS[self.name]

    @property
    def samba(self) -> str:
        """The version of its Samba, as Samba numbers it."""
        return self._package().partition("+")[0].rpartition(":")[2]

    @property
    def passwords(self) -> Path:
        """The folder with a file for the password of each user."""
        return self.home / "passwords"

    def start(self, names: Sequence[str], say: Callable[[str], None] = lambda _: None) -> None:
        """Start it, or add what is missing. It may still be starting when this returns (see `wait_ready`).

        Arguments:
            names: names of the lab's hosts, whose folders must exist.
            say: called with a message about what takes long.

        Raises:
            PreflightError: lab-domain-missing.
            InternalError: lab-command-failed, lab-timeout.
        """
        if self.pid is not None:
            self._add(names)
            return
        missing = [name for name, program in _PROGRAMS.items() if not shutil.which(program)]
        if missing and self.tree is None:
            raise PreflightError(codes.LAB_DOMAIN_MISSING, packages=" and ".join(missing))
        self.stop()
        self._furnish(names)
        if not self._template.exists():
            say(f"Making the domain in {self._template}, once: it takes half a minute.")
        network.connect_controller(self.lab, self.name)
        samba = ["samba", "--foreground", "--no-process-group", "--model=single", "--debug-stdout"]
        self.launch(MachinePlan(_FOLDERS, {"samba": samba}, first=self._provision()))

    def _add(self, names: Sequence[str]) -> None:
        """Add hosts, or the trust, while it runs."""
        wanted = self._wanted(names)
        self.write_names([*names, self.name], with_domain=True)
        if self._file.exists() and self._file.read_text() == wanted:
            return
        self.wait_ready()  # it may still be creating the domain
        self._file.write_text(wanted)
        done = self.run(*self._provision(), check=False)
        if done.returncode:
            self._file.unlink()
            raise failed(["provision.py"], done.stderr)

    def wait_ready(self) -> None:
        """Wait until all its services answer.

        Raises:
            InternalError: lab-command-failed, lab-timeout.
        """
        limit = time.monotonic() + READY_LIMIT
        while not (self._listening() and self._answers()):
            if self.pid is None:
                log = self.home / "init.log"
                raise failed(["provision.py"], f"{log.read_text().splitlines()[-1]}; see {log}")
            if time.monotonic() > limit:
                what = "The start of Samba on dc"
                raise InternalError(codes.LAB_TIMEOUT, what=what, seconds=READY_LIMIT, place=self.home / "log")
            time.sleep(0.05)  # a starting program sends no event

    @contextmanager
    def ticket(self, person: str, host: Machine) -> Iterator[dict[str, str]]:
        """Get a user a Kerberos ticket on a host, in a cache that is removed when the context ends.

        Yields:
            The environment variables that name the cache.

        Raises:
            UsageError: lab-no-domain.
            UnreachableError: lab-no-ticket.
        """
        if not self.made:
            raise UsageError(codes.LAB_NO_DOMAIN, name=self.lab.name)
        with TemporaryDirectory(prefix=f"{person}-", dir=host.home / "tickets") as folder:
            cache = f"FILE:{folder}/cache"
            text = (self.passwords / person).read_text()
            kinit = ["kinit", "-f", "-c", cache, f"{person}@{self.domain.realm}"]
            done = host.run(*kinit, check=False, text=text, timeout=TICKET_LIMIT)
            if done.returncode:
                why = done.stderr.strip()
                raise UnreachableError(codes.LAB_NO_TICKET, person=person, host=host.name, why=why, name=self.lab.name)
            yield {"KRB5CCNAME": cache}

    @property
    def _file(self) -> Path:
        return self.home / "wanted.json"

    @property
    def _identifier(self) -> Path:
        """The file to which provision.py writes the SID of the domain."""
        return self.home / "identifier"

    @property
    def _template(self) -> Path:
        own = self.domain
        content = [self._package(), own.realm, own.short, self.name, layout.management(self.name), self._level]
        return self.lab.cache / f"domain-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]}"

    @property
    def _level(self) -> str:
        return "2008_R2" if self.release == _OLD else "2016"

    def _package(self) -> str:
        packages = (self.tree or Path("/")) / "var/lib/dpkg"
        return run("dpkg-query", f"--admindir={packages}", "--show", "--showformat=${Version}", "samba")

    def _provision(self) -> list[str]:
        return ["/usr/bin/python3", "-P", str(root.source(self.tree) / "lab/provision.py"), str(self._file)]

    def _listening(self) -> bool:
        """Return whether it listens at all its ports, from the kernel's table (proc(5))."""
        try:
            rows = [line.split() for line in Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]]
        except OSError:  # it has ended
            return False
        return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"} >= _PORTS

    def _answers(self) -> bool:
        """Return whether a user gets a ticket from its DNS and its KDC. It listens before it answers."""
        password = (self.passwords / "administrator").read_text()
        kinit = ["kinit", "-c", "MEMORY:", f"administrator@{self.domain.realm}"]
        return not self.run(*kinit, check=False, text=password, timeout=TICKET_LIMIT).returncode

    def _furnish(self, names: Sequence[str]) -> None:
        for folder in (*_FOLDERS, "log"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        self.passwords.mkdir(mode=0o700, exist_ok=True)
        for file in (*(self.passwords / person.name for person in self.domain.people), self._trust):
            if not file.exists():
                # An upper-case letter, a lower-case letter, a digit and a mark, which the domain requires.
                safefiles.write(file, f"Aa1-{secrets.token_urlsafe(24)}\n")
        level = f"ad dc functional level = {self._level}\n" if self.release != _OLD else ""
        (self.home / "samba-etc" / "smb.conf").write_text(
            _SAMBA.format(host=self.name.upper(), domain=self.domain, level=level)
        )
        self._file.write_text(self._wanted(names))
        self.write_names([*names, self.name], with_domain=True)

    @property
    def _trust(self) -> Path:
        """The password of the trust between the lab's domains."""
        return self.lab.state / "trust"

    def _wanted(self, names: Sequence[str]) -> str:
        """Return what lab/provision.py must create, as JSON."""
        others = [Controller(self.lab, name) for name in domain.DOMAINS if name != self.name]
        wanted: dict[str, Any] = {
            "realm": self.domain.realm,
            "short": self.domain.short,
            "level": self._level,
            "template": str(self._template),
            "draft": f"{self._template}.{self.lab.name}",
            "controller": {"name": self.name, "address": layout.management(self.name)},
            "groups": domain.GROUPS,
            "people": [
                {
                    "name": person.name,
                    "groups": person.groups,
                    "sensitive": person.sensitive,
                    "password": str(self.passwords / person.name),
                }
                for person in self.domain.people
            ],
            "hosts": [
                {
                    "name": name,
                    "address": layout.management(name),
                    "services": domain.service_names(name),
                    "keytab": str(self.lab.home(name) / "krb5.keytab"),
                }
                for name in (names if self.domain is domain.HOME else [])
            ],
            "identifier": str(self._identifier),
            "trusts": [
                {
                    "name": other.domain.name,
                    "short": other.domain.short,
                    "identifier": other._identifier.read_text(),
                    "password": str(self._trust),
                }
                for other in others
                if other._identifier.exists()
            ],
        }
        return json.dumps(wanted, indent=2)


_FOLDERS = {
    "samba-etc": "/etc/samba",
    "samba-lib": "/var/lib/samba",
    "samba-log": "/var/log/samba",
    "samba-cache": "/var/cache/samba",
}

_SAMBA = """\
[global]
	netbios name = {host}
	realm = {domain.realm}
	workgroup = {domain.short}
	server role = active directory domain controller
	server services = ldap, cldap, kdc, dns
	{level}
[sysvol]
	path = /var/lib/samba/sysvol
	read only = no
[netlogon]
	path = /var/lib/samba/sysvol/{domain.name}/scripts
	read only = no
"""
