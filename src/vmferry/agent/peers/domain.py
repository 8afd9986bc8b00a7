"""What this host asks of its domain's directory with its own account: it only reads, as any account may."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vmferry.core import codes
from vmferry.core.ad.delegation import SERVICES
from vmferry.core.errors import UsageError, VmferryError
from vmferry.directory import accounts, connection, explain
from vmferry.directory.connection import Directory
from vmferry.identity.kerberos import HostKeys

_UNEXPLAINED = (codes.DELEGATION_REFUSED, codes.SERVICE_UNKNOWN)

log = logging.getLogger("vmferry.agent")


@dataclass(frozen=True, slots=True)
class Domain:
    """The domain that a host is in. Every method blocks.

    Arguments:
        host: this host's name.
    """

    host: str
    keys: HostKeys

    def explain(self, error: VmferryError, destination: str, user: str, *, with_ticket: bool) -> VmferryError:
        """Find why a KDC refuses, whose words are the same for every reason.

        Arguments:
            error: what it refused.
            destination: as the ticket was asked for.
            user: for whom, NAME@REALM.
            with_ticket: they came with a ticket of their own.

        Returns:
            The reason; the error itself where the directory does not tell, or cannot be asked.
        """
        service = next((one for one in SERVICES if SERVICES[one] == error.fields.get("service")), None)
        if error.code not in _UNEXPLAINED or service is None:
            return error
        try:
            with self._directory() as found:
                why = explain.explain(found, self.host, destination, user, service, with_ticket=with_ticket)
        except VmferryError as away:
            log.warning("the directory does not explain a refusal: %s", away)
            return error
        return why or error

    def sid(self, group: str) -> str:
        """Give the SID of a group of the domain.

        Arguments:
            group: NAME@REALM, with a leading @.

        Raises:
            UsageError: group-unknown, domain-other.
            VmferryError: the host has no keys, or the directory does not answer.
        """
        name, _, realm = group.removeprefix("@").rpartition("@")
        with self._directory() as found:
            if realm.lower() != found.domain.lower():
                raise UsageError(codes.DOMAIN_OTHER, group=group, host=self.host, domain=found.domain)
            return accounts.group_sid(found, name)

    @contextmanager
    def _directory(self) -> Iterator[Directory]:
        with connection.connect(cache=self.keys.tickets()) as found:
            yield found
