"""CredSSP ([MS-CSSP]) by pyspnego, with Kerberos inside: a user's password goes to another host for one sign-in.

It is what takes no set-up in the directory, and what hands the password over: off unless it is chosen. What vmferry
wants beyond the library: protocol version 5 or later (CVE-2018-0886), Kerberos and nothing else inside, and that inner
Kerberos bound to the TLS connection around it, so that nobody in between can pass the messages on.

The destination throws the password away; it needs only to know who they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vmferry.core import codes
from vmferry.core.ad.pac import LogonInfo
from vmferry.core.errors import AccessError, InternalError, VmferryError
from vmferry.identity import kerberos
from vmferry.identity.kerberos import HostKeys

NEWEST_BAD = 4  # versions up to this one can be relayed
LONGEST = 256 << 10  # bytes of one message
STEPS = 12  # messages at most; three to seven are usual


class Initiator:
    """The source's side.

    Arguments:
        user: NAME@REALM.
        password: the user's; it is kept no longer than this object.
        host: the destination's name in the domain.
        bound: the channel binding of the TLS connection.
        source: this host's name, for errors.

    Raises:
        AccessError: password-wrong, principal-unknown.
        UnreachableError: kdc-unreachable.
        InternalError: credssp-library.
    """

    def __init__(self, user: str, password: str, host: str, bound: bytes, source: str) -> None:
        spnego = _library(source)
        self._user, self._host, self._source = user, host, source
        with _explained(user, host, source):
            inner = spnego.client(
                user, password, protocol="kerberos", channel_bindings=_bindings(spnego, bound), **_target(host)
            )
            self._context = spnego.client(
                user, password, protocol="credssp", credssp_negotiate_context=inner, **_target(host)
            )

    @property
    def complete(self) -> bool:
        """Whether everything has been said and heard."""
        return bool(self._context.complete)

    def step(self, token: bytes | None = None) -> bytes | None:
        """Take the other side's message and give the next; None: there is none.

        Raises:
            AccessError: credssp-refused, and what Kerberos refuses.
        """
        with _explained(self._user, self._host, self._source):
            made: bytes | None = self._context.step(token)
            return made


class CredSspAcceptor:
    """The destination's side.

    Arguments:
        keys: of this host.
        host: its name.
        bound: the channel binding of the TLS connection.

    Raises:
        InternalError: kerberos-keytab, credssp-library.
    """

    def __init__(self, keys: HostKeys, host: str, bound: bytes) -> None:
        spnego = _library(host)
        self._host, self._keys = host, keys
        with _explained("the user", host, "the source"):
            from spnego._gss import GSSAPIProxy  # its public function takes the keytab from the environment alone

            self._inner: Any = GSSAPIProxy(
                hostname=host,
                service=kerberos.MIGRATION,
                channel_bindings=_bindings(spnego, bound),
                usage="accept",
                protocol="kerberos",
                _gssapi_credential=keys.acceptor(),
            )
            self._context = spnego.server(
                protocol="credssp",
                credssp_negotiate_context=self._inner,
                credssp_min_protocol=NEWEST_BAD + 1,
                **_target(host),
            )

    @property
    def complete(self) -> bool:
        """Whether everything has been said and heard."""
        return bool(self._context.complete)

    def step(self, token: bytes) -> bytes | None:
        """Take the other side's message and give the next; None: there is none.

        Raises:
            AccessError: credssp-refused, and what Kerberos refuses.
        """
        with _explained("the user", self._host, "the source"):
            made: bytes | None = self._context.step(token)
            return made

    def user(self) -> tuple[str, LogonInfo | None]:
        """Give who signed in, NAME@REALM, and what the domain says of them.

        Raises:
            AccessError: ticket-unbound: the inner Kerberos is bound to no connection.
        """
        context = self._inner._context
        kerberos.require_bound(context, self._host)
        logon, _ = self._keys.vouched(context.initiator_name)
        return str(context.initiator_name), logon


def _target(host: str) -> dict[str, str]:
    return {"hostname": host, "service": kerberos.MIGRATION}


def _bindings(spnego: Any, bound: bytes) -> Any:
    return spnego.channel_bindings.GssChannelBindings(application_data=bound)


def _library(host: str) -> Any:
    try:
        import spnego
        import spnego.channel_bindings
    except ImportError as error:
        raise InternalError(codes.CREDSSP_LIBRARY, host=host, why=str(error)) from error
    return spnego


@contextmanager
def _explained(user: str, host: str, source: str) -> Iterator[None]:
    """Say in vmferry's words what went wrong: errors come from three libraries, and from what a stranger sends."""
    try:
        yield
    except VmferryError:
        raise
    except Exception as error:
        said: BaseException | None = error
        while said is not None:  # the password's own errors are krb5's
            number = getattr(said, "err_code", None)
            if number in _KRB5:
                raise AccessError(_KRB5[number], user=user, host=host) from error
            said = said.__cause__ or said.__context__
        raise AccessError(codes.CREDSSP_REFUSED, user=user, host=host, source=source, why=_words(error)) from error


_KRB5 = {
    -1765328378: codes.PRINCIPAL_UNKNOWN,
    -1765328366: codes.PASSWORD_WRONG,  # the account is disabled or locked
    -1765328360: codes.PASSWORD_WRONG,
    -1765328353: codes.PASSWORD_WRONG,
}


def _words(error: BaseException) -> str:
    found = str(error).strip().splitlines()
    return (found[0] if found else type(error).__name__).rstrip(".")[:300]
