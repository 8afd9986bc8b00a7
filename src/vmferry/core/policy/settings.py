"""The settings of a host before VMs may leave it or move to it; how a change is checked and shown."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from vmferry.core import codes
from vmferry.core.errors import PreflightError, UsageError
from vmferry.core.options import Encryption, Performance
from vmferry.core.policy.admission import MoveLimits
from vmferry.core.policy.networks import Local, Network, Route, choose, ordered, reach, routes
from vmferry.core.policy.restrictions import MOST, Restriction
from vmferry.core.redaction import not_secret


class Authentication(StrEnum):
    """How hosts authenticate the user of a move; `automatic` is kerberos on a host with keys, else certificate."""

    AUTOMATIC = "automatic"
    KERBEROS = "kerberos"
    CREDSSP = "credssp"
    CERTIFICATE = "certificate"


class Protection(StrEnum):
    """Whether every move must be encrypted, or need not be if both hosts say `optional` and the move says `off`."""

    REQUIRED = "required"
    OPTIONAL = "optional"


BUILT = (*Authentication, Performance.TCP)


def _listed(networks: list[Network]) -> list[Network]:
    """Sort networks, so that equal settings are equal."""
    subnets = [network.subnet for network in networks]
    twice = next((subnet for subnet in subnets if subnets.count(subnet) > 1), None)
    if twice is not None:
        raise ValueError(f"the network {twice} is listed twice")
    return ordered(networks)


_Networks = Annotated[list[Network], AfterValidator(_listed)]


def _people(names: list[str]) -> list[str]:
    """Sort users, so that equal settings are equal."""
    for name in names:
        if not name.removeprefix("@") or not name.isprintable() or name != name.strip() or "," in name:
            raise ValueError(f"{name!r} is neither a user nor @ and a group")
        not_secret(name)
    return sorted(set(names))


_People = Annotated[list[str], AfterValidator(_people)]


class HostSettings(BaseModel):
    """One host's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    migration: bool = Field(default=False, description="whether VMs may come and go at all")
    authentication: Authentication = Authentication.AUTOMATIC
    encryption: Protection = Protection.REQUIRED
    performance: Performance = Performance.TCP
    max_migrations: int = Field(default=2, ge=1, le=100, description="moves at once, in and out together")
    max_storage_migrations: int = Field(default=2, ge=1, le=100, description="moves of storage at once")
    any_network: bool = Field(
        default=True, description="false: moves keep to the listed networks; true: these only come first"
    )
    networks: _Networks = Field(default=[], description="in the order in which they are tried")
    administrators: _People = Field(default=[], description="users, and groups as @group, who may change settings too")
    operators: _People = Field(default=[], description="who may move VMs, besides the group of vmferry.toml")
    viewers: _People = Field(default=[], description="who may see what there is")
    principals: dict[str, str] = Field(
        default={}, description="users of this host, and the domain's users (NAME@REALM) as whom they move VMs"
    )
    restrictions: list[Restriction] = Field(default=[], max_length=MOST, description="to what operators are limited")

    def authenticates(self, *, keys: bool) -> Authentication:
        """Return how moves are authenticated.

        Arguments:
            keys: whether this host has keys in a domain.
        """
        if self.authentication is not Authentication.AUTOMATIC:
            return self.authentication
        return Authentication.KERBEROS if keys else Authentication.CERTIFICATE

    @property
    def limits(self) -> MoveLimits:
        """How many moves at once."""
        return MoveLimits(moves=self.max_migrations, storage=self.max_storage_migrations)


class SettingsChange(BaseModel):
    """The changes; null leaves a setting as it is. `networks` replaces the whole list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    authentication: Authentication | None = None
    encryption: Protection | None = None
    performance: Performance | None = None
    max_migrations: int | None = Field(default=None, ge=1, le=100)
    max_storage_migrations: int | None = Field(default=None, ge=1, le=100)
    any_network: bool | None = None
    networks: _Networks | None = None
    administrators: _People | None = None
    operators: _People | None = None
    viewers: _People | None = None
    principals: dict[str, str] | None = None
    restrictions: list[Restriction] | None = Field(default=None, max_length=MOST)


class SettingsFile(SettingsChange):
    """The file that `vmferry host apply` reads: settings that it does not name stay as they are."""

    migration: bool | None = None


class Difference(BaseModel):
    """One setting that a change modifies."""

    model_config = ConfigDict(frozen=True)

    name: str
    before: str
    after: str


def require_built(option: Authentication | Performance) -> None:
    """Refuse, by its name in Hyper-V, what vmferry does not implement yet.

    Raises:
        UsageError: not-built.
    """
    if option not in BUILT:
        kind = type(option)
        instead = next(one for one in kind if one in BUILT)
        raise UsageError(
            codes.NOT_BUILT, option=f"--{kind.__name__.lower()}", value=option.value, instead=instead.value
        )


def changed(settings: HostSettings, change: SettingsChange) -> HostSettings:
    """Return the settings after a change.

    Raises:
        UsageError: not-built.
    """
    for option in (change.authentication, change.performance):
        if option is not None:
            require_built(option)
    return HostSettings.model_validate(settings.model_dump() | change.model_dump(exclude_none=True))


def differences(before: HostSettings, after: HostSettings) -> list[Difference]:
    """Return the differences in words; each added or removed network has a line of its own."""
    found = []
    for name in HostSettings.model_fields:
        if name != "networks" and getattr(before, name) != getattr(after, name):
            found.append(Difference(name=name, before=_word(getattr(before, name)), after=_word(getattr(after, name))))
    was, becomes = ({one.subnet: one.priority for one in side.networks} for side in (before, after))
    for subnet in [*was, *(subnet for subnet in becomes if subnet not in was)]:
        if was.get(subnet) != becomes.get(subnet):
            priorities = [f"priority {side[subnet]}" if subnet in side else "absent" for side in (was, becomes)]
            found.append(Difference(name=f"network {subnet}", before=priorities[0], after=priorities[1]))
    return found


def advice(settings: HostSettings, addresses: Sequence[Local], before: HostSettings | None = None) -> list[str]:
    """Return warnings about a change of a host's settings.

    Arguments:
        addresses: of the host.
        before: the settings before the change; None if all of them are new.
    """
    before = before or HostSettings()
    found = []
    most, storage = settings.max_migrations, settings.max_storage_migrations
    if storage > most and storage != before.max_storage_migrations:
        found.append(
            f"The limit for moves of storage, {storage}, has no effect: at most {most} moves run at once in all."
        )
    if (before.any_network, before.networks) == (settings.any_network, settings.networks):
        return found
    if not settings.networks:
        nowhere = "No network is listed, and only listed ones may be used: no VM can come or go."
        return found if settings.any_network else [*found, nowhere]
    known = [network.subnet for network in before.networks]
    new = [network for network in settings.networks if network.subnet not in known]
    found += [f"This host has no address inside {one.subnet}." for one in new if not choose(addresses, [one])]
    if settings.any_network and not (before.any_network and before.networks):
        found.append(
            "Moves may use other networks too where these do not answer; "
            "`vmferry host set --only-listed-networks` keeps them to the list."
        )
    return found


def require_enabled(settings: HostSettings, host: str) -> None:
    """Require that migration is enabled on a host.

    Raises:
        PreflightError: migration-disabled.
    """
    if not settings.migration:
        raise PreflightError(codes.MIGRATION_DISABLED, host=host)


def require_encryption(settings: HostSettings, wanted: Encryption, host: str) -> None:
    """Require that a move is encrypted if the host requires it.

    Raises:
        PreflightError: encryption-required.
    """
    if wanted is Encryption.OFF and settings.encryption is Protection.REQUIRED:
        raise PreflightError(codes.ENCRYPTION_DIFFERS, host=host)


def require_network(settings: HostSettings, addresses: Sequence[Local], host: str) -> None:
    """Require that a host that uses only its migration networks is in one of them.

    Arguments:
        addresses: of the host.
        host: its name.

    Raises:
        PreflightError: migration-network-missing.
    """
    if not settings.any_network and not choose(addresses, settings.networks):
        raise PreflightError(codes.MIGRATION_NETWORK_MISSING, host=host, networks=subnets(settings))


def listening(settings: HostSettings, addresses: Sequence[Local], wanted: Sequence[str], address: str) -> list[Local]:
    """Return the listen addresses of an incoming move's worker, the best first; none if `require_network` fails.

    These are the addresses in listed networks. If any network may be used: those in the source's networks, and the
    address
    by which other hosts know this one, unless it belongs to another machine, or is a name and there is a better one.
    Only
    listed networks bind the worker to their interfaces.

    Arguments:
        addresses: of this host.
        wanted: the subnets that the source uses; empty if it uses any.
        address: by which paired hosts know this host.
    """
    mine = choose(addresses, settings.networks)
    if not settings.any_network:
        return mine
    theirs = choose(addresses, [Network(subnet=subnet) for subnet in wanted])
    found = [local.address for local in mine + theirs]
    if not found or address in [local.address for local in addresses]:
        found.append(address)
    return [Local(one) for one in dict.fromkeys(found)]


def keeps_to(settings: HostSettings, addresses: Sequence[Local]) -> list[str]:
    """Return the subnets that an outgoing move must use; empty means any.

    Arguments:
        addresses: of this host.
    """
    return [] if settings.any_network else reach(addresses, settings.networks)


def routes_to(
    settings: HostSettings, addresses: Sequence[Local], theirs: Sequence[tuple[str, int]], source: str, host: str
) -> list[Route]:
    """Return the routes from this host to the destination's worker, the best first.

    Arguments:
        addresses: of this host.
        theirs: address and port of each listener of the worker, the best first.
        source: this host's name, for the error.
        host: the destination's.

    Raises:
        PreflightError: migration-network-not-common.
    """
    if settings.any_network:
        return [Route(*one) for one in theirs]
    found = routes(theirs, addresses, settings.networks)
    if not found:
        raise PreflightError(
            codes.MIGRATION_NETWORK_NOT_COMMON,
            source=source,
            networks=subnets(settings),
            host=host,
            addresses=", ".join(one for one, _ in theirs) or "none",
        )
    return found


def subnets(settings: HostSettings) -> str:
    """Return the networks in words, the best first."""
    return ", ".join(network.subnet for network in settings.networks) or "none"


def _word(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nobody"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
