"""Codes of Kerberos: tickets, keys, and acting for someone at another host."""

from vmferry.core.errors import AccessError, InternalError, UnreachableError, UsageError

# --- this host's part in the domain -----------------------------------------------------------------------------
KERBEROS_KEYTAB = InternalError.define(
    "kerberos-keytab",
    "{host} has no keys for Kerberos in {path}: {why}.",
    "Join {host} to the domain (`net ads join`, `adcli join`, `realm join`), or set `keytab` in vmferry.toml. To do "
    "without Kerberos: `vmferry host set --authentication certificate`.",
)
KERBEROS_LIBRARY = InternalError.define(
    "kerberos-library",
    "Kerberos cannot be used on {host}: {why}.",
    "Install MIT Kerberos and the Python package gssapi (`pip install 'vmferry[host]'`).",
)
KDC_UNREACHABLE = UnreachableError.define(
    "kdc-unreachable",
    "{host} cannot reach a domain controller of {realm}: {why}.",
    "Check `kinit` and /etc/krb5.conf on {host}, and whether a firewall drops TCP and UDP 88.",
)
HOST_ACCOUNT_REFUSED = AccessError.define(
    "host-account-refused",
    "The domain does not accept {account}, the account of {host}: {why}.",
    "The keys in {path} may be older than those of the account: join {host} again, or renew the keytab (`net ads "
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
    "{host} has already received this Kerberos message, and accepts no message twice.",
    "Send the request again. If you did not repeat it, someone else did.",
    status=401,
)
TICKET_UNBOUND = AccessError.define(
    "ticket-unbound",
    "The Kerberos message is not bound to the TLS connection on which {host} received it.",
    "Use a client that binds it (channel binding, tls-server-end-point), as vmferry does, without a TLS proxy in "
    "between.",
    status=401,
)
CLOCK_SKEWED = AccessError.define(
    "clock-skewed",
    "The clock of {host} and that of the sender of the Kerberos message differ by more than five minutes.",
    "Set both clocks: `timedatectl set-ntp true`.",
    status=401,
)
KEYTAB_STALE = AccessError.define(
    "keytab-stale",
    "The keytab {path} of {host} lacks the key of the ticket: {why}.",
    "Renew the keytab of {host} (`net ads keytab create`, `adcli update`). If it was just renewed, get a new ticket "
    "(`kdestroy`, `kinit`).",
    status=401,
)
TICKET_MISSING = AccessError.define(
    "ticket-missing",
    "There is no Kerberos ticket here: {why}.",
    "In a domain, get one: `kinit {user}`. Without a domain, pair the hosts instead: `vmferry host pair`.",
)

# --- acting for a user at another host -----------------------------------------------------------------------------
PRINCIPAL_MISSING = AccessError.define(
    "principal-missing",
    "{host} cannot tell who {caller} is in the domain, so it cannot act for this user at {destination}.",
    "Use a ticket (`kinit USER`, then `vmferry --host {host} ...`), or set the user's name in the domain: `vmferry "
    "host set --principal {caller}=USER@REALM`.",
)
PRINCIPAL_UNKNOWN = AccessError.define(
    "principal-unknown",
    "The domain does not know {user}.",
    "Correct the name, or run `vmferry host set --principal USER=NAME@REALM` on the host {host} if it takes a user "
    "for {user}. A user of a trusted domain may need a ticket: `kinit -f {user}`, then `vmferry --host {host} ...`.",
)
DELEGATION_REFUSED = AccessError.define(
    "delegation-refused",
    "The domain does not let {source} act for {user} towards `{service}` on {host}.",
    "Find out why: `vmferry delegation verify {source} {host} --as {user}`. To allow it: `vmferry delegation grant "
    "{source} {host}`.",
)
TICKET_NOT_FORWARDABLE = AccessError.define(
    "ticket-not-forwardable",
    "{source} may not use the ticket of {user} for {host}: it is not forwardable.",
    "Get a forwardable one: `kinit -f`. A user who is marked sensitive or is in Protected Users cannot get one: let "
    "someone else start the move.",
)
SERVICE_UNKNOWN = UsageError.define(
    "service-unknown",
    "The domain does not know `{service}` on {host}.",
    "Use the name of {host} in the domain. If it is the right name, register its service names: `vmferry delegation "
    "register {host}`.",
)
SERVICE_NOT_PROVEN = AccessError.define(
    "service-not-proven",
    "{source} came to {host} without a ticket for `{service}`, which a move with storage needs.",
    "Allow it: `vmferry delegation grant {source} {host}`.",
)
USER_PROTECTED = AccessError.define(
    "user-protected",
    "{user} is {why}: no host may act for this user, so {host} accepts no VM from this user.",
    "Let someone else start the move, or remove that protection from {user} in the domain.",
)
SIGN_IN_WRONG = AccessError.define(
    "sign-in-wrong",
    "{source} could not prove to {host} for whom it acts: {why}.",
    "Find out why: `vmferry delegation verify {source} {host} --as USER`.",
)
SIGN_IN_NEEDED = AccessError.define(
    "sign-in-needed",
    "{source} does not say for whom it acts, and {host} requires Kerberos.",
    "Start the move again. If that does not help, set the same authentication on both hosts: `vmferry host set "
    "--authentication kerberos`.",
)
AUTHENTICATION_DIFFERS = AccessError.define(
    "authentication-differs",
    "{source} authenticates moves with {here}, {host} with {there}.",
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
    "{caller} is not signed in on {host}, and CredSSP passes on the credentials of a signed-in user: No credentials "
    "are available in the security package (0x8009030E).",
    "Sign in on {host} and start the move there. Or use Kerberos with constrained delegation, which needs no "
    "sign-in: `vmferry delegation grant {host} {destination}`, and `vmferry host set --authentication kerberos` on "
    "both hosts.",
)
CREDSSP_FORBIDDEN = AccessError.define(
    "credssp-forbidden",
    "{host} forbids CredSSP: no user's password may leave or reach it.",
    "Use Kerberos (`vmferry host set --authentication kerberos` on both hosts), or remove `forbid_credssp` from "
    "vmferry.toml on {host}.",
)
CREDSSP_REFUSED = AccessError.define(
    "credssp-refused",
    "The CredSSP sign-in of {user} at {host} failed: {why}.",
    "Check that both hosts are in the domain and that their clocks agree, and see the log of vmferryd on {host}.",
)
PASSWORD_NEEDED = AccessError.define(
    "password-needed",
    "Moving a VM to {host} with CredSSP needs the password of {user}.",
    "vmferry asks for it on a terminal. In a script, name its file, or - for standard input, with --password-file.",
    status=401,
)
PASSWORD_WRONG = AccessError.define(
    "password-wrong",
    "The domain does not accept the password of {user}.",
    "Type it again. Too many wrong passwords may lock the account.",
)

DOMAIN_OTHER = UsageError.define(
    "domain-other",
    "{group} is not a group of {domain}, the domain of {host}.",
    "Write @GROUP@{domain}. Name a group of another domain by its SID: @S-1-5-21-....",
)
