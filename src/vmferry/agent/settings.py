"""The host's settings as vmferryd changes them: checked, stored, logged with who did it, and effective at once."""

import logging
from collections.abc import Callable, Sequence

from vmferry.agent.services import OutgoingMovesService, Stores
from vmferry.core import codes
from vmferry.core.errors import UsageError, VmferryError
from vmferry.core.messages.api import (
    DisableRequest,
    LocalAddress,
    MigrationNetwork,
    NetworkChange,
    NetworkRequest,
    SettingsAnswer,
)
from vmferry.core.messages.offer import Caller
from vmferry.core.policy import networks, restrictions
from vmferry.core.policy.networks import Listing, Local, Network
from vmferry.core.policy.restrictions import Restriction
from vmferry.core.policy.settings import HostSettings, SettingsChange, advice, changed, differences
from vmferry.identity.access import require_people
from vmferry.net import interfaces
from vmferry.store.jobs import JobRow

_Change = Callable[[HostSettings], tuple[HostSettings, list[str]]]  # gives the settings after it, and notes

log = logging.getLogger("vmferry.agent")


class HostControl:
    """Changes one host's settings. Every method blocks and may raise a VmferryError.

    Arguments:
        host: its name.
        outgoing: cancels moves.
        changed: is told that a setting has.
        addresses: gives those of the host.
        group_sid: gives the SID of a group of the domain, @NAME@REALM.
    """

    def __init__(
        self,
        host: str,
        stores: Stores,
        outgoing: OutgoingMovesService,
        changed: Callable[[], None] = lambda: None,
        addresses: Callable[[], Sequence[Local]] = interfaces.addresses,
        *,
        group_sid: Callable[[str], str],
    ) -> None:
        self._host = host
        self._stores = stores
        self._outgoing = outgoing
        self._changed = changed
        self._addresses = addresses
        self._group_sid = group_sid

    def change(self, change: SettingsChange, caller: Caller) -> SettingsAnswer:
        """Change what is named."""
        sids = self._known(_people(change))
        return self._remember(sids, self._apply(lambda settings: (changed(settings, change), []), caller))

    def attempt(self, change: SettingsChange) -> SettingsAnswer:
        """Return what a change would come to, and change nothing."""
        self._known(_people(change))
        before = self._stores.settings.host()
        after = changed(before, change)
        return SettingsAnswer(settings=after, changed=after != before, notes=advice(after, self._addresses(), before))

    def restrict(self, made: Restriction, caller: Caller) -> SettingsAnswer:
        """Limit somebody, besides what they are limited to already."""
        sids = self._known([made.who])
        return self._remember(sids, self._relimit(lambda listed: restrictions.add(listed, made), caller))

    def unrestrict(self, who: str, caller: Caller) -> SettingsAnswer:
        """Take all limits of somebody away; they may be gone already."""
        return self._relimit(lambda listed: restrictions.remove(listed, who), caller)

    def addresses(self) -> list[LocalAddress]:
        """List the addresses on which moves can travel."""
        found = [(local, networks.subnet_of(local)) for local in self._addresses()]
        return [
            LocalAddress(address=local.address, subnet=subnet, interface=local.interface)
            for local, subnet in found
            if subnet is not None
        ]

    def networks(self) -> list[MigrationNetwork]:
        """List the networks, in the order in which they are tried."""
        addresses = self._addresses()
        return [
            MigrationNetwork(
                subnet=network.subnet,
                priority=network.priority,
                addresses=[local.address for local in networks.choose(addresses, [network])],
            )
            for network in self._stores.settings.host().networks
        ]

    def add_network(self, request: NetworkRequest, caller: Caller) -> SettingsAnswer:
        """List a network."""
        return self._relist(lambda listed: networks.add(listed, request.subnet, request.priority), caller)

    def set_network(self, subnet: str, change: NetworkChange, caller: Caller) -> SettingsAnswer:
        """Give a listed network another subnet or priority."""
        return self._relist(lambda listed: networks.replace(listed, subnet, change.subnet, change.priority), caller)

    def remove_network(self, subnet: str, caller: Caller) -> SettingsAnswer:
        """Take a network off the list."""
        return self._relist(lambda listed: networks.remove(listed, subnet), caller)

    def enable(self, caller: Caller) -> SettingsAnswer:
        """Let VMs come and go."""
        return self._apply(lambda settings: (settings.model_copy(update={"migration": True}), []), caller)

    def disable(self, request: DisableRequest, caller: Caller) -> SettingsAnswer:
        """Let no more VMs come and go; those on their way go on, or are asked to turn back.

        Raises:
            UsageError: moves-in-progress, and nothing was said about them.
        """
        moving: Sequence[JobRow] = []

        def off(settings: HostSettings) -> tuple[HostSettings, list[str]]:
            nonlocal moving
            moving = self._stores.jobs.active()
            if moving and request.moves is None:
                raise UsageError(
                    codes.MOVES_IN_PROGRESS, host=self._host, jobs=", ".join(f"{row.id}: {row.vm}" for row in moving)
                )
            return settings.model_copy(update={"migration": False}), []

        answer = self._apply(off, caller)
        notes = [note for row in moving for note in self._cancel(row, caller)] if request.moves == "cancel" else []
        return answer.model_copy(update={"jobs": [row.id for row in moving], "notes": answer.notes + notes})

    # --- parts --------------------------------------------------------------------------------------------------

    def _known(self, people: list[str]) -> dict[str, str]:
        """See that users and groups exist; gives the SIDs of groups of the domain, which tickets tell by these alone.

        Raises:
            UsageError: person-unknown, group-unknown, domain-other.
            VmferryError: the domain cannot be asked.
        """
        require_people(people, self._host)
        return {one: f"@{self._group_sid(one)}" for one in people if one.startswith("@") and "@" in one[1:]}

    def _remember(self, sids: dict[str, str], answer: SettingsAnswer) -> SettingsAnswer:
        """Keep the SIDs of groups that the settings name now."""
        known = self._stores.settings.sids() | sids
        self._stores.settings.know_sids({one: known[one] for one in _people(answer.settings) if one in known})
        return answer

    def _relist(self, change: Callable[[list[Network]], Listing], caller: Caller) -> SettingsAnswer:
        def relisted(settings: HostSettings) -> tuple[HostSettings, list[str]]:
            made = change(settings.networks)
            return settings.model_copy(update={"networks": made.networks}), made.notes

        return self._apply(relisted, caller)

    def _relimit(self, change: Callable[[list[Restriction]], list[Restriction]], caller: Caller) -> SettingsAnswer:
        def relimited(settings: HostSettings) -> tuple[HostSettings, list[str]]:
            return settings.model_copy(update={"restrictions": change(settings.restrictions)}), []

        return self._apply(relimited, caller)

    def _apply(self, change: _Change, caller: Caller) -> SettingsAnswer:
        with self._stores.settings.held() as before:
            after, notes = change(before)
            if after != before:
                self._stores.settings.save(after)
        if after != before:
            self._changed()
        for one in differences(before, after):
            log.info("%s set %s from %s to %s", caller.name, one.name, one.before, one.after)
        about = advice(after, self._addresses(), before) if after != before else []
        return SettingsAnswer(settings=after, changed=after != before, notes=notes + about)

    def _cancel(self, row: JobRow, caller: Caller) -> list[str]:
        try:
            self._outgoing.cancel(row.id, caller)
        except VmferryError as error:
            return [f"{error.reason} {error.remedy}"]
        return []


def _people(said: SettingsChange | HostSettings) -> list[str]:
    """Give all users and groups that are named."""
    roles = [*(said.administrators or []), *(said.operators or []), *(said.viewers or [])]
    return roles + [one.who for one in said.restrictions or []]
