"""Codes of Kerberos: tickets, keys, and acting for somebody at another host."""

from vmferry.core.errors import AccessError, InternalError, UnreachableError, UsageError

# --- this host's part in the domain -----------------------------------------------------------------------------
KERBEROS_KEYTAB = InternalError.define(
    "kerberos-keytab",
    "{host} has no keys for Kerberos in {path}: {why}.",
    "Join {host} to the domain (`net ads join`, `adcli join`, `realm join`), or set `keytab` in vmferry.toml; "
    "to do without Kerberos: `vmferry host set --authentication certificate`.",
)
KERBEROS_LIBRARY = InternalError.define(
    "kerberos-library",
    "Kerberos cannot be used on {host}: {why}.",
    "Install MIT Kerberos and the Python package gssapi (`pip install 'vmferry[host]'`).",
)
KDC_UNREACHABLE = UnreachableError.define(
    "kdc-unreachable",
    "{host} reaches no domain controller of {realm}: {why}.",
    "See `kinit` and /etc/krb5.conf on {host}, and whether a firewall drops TCP and UDP 88.",
)
HOST_ACCOUNT_REFUSED = AccessError.define(
    "host-account-refused",
    "The domain does not accept {host}'s own account, {account}: {why}.",
    "Its keys in {path} may be older than the account's: join {host} anew, or renew the keytab (`net ads "
    "keytab create`).",
)

# --- a ticket that somebody shows -------------------------------------------------------------------------------
TICKET_REFUSED = AccessError.define(
    "ticket-refused",
    "{host} does not accept the Kerberos ticket: {why}.",
    "Get a new one (`kinit`) and try again.",
    status=401,
)
TICKET_EXPIRED = AccessError.define(
    "ticket-expired", "The Kerberos ticket has expired.", "Get a new one: `kinit`.", status=401
)
TICKET_REPLAYED = AccessError.define(
    "ticket-replayed",
    "{host} has seen exactly this Kerberos message before, and takes none twice.",
    "Make the request anew. If you did not repeat it, somebody else did.",
    status=401,
)
TICKET_UNBOUND = AccessError.define(
    "ticket-unbound",
    "The Kerberos message is not bound to the TLS connection by which it came to {host}.",
    "Use a client that binds it (channel binding, tls-server-end-point), with no TLS proxy between; vmferry does.",
    status=401,
)
CLOCK_SKEWED = AccessError.define(
    "clock-skewed",
    "The clocks of {host} and of who made the Kerberos message differ by more than five minutes.",
    "Set both clocks: `timedatectl set-ntp true`.",
    status=401,
)
KEYTAB_STALE = AccessError.define(
    "keytab-stale",
    "{host}'s keytab {path} lacks the key with which the ticket was made: {why}.",
    "Renew the keytab of {host} (`net ads keytab create`, `adcli update`); if it was just renewed, get a new "
    "ticket (`kdestroy`, `kinit`).",
    status=401,
)
TICKET_MISSING = AccessError.define(
    "ticket-missing",
    "There is no Kerberos ticket here: {why}.",
    "In a domain, get one: `kinit {user}`. Without a domain, pair hosts instead: `vmferry host pair`.",
)

# --- acting for a user at another host -----------------------------------------------------------------------------
PRINCIPAL_MISSING = AccessError.define(
    "principal-missing",
    "{caller} is nobody in the domain as far as {host} can tell, so it cannot act for that user at {destination}.",
    "Ask with a ticket (`kinit USER`, then `vmferry --host {host} ...`), or say who that is: "
    "`vmferry host set --principal {caller}=USER@REALM`.",
)
PRINCIPAL_UNKNOWN = AccessError.define(
    "principal-unknown",
    "The domain does not know {user}.",
    "Correct the name, or `vmferry host set --principal USER=NAME@REALM` where {host} takes a user for {user}. "
    "Somebody of a domain that it trusts may have to ask with a ticket: `kinit -f {user}`, then "
    "`vmferry --host {host} ...`.",
)
DELEGATION_REFUSED = AccessError.define(
    "delegation-refused",
    "The domain does not let {source} act for {user} towards `{service}` on {host}.",
    "See why: `vmferry delegation verify {source} {host} --as {user}`. To allow it: `vmferry delegation grant "
    "{source} {host}`.",
)
TICKET_NOT_FORWARDABLE = AccessError.define(
    "ticket-not-forwardable",
    "The ticket of {user} may not be used by {source} for {host}: it is not forwardable.",
    "Get one that is: `kinit -f`. For a user who is sensitive or in Protected Users none is: somebody else has to ask.",
)
SERVICE_UNKNOWN = UsageError.define(
    "service-unknown",
    "The domain knows no `{service}` on {host}.",
    "Use the name by which {host} is in the domain; if it is that, register its names: `vmferry delegation "
    "register {host}`.",
)
SERVICE_NOT_PROVEN = AccessError.define(
    "service-not-proven",
    "{source} came to {host} with no ticket for `{service}`, which a move needs that takes storage along.",
    "Allow it: `vmferry delegation grant {source} {host}`.",
)
USER_PROTECTED = AccessError.define(
    "user-protected",
    "{user} is {why}: nobody may act for such a user, so that {host} takes no VM for that user.",
    "Let somebody else ask for the move, or take {user} out of that protection in the domain.",
)
SIGN_IN_WRONG = AccessError.define(
    "sign-in-wrong",
    "{source} could not show {host} for whom it acts: {why}.",
    "See `vmferry delegation verify {source} {host} --as USER`.",
)
SIGN_IN_NEEDED = AccessError.define(
    "sign-in-needed",
    "{source} does not say for whom it acts, and {host} wants to know it by Kerberos.",
    "Ask for the move again; if that does not help, set the same authentication on both: `vmferry host set "
    "--authentication kerberos`.",
)
AUTHENTICATION_DIFFERS = AccessError.define(
    "authentication-differs",
    "{source} authenticates moves by {here}, {host} by {there}.",
    "Set the same on both: `vmferry host set --authentication {there}` on {source}, or {here} on {host}.",
)

# --- CredSSP ----------------------------------------------------------------------------------------------------
CREDSSP_LIBRARY = InternalError.define(
    "credssp-library",
    "CredSSP cannot be used on {host}: {why}.",
    "Install the Python packages pyspnego and krb5 (`pip install 'vmferry[host]'`).",
)
CREDSSP_NOT_SIGNED_IN = AccessError.define(
    "credssp-not-signed-in",
    "{caller} is not signed in on {host}, and CredSSP hands on the credentials of who is: "
    "No credentials are available in the security package (0x8009030E).",
    "Sign in on {host} and ask there, or use Kerberos with constrained delegation, which needs no sign-in: "
    "`vmferry delegation grant {host} {destination}`, and `vmferry host set --authentication kerberos` on both.",
)
CREDSSP_FORBIDDEN = AccessError.define(
    "credssp-forbidden",
    "{host} forbids CredSSP: no password of a user may leave or reach it.",
    "Use Kerberos (`vmferry host set --authentication kerberos` on both hosts); or take `forbid_credssp` out of "
    "vmferry.toml on {host}.",
)
CREDSSP_REFUSED = AccessError.define(
    "credssp-refused",
    "The CredSSP sign-in of {user} at {host} came to nothing: {why}.",
    "See whether both hosts are in the domain and their clocks agree, and the log of vmferryd on {host}.",
)
PASSWORD_NEEDED = AccessError.define(
    "password-needed",
    "To move a VM to {host} by CredSSP takes the password of {user}.",
    "vmferry asks for it on a terminal; in a script, name a file or - with --password-file.",
    status=401,
)
PASSWORD_WRONG = AccessError.define(
    "password-wrong",
    "The domain does not accept the password of {user}.",
    "Type it again; too many wrong ones may lock the account.",
)

DOMAIN_OTHER = UsageError.define(
    "domain-other",
    "{group} is no group of {domain}, the domain of {host}.",
    "Write @GROUP@{domain}; a group of another domain can be named by its SID, @S-1-5-21-....",
)
