"""A connection to a domain controller's LDAP: encrypted by Kerberos on port 389, or by TLS on port 636.

The user is that of the ticket cache; no keytab is used. Only `Directory.samba` distinguishes Samba from Windows
(RFC 3045, vendorName).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from vmferry.core import codes
from vmferry.core.ad import descriptor
from vmferry.core.ad.delegation import ACTING, NAMES, Change
from vmferry.core.ad.descriptor import Descriptor
from vmferry.core.errors import AccessError, Code, InternalError, UnreachableError, VmferryError
from vmferry.directory import controllers
from vmferry.identity import kerberos

ADMINISTRATOR = "administrator"  # the user that remedies name in `kinit`
CONNECT_LIMIT, ANSWER_LIMIT = 5, 30  # seconds
_WEAKEST = 56  # bits of the encryption; less is no encryption
_INSUFFICIENT = 50  # result code insufficientAccessRights (RFC 4511, appendix A)
Entry = dict[str, list[bytes]]


class Directory:
    """The directory of a domain, at one of its controllers. Names of attributes are in lower case.

    Arguments:
        controller: full name of the controller.
        user: NAME@REALM of the user of the connection.
        base: distinguished name of the domain.
        domain: DNS name of the domain.
        samba: whether the controller runs Samba.
    """

    def __init__(self, connection: Any, controller: str, user: str) -> None:
        self._connection = connection
        self.controller = controller
        self.user = user
        root = self._root()
        self.base = root["defaultnamingcontext"][0].decode()
        self.domain = ".".join(part.partition("=")[2] for part in self.base.split(",")).lower()
        self.samba = "samba" in b"".join(root.get("vendorname", [])).decode("utf-8", "replace").lower()

    def search(self, pattern: str, attributes: Sequence[str], **values: str) -> list[tuple[str, Entry]]:
        """Return the entries that match a filter.

        Arguments:
            pattern: a filter (RFC 4515) with `str.format` fields for `values`, which are escaped.

        Returns:
            Distinguished name and attributes of each entry.

        Raises:
            UnreachableError: directory-unreachable.
            InternalError: directory-unreadable.
        """
        from ldap import SCOPE_SUBTREE, LDAPError
        from ldap.filter import escape_filter_chars

        text = pattern.format(**{name: escape_filter_chars(value) for name, value in values.items()})
        try:
            with _reached(self.domain):
                found = self._connection.search_s(self.base, SCOPE_SUBTREE, text, list(attributes))
        except LDAPError as error:
            raise InternalError(codes.DIRECTORY_UNREADABLE, controller=self.controller, why=_words(error)) from error
        return [(dn, _folded(entry)) for dn, entry in found if dn]  # referrals have no name

    def modify(self, change: Change, source: str, destination: str) -> None:
        """Change an attribute. Values to remove must exist, values to add must not.

        Arguments:
            source, destination: the hosts concerned, for errors.

        Raises:
            AccessError: write-refused, attribute-refused, privilege-missing, service-name-taken.
            InternalError: directory-failed, resource-unsupported.
            UnreachableError: directory-unreachable.
        """
        import ldap

        fields = {
            "account": change.account,
            "attribute": change.attribute,
            "controller": self.controller,
            "user": self.user,
            "source": source,
            "destination": destination,
        }
        try:
            with _reached(self.domain):
                self._modify(change)
        except ldap.LDAPError as error:
            kind, code = _refusal(error, change.attribute)
            raise kind(code, why=_words(error), **fields) from error

    def _modify(self, change: Change) -> None:
        import ldap

        steps = [
            (operation, change.attribute, list(values))
            for operation, values in ((ldap.MOD_DELETE, change.remove), (ldap.MOD_ADD, change.add))
            if values
        ]
        if change.attribute == ACTING:
            # Not every controller can remove a descriptor by its value, and another program may have encoded it in
            # another way. So it is read once more and replaced.
            if _descriptors(self._values(change)) != _descriptors(change.remove):
                raise ldap.NO_SUCH_ATTRIBUTE({"info": "it has just been changed by somebody else"})
            steps = [(ldap.MOD_REPLACE, ACTING, list(change.add))]
        try:
            self._connection.modify_s(change.dn, steps)
        except ldap.CONSTRAINT_VIOLATION:
            if change.attribute != NAMES or change.add:
                raise
            # Samba also looks for other holders of a name to remove, and refuses to remove a duplicate. It accepts the
            # names that stay.
            going = {value.lower() for value in change.remove}
            staying = [value for value in self._values(change) if value.lower() not in going]
            self._connection.modify_s(change.dn, [(ldap.MOD_REPLACE, NAMES, staying)])

    def _values(self, change: Change) -> list[bytes]:
        """Return the present values of an attribute."""
        from ldap import SCOPE_BASE

        found = self._connection.search_s(change.dn, SCOPE_BASE, attrlist=[change.attribute])
        return _folded(found[0][1]).get(change.attribute.lower(), [])

    def _root(self) -> Entry:
        from ldap import SCOPE_BASE

        with _reached(self.controller):
            found = self._connection.search_s("", SCOPE_BASE, attrlist=["defaultNamingContext", "vendorName"])
        return _folded(found[0][1])


@contextmanager
def connect(
    controller: str | None = None, *, tls: bool = False, authority: str | None = None, cache: str | None = None
) -> Iterator[Directory]:
    """Connect to the directory of the domain that the tickets are of.

    Arguments:
        controller: full name of a controller; by default those in the DNS, one after another.
        tls: use LDAPS instead of encryption by Kerberos.
        authority: PEM file of the controllers' authority; by default those that the machine trusts.
        cache: the ticket cache, as krb5 names it; by default that of this process's user.

    Raises:
        AccessError: ticket-missing, ticket-expired, directory-refused.
        UnreachableError: directory-unreachable.
        InternalError: directory-library, kerberos-library.
    """
    ldap = _library()
    with _tickets(cache) as user:
        domain = user.partition("@")[2].lower()
        reason: UnreachableError | None = None
        for name in [controller] if controller else controllers.find(domain):
            try:
                connection = _bind(ldap, name, domain, tls=tls, authority=authority)
            except UnreachableError as error:
                reason = error
                continue
            try:
                yield Directory(connection, name, user)
            finally:
                connection.unbind_s()
            return
        raise reason or UnreachableError(codes.DIRECTORY_UNREACHABLE, domain=domain, why="the DNS has none")


@dataclass(frozen=True, slots=True)
class DirectoryConnector:
    """Connects to the directory when called. Arguments and errors are those of `connect`."""

    controller: str | None = None
    tls: bool = False
    authority: str | None = None
    cache: str | None = None

    def __call__(self, controller: str | None = None) -> AbstractContextManager[Directory]:
        """Connect to the directory.

        Arguments:
            controller: full name of the controller to use.
        """
        named = controller or self.controller
        return connect(named, tls=self.tls, authority=self.authority, cache=self.cache)


@contextmanager
def _tickets(cache: str | None) -> Iterator[str]:
    """Have Kerberos use a ticket cache in this thread, and yield the user of the tickets."""
    if cache is None:
        yield str(kerberos.own(ADMINISTRATOR).name)
        return
    with kerberos.using(cache):
        yield str(kerberos.own(ADMINISTRATOR).name)


def _bind(ldap: Any, controller: str, domain: str, *, tls: bool, authority: str | None) -> Any:
    connection = ldap.initialize(f"{'ldaps' if tls else 'ldap'}://{controller}")
    options = {
        ldap.OPT_PROTOCOL_VERSION: 3,
        ldap.OPT_REFERRALS: 0,
        ldap.OPT_NETWORK_TIMEOUT: CONNECT_LIMIT,
        ldap.OPT_TIMEOUT: ANSWER_LIMIT,
        # Ask for a ticket for the name as it was given: the DNS is not trusted with it.
        ldap.OPT_X_SASL_NOCANON: 1,
    }
    if tls:
        options |= {ldap.OPT_X_TLS_REQUIRE_CERT: ldap.OPT_X_TLS_DEMAND, ldap.OPT_X_SASL_SSF_MAX: 0}
        options |= {ldap.OPT_X_TLS_CACERTFILE: authority} if authority else {}
    else:
        options[ldap.OPT_X_SASL_SSF_MIN] = _WEAKEST
    for option, value in options.items():
        connection.set_option(option, value)
    if tls:
        connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)  # last: it applies the other options
    try:
        with _reached(domain):
            connection.sasl_interactive_bind_s("", ldap.sasl.sasl({}, "GSSAPI"))
    except ldap.AUTH_UNKNOWN as error:  # there is no such mechanism: the module of Cyrus SASL is missing
        raise InternalError(codes.DIRECTORY_LIBRARY, why=_words(error)) from error
    except ldap.LDAPError as error:
        raise AccessError(codes.DIRECTORY_REFUSED, controller=controller, why=_words(error)) from error
    return connection


@contextmanager
def _reached(domain: str) -> Iterator[None]:
    import ldap

    try:
        yield
    except (ldap.SERVER_DOWN, ldap.TIMEOUT, ldap.CONNECT_ERROR, ldap.UNAVAILABLE, ldap.BUSY) as error:
        raise UnreachableError(codes.DIRECTORY_UNREACHABLE, domain=domain, why=_words(error)) from error


def _library() -> Any:
    try:
        import dns.resolver
        import ldap
        import ldap.sasl
    except ImportError as error:
        raise InternalError(codes.DIRECTORY_LIBRARY, why=str(error)) from error
    del dns
    return ldap


def _descriptors(values: Iterable[bytes]) -> list[Descriptor]:
    return [descriptor.parse(value) for value in values]


def _refusal(error: Any, attribute: str) -> tuple[type[VmferryError], Code]:
    """Return the error of ours for a change that was refused."""
    import ldap

    if isinstance(error, ldap.INSUFFICIENT_ACCESS):
        if attribute in (ACTING, NAMES):  # for these there is no alternative to advise
            return AccessError, codes.ATTRIBUTE_REFUSED
        return AccessError, codes.PRIVILEGE_MISSING if _wants_privilege(_words(error)) else codes.WRITE_REFUSED
    if attribute == ACTING and isinstance(error, ldap.CONSTRAINT_VIOLATION | ldap.UNDEFINED_TYPE):
        return InternalError, codes.RESOURCE_UNSUPPORTED
    if attribute == NAMES and isinstance(error, ldap.CONSTRAINT_VIOLATION | ldap.ALREADY_EXISTS):
        return AccessError, codes.SERVICE_NAME_TAKEN
    return InternalError, codes.DIRECTORY_FAILED


def _wants_privilege(words: str) -> bool:
    """Return whether a privilege is missing, and not a right. Both have the same result code.

    Samba names the privilege. Windows has only the number of its error, ERROR_PRIVILEGE_NOT_HELD (1314, hexadecimal
    522); for a right it is ERROR_DS_INSUFF_ACCESS_RIGHTS (8344, 2098).
    """
    return "EnableDelegation" in words or "00000522" in words


def _words(error: Any) -> str:
    said = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    text = said.get("info") or said.get("desc") or str(error)
    return " ".join(str(text).replace("\0", "").split()).rstrip(".")


def _folded(entry: dict[str, list[bytes]]) -> Entry:
    return {name.lower(): values for name, values in entry.items()}
