"""Carry out the answers of `vmferry host setup`: each is tried, and applied if it changes something."""

import hashlib
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any

import click
from pydantic import ValidationError

from vmferry.cli.terminal.context import PORT, CommandLine
from vmferry.cli.terminal.pem import read_pem
from vmferry.cli.terminal.secret import read_secret
from vmferry.client import Client
from vmferry.core import codes
from vmferry.core.errors import AccessError, PreflightError, UsageError
from vmferry.core.hostport import host_port
from vmferry.core.message import fault
from vmferry.core.messages.api import PairedHost, PairTest
from vmferry.core.messages.siteapi import TrustRequest
from vmferry.core.policy.networks import Local, Network, choose
from vmferry.core.policy.settings import Authentication, Difference, SettingsChange, changed, differences

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Steps:
    """Carries out answers. Each method may raise a VmferryError, and has then changed nothing.

    Arguments:
        token_file: file with the pairing token of a new host; None to ask for it.
        later: whether changes of settings are only tried, and applied by `save`.
    """

    def __init__(self, cli: CommandLine, client: Client, token_file: str | None, *, later: bool = False) -> None:
        self._later = self._asking = later
        self._pending: dict[str, Any] = {}
        self._enable = False
        self.saved: list[str] = []  # the changes so far, in words
        self._cli = cli
        self._client = client
        self._token_file = token_file
        self._addresses = client.addresses()
        self._name = client.host().name
        self.tests: list[PairTest] = []

    @property
    def local_networks(self) -> str:
        """The networks of this host, in words."""
        return ", ".join(f"{one.subnet} ({one.interface})" for one in self._addresses) or "none"

    @property
    def trusted(self) -> bool:
        """Whether this host trusts an authority."""
        return bool(self._client.trust().authorities)

    @property
    def needs_certificate(self) -> bool:
        """Whether this host lacks a certificate that hosts of the site accept."""
        return bool(self._client.trust().notes)

    def people(self, role: str) -> Callable[[str], None]:
        """Return the function that sets who has a role; the answer `-` is nobody."""

        def carry_out(said: str) -> None:
            self._change(**{role: [] if said == "-" else _split(said)})

        return carry_out

    def authentication(self, said: str) -> None:
        """Set how users of moves are authenticated."""
        if said not in list(Authentication):
            raise click.BadParameter(f"{said} is not one of {', '.join(Authentication)}")
        self._change(authentication=said)

    @property
    def pending(self) -> list[Difference]:
        """The changes that `save` would make."""
        before = self._client.settings()
        after = changed(before, SettingsChange(**self._pending))
        return differences(before, after.model_copy(update={"migration": before.migration or self._enable}))

    def save(self) -> None:
        """Apply the changes that were only tried so far."""
        changes, self._later = self.pending, False
        if self._pending:
            self._change(**self._pending)
        if self._enable:
            self.enable("yes")
        self.saved += [one.name for one in changes]

    @property
    def in_domain(self) -> bool:
        """Whether hosts verify each other through a domain."""
        chosen = self._pending.get("authentication", self._client.settings().authentication)
        return chosen in (Authentication.KERBEROS, Authentication.CREDSSP)

    def authority(self, file: str) -> None:
        """Trust the authority in a file; `pairing` trusts none."""
        known = {one.fingerprint for one in self._client.trust().authorities}
        if file == "pairing":
            if known:
                self._client.remove_trust()
                self.saved.append("removal of the authority")
            return
        text = read_pem(file)
        if set(_fingerprints(text)) != known or not known:
            self._client.set_trust(TrustRequest(certificates=text))
            self.saved.append("the authority")

    def certificate(self, file: str) -> None:
        """Install the certificate in a file."""
        text = read_pem(file)
        try:
            installed = self._client.certificate().fingerprint
        except AccessError:
            installed = ""
        if _fingerprints(text)[:1] != [installed]:
            self._client.install_certificate(text)
            self.saved.append("the certificate")

    def networks(self, said: str) -> None:
        """Set the networks that moves may use; `any` allows all."""
        if said == "any":
            self._change(any_network=True)
            return
        wanted = []
        for number, text in enumerate(_split(said), start=1):
            try:
                wanted.append(Network(subnet=text, priority=10 * number))
            except ValidationError as error:
                raise UsageError(codes.NETWORK_INVALID, why=str(error.errors()[0]["msg"])) from error
        for network in wanted:
            if not choose([Local(one.address) for one in self._addresses], [network]):
                subnets = ", ".join(one.subnet for one in self._addresses) or "none"
                raise PreflightError(codes.NETWORK_ABSENT, host=self._name, subnet=network.subnet, subnets=subnets)
        now = changed(self._client.settings(), SettingsChange(**self._pending))
        if now.any_network or [one.subnet for one in now.networks] != [one.subnet for one in wanted]:
            self._change(any_network=False, networks=wanted)

    def limit(self, name: str) -> Callable[[str], None]:
        """Return the function that sets a limit of simultaneous moves."""

        def carry_out(said: str) -> None:
            if not said.isdecimal() or not 1 <= int(said) <= 100:
                raise click.BadParameter(f"{said} is not a whole number from 1 to 100")
            self._change(**{name: int(said)})

        return carry_out

    def enable(self, said: str) -> None:
        """Enable migration; the answer `no` changes nothing."""
        word = said.lower()
        if word not in ("y", "yes", "n", "no"):
            raise click.BadParameter(f"{said} is neither yes nor no")
        if self._later:
            self._enable = word in ("y", "yes")
        elif word in ("y", "yes") and not self._client.settings().migration:
            self._client.enable()

    def hosts(self, said: str) -> None:
        """Pair with new hosts, and test the connection to each host."""
        for address in _split(said):
            self._test(self._pair_if_new(address))

    @property
    def known(self) -> list[PairedHost]:
        """The hosts that this host knows."""
        return self._client.hosts()

    def try_known(self) -> None:
        """Test the connection to every known host that was not tested yet."""
        for host in self._client.hosts():
            if host.name not in [test.host for test in self.tests]:
                self._test(host.name)

    # --- parts ----------------------------------------------------------------------------------------------

    def _pair_if_new(self, address: str) -> str:
        """Return the name of a host. Pair with it if it is neither known nor of the site."""
        known = self._known(address)
        if known is not None:
            return known.name
        if self.trusted:
            return address
        if self._asking and self._token_file is None and self._cli.host is None:
            _require_address(address)
        prompt = f"Token of {address} (`vmferry host pair --invite` on that host creates one)"
        token = read_secret(prompt, self._token_file, UsageError(codes.TOKEN_NEEDED))
        name = self._client.pair(token, address).name
        self.saved.append(f"the pairing with {name}")
        return name

    def _known(self, address: str) -> PairedHost | None:
        return next((host for host in self._client.hosts() if address in (host.name, host.address)), None)

    def _test(self, name: str) -> None:
        test = self._client.try_host(name)
        if test.host not in [one.host for one in self.tests]:
            self.tests.append(test)

    def _change(self, **values: Any) -> None:
        try:
            change = SettingsChange(**values)
        except ValidationError as error:
            raise UsageError(codes.BAD_REQUEST, detail=fault(error)) from error
        if self._later:
            answer = self._client.try_settings(SettingsChange(**self._pending | values))
            self._pending |= values  # it was not refused
        else:
            answer = self._client.change_settings(change)
        for note in answer.notes:
            self._cli.message(note)


def _require_address(host: str) -> None:
    """Check that a host's name has an address, before the user is asked for a token.

    Raises:
        click.BadParameter: it has none.
    """
    name, port = host_port(host, PORT)
    try:
        socket.getaddrinfo(name, port)
    except OSError as error:
        raise click.BadParameter(f"{name} has no address: {error.strerror}") from error


def _split(said: str) -> list[str]:
    return [word.strip() for word in said.split(",") if word.strip()]


def _fingerprints(pem: str) -> list[str]:
    """Return the SHA-256 of each certificate; none if the text is damaged, which the daemon then reports."""
    try:
        return [hashlib.sha256(ssl.PEM_cert_to_DER_cert(block)).hexdigest() for block in _BLOCK.findall(pem)]
    except ValueError:
        return []
