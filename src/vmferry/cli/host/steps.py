"""What `vmferry host setup` does with each answer: tries it, and carries it out unless it is so already."""

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
from vmferry.core.messages.api import PairedHost, PairTest
from vmferry.core.messages.siteapi import TrustRequest
from vmferry.core.policy.networks import Local, Network, choose
from vmferry.core.policy.settings import Authentication, Difference, SettingsChange, changed, differences

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Steps:
    """The answers' consequences. Each may raise a VmferryError, and then nothing is changed by it.

    Arguments:
        token_file: where to read the pairing token of a host that is not known yet; None: ask for it.
        later: whether changes of the settings are only tried, and wait for `save`.
    """

    def __init__(self, cli: CommandLine, client: Client, token_file: str | None, *, later: bool = False) -> None:
        self._later = self._asking = later
        self._pending: dict[str, Any] = {}
        self._enable = False
        self.saved: list[str] = []  # what was carried out, in words
        self._cli = cli
        self._client = client
        self._token_file = token_file
        self._addresses = client.addresses()
        self._name = client.host().name
        self.tests: list[PairTest] = []

    @property
    def here(self) -> str:
        """The networks that the host is in, in words."""
        return ", ".join(f"{one.subnet} ({one.interface})" for one in self._addresses) or "none"

    @property
    def trusted(self) -> bool:
        """Whether an authority vouches for hosts."""
        return bool(self._client.trust().authorities)

    @property
    def needs_certificate(self) -> bool:
        """Whether hosts of the site would not accept this one yet."""
        return bool(self._client.trust().notes)

    def people(self, role: str) -> Callable[[str], None]:
        """Give what says who has a role; `-` is nobody."""

        def carry_out(said: str) -> None:
            self._change(**{role: [] if said == "-" else _split(said)})

        return carry_out

    def authentication(self, said: str) -> None:
        """Say how moves are authenticated."""
        if said not in list(Authentication):
            raise click.BadParameter(f"{said} is none of {', '.join(Authentication)}")
        self._change(authentication=said)

    @property
    def pending(self) -> list[Difference]:
        """What `save` would change."""
        before = self._client.settings()
        after = changed(before, SettingsChange(**self._pending))
        return differences(before, after.model_copy(update={"migration": before.migration or self._enable}))

    def save(self) -> None:
        """Carry out what was put off."""
        changes, self._later = self.pending, False
        if self._pending:
            self._change(**self._pending)
        if self._enable:
            self.enable("yes")
        self.saved += [one.name for one in changes]

    @property
    def in_domain(self) -> bool:
        """Whether it is the domain that hosts know each other by."""
        chosen = self._pending.get("authentication", self._client.settings().authentication)
        return chosen in (Authentication.KERBEROS, Authentication.CREDSSP)

    def authority(self, file: str) -> None:
        """Trust an authority; `pairing` trusts none."""
        known = {one.fingerprint for one in self._client.trust().authorities}
        if file == "pairing":
            if known:
                self._client.remove_trust()
                self.saved.append("no authority is trusted any more")
            return
        text = read_pem(file)
        if set(_fingerprints(text)) != known or not known:
            self._client.set_trust(TrustRequest(certificates=text))
            self.saved.append("the authority")

    def certificate(self, file: str) -> None:
        """Use a certificate of the authority."""
        text = read_pem(file)
        try:
            installed = self._client.certificate().fingerprint
        except AccessError:
            installed = ""
        if _fingerprints(text)[:1] != [installed]:
            self._client.install_certificate(text)
            self.saved.append("the certificate")

    def networks(self, said: str) -> None:
        """Keep moves to these networks; `any` lets them take any."""
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
        """Give what says how many moves there may be at once."""

        def carry_out(said: str) -> None:
            if not said.isdecimal() or not 1 <= int(said) <= 100:
                raise click.BadParameter(f"{said} is not a whole number from 1 to 100")
            self._change(**{name: int(said)})

        return carry_out

    def enable(self, said: str) -> None:
        """Let VMs come and go; no leaves that as it is."""
        word = said.lower()
        if word not in ("y", "yes", "n", "no"):
            raise click.BadParameter(f"{said} is neither yes nor no")
        if self._later:
            self._enable = word in ("y", "yes")
        elif word in ("y", "yes") and not self._client.settings().migration:
            self._client.enable()

    def hosts(self, said: str) -> None:
        """Come to know hosts, and try each."""
        for place in _split(said):
            self._try(self._acquaint(place))

    @property
    def known(self) -> list[PairedHost]:
        """The hosts that this one knows."""
        return self._client.hosts()

    def try_known(self) -> None:
        """Try every host that is known and was not tried."""
        for host in self._client.hosts():
            if host.name not in [test.host for test in self.tests]:
                self._try(host.name)

    # --- parts ----------------------------------------------------------------------------------------------

    def _acquaint(self, place: str) -> str:
        """Give what a host is called here, paired now if it is neither known nor of the site."""
        known = self._known(place)
        if known is not None:
            return known.name
        if self.trusted:
            return place
        if self._asking and self._token_file is None and self._cli.host is None:
            _look_up(place)
        prompt = f"Token of {place} (`vmferry host pair --invite` makes one there)"
        token = read_secret(prompt, self._token_file, UsageError(codes.TOKEN_NEEDED))
        name = self._client.pair(token, place).name
        self.saved.append(f"the pairing with {name}")
        return name

    def _known(self, place: str) -> PairedHost | None:
        return next((host for host in self._client.hosts() if place in (host.name, host.address)), None)

    def _try(self, name: str) -> None:
        test = self._client.try_host(name)
        if test.host not in [one.host for one in self.tests]:
            self.tests.append(test)

    def _change(self, **values: Any) -> None:
        try:
            change = SettingsChange(**values)
        except ValidationError as error:
            first = error.errors()[0]
            detail = f"{' '.join(str(part) for part in first['loc'])}: {first['msg']}"
            raise UsageError(codes.BAD_REQUEST, detail=detail) from error
        if self._later:
            answer = self._client.try_settings(SettingsChange(**self._pending | values))
            self._pending |= values  # it was not refused
        else:
            answer = self._client.change_settings(change)
        for note in answer.notes:
            self._cli.message(note)


def _look_up(place: str) -> None:
    """See that a host has an address, before anybody is asked for its token."""
    name, port = host_port(place, PORT)
    try:
        socket.getaddrinfo(name, port)
    except OSError as error:
        raise click.BadParameter(f"{name} has no address: {error.strerror}") from error


def _split(said: str) -> list[str]:
    return [word.strip() for word in said.split(",") if word.strip()]


def _fingerprints(pem: str) -> list[str]:
    """Give the SHA-256 of each certificate; none where the text is damaged, which whoever takes it will say."""
    try:
        return [hashlib.sha256(ssl.PEM_cert_to_DER_cert(block)).hexdigest() for block in _BLOCK.findall(pem)]
    except ValueError:
        return []
