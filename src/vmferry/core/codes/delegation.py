"""Codes of the domain's directory: reaching it, reading it, and changing who may act for whom."""

from vmferry.core.errors import AccessError, InternalError, UnreachableError, UsageError

DIRECTORY_LIBRARY = InternalError.define(
    "directory-library",
    "The domain's directory cannot be used from here: {why}.",
    "Install the Python packages python-ldap, gssapi and dnspython (`pip install 'vmferry[directory]'`) and Cyrus "
    "SASL's module for Kerberos (Debian: libsasl2-modules-gssapi-mit; Red Hat: cyrus-sasl-gssapi).",
)
DIRECTORY_UNREACHABLE = UnreachableError.define(
    "directory-unreachable",
    "No domain controller of {domain} answers: {why}.",
    "Use the domain's DNS servers on this machine, or name a controller: `--controller NAME`.",
)
DIRECTORY_REFUSED = AccessError.define(
    "directory-refused",
    "The domain controller {controller} does not accept the ticket: {why}.",
    "Get a new one (`kinit administrator`), name the controller by its full name in the domain, and leave --ldaps out: "
    "not every controller takes Kerberos inside TLS.",
)
DIRECTORY_UNREADABLE = InternalError.define(
    "directory-unreadable",
    "The domain controller {controller} does not say what it was asked: {why}.",
    "Name the hosts that you want to see, or ask another controller: `--controller NAME`.",
)
DIRECTORY_FAILED = InternalError.define(
    "directory-failed",
    "The domain controller {controller} refuses to change {attribute} of {account}: {why}.",
    "Look at the account; `vmferry delegation show` says what is there now.",
)
ACCOUNT_UNKNOWN = UsageError.define(
    "account-unknown",
    "The domain {domain} has no computer account for {host}.",
    "Use the name that the host has in the domain; if it is in none: `net ads join`, `adcli join` or `realm join` "
    "on {host}.",
)
GROUP_UNKNOWN = UsageError.define(
    "group-unknown",
    "The domain {domain} has no group {group}.",
    "Use its name before Windows 2000 (sAMAccountName), or its common name.",
)
WRITE_REFUSED = AccessError.define(
    "write-refused",
    "{user} may not change {attribute} of {account}: the right to write that attribute is missing ({why}).",
    'Use a ticket of a domain administrator (`kinit administrator`), or have one give {user} the right "Write '
    '{attribute}" on {account}. Who may only write to {destination} can use the resource-based kind: `vmferry '
    "delegation grant {source} {destination} --resource-based`.",
)
ATTRIBUTE_REFUSED = AccessError.define(
    "attribute-refused",
    "{user} may not change {attribute} of {account}: that right is missing ({why}).",
    'Use a ticket of a domain administrator (`kinit administrator`), or have one give {user} the right "Write '
    '{attribute}" on {account}.',
)
PRIVILEGE_MISSING = AccessError.define(
    "privilege-missing",
    "{user} may write to {account}, but lacks the privilege to allow delegation (SeEnableDelegationPrivilege).",
    'Use a ticket of a domain administrator (`kinit administrator`), or have one give {user} "Enable computer and '
    "user accounts to be trusted for delegation\" in the controllers' policy. The resource-based kind needs no such "
    "privilege: `vmferry delegation grant {source} {destination} --resource-based`.",
)
SERVICE_NAME_TAKEN = AccessError.define(
    "service-name-taken",
    "The domain does not let {account} have a service name: {why}.",
    "Find who has it: `vmferry delegation show {account}`; move it: `vmferry delegation register {account}`.",
)
DELEGATION_TO_ITSELF = UsageError.define(
    "delegation-to-itself", "{host} needs no delegation to itself.", "Name two hosts."
)
RESOURCE_UNSUPPORTED = InternalError.define(
    "resource-unsupported",
    "The domain controller {controller} lets nobody write resource-based delegation over the network: {why}.",
    "Use the classic kind, `vmferry delegation grant {source} {destination}`; or, with Samba, do it on the controller "
    "itself: `samba-tool delegation add-principal '{destination}$' '{source}$'`.",
)
RESOURCE_OPTIONS = UsageError.define(
    "resource-options",
    "{option} does not go with --resource-based: that kind is for all services and for any protocol.",
    "Leave one of the two out.",
)

# --- why the domain refuses; found in its directory -------------------------------------------------------------
DELEGATION_ABSENT = AccessError.define(
    "delegation-absent",
    "The domain does not let {source} act for users towards `{service}` on {host}: its account does not list it.",
    "Allow it: `vmferry delegation grant {source} {host}`.",
)
DELEGATION_KERBEROS_ONLY = AccessError.define(
    "delegation-kerberos-only",
    "The domain lets {source} act towards `{service}` on {host} only for users who came to {source} with a ticket "
    '("Kerberos only").',
    "Ask with a ticket (`kinit -f`, then `vmferry --host {source} ...`), or allow any protocol: `vmferry delegation "
    "grant {source} {host}`.",
)
DELEGATION_UNEXPLAINED = AccessError.define(
    "delegation-unexplained",
    "The KDC does not let {source} act for {user} towards `{service}` on {host}, although the directory allows it.",
    "Wait until the change has reached the controller that gives the tickets (minutes inside a site, up to hours "
    "between sites), and try again; vmferryd asks for new tickets each time.",
)
SERVICE_NAME_ELSEWHERE = AccessError.define(
    "service-name-elsewhere",
    "The service name `{name}` is registered for {holders}, not for {host}: tickets for it are of no use to {host}.",
    "Move it: `vmferry delegation register {host}`.",
)
SERVICE_NAME_DUPLICATE = AccessError.define(
    "service-name-duplicate",
    "The service name `{name}` is registered more than once ({holders}): a KDC gives no tickets for it, "
    "or with either's key.",
    "Leave it to {host} alone: `vmferry delegation register {host}`.",
)
SERVICE_NAME_MISSING = AccessError.define(
    "service-name-missing",
    "The service name `{name}` is registered for no account: the domain gives no tickets for it.",
    "Register it: `vmferry delegation register {host}`.",
)
CONTROLLERS_DIFFER = AccessError.define(
    "controllers-differ",
    "{others} does not know of delegation what {controller} knows.",
    "Wait until a change has reached all of them (minutes inside a site; between sites as they are scheduled, 180 "
    "minutes if nobody changed that), or hurry it: `repadmin /syncall`, `samba-tool drs replicate`.",
)
KDC_UNTRIED = AccessError.define(
    "kdc-untried",
    "The KDC was not tried: that takes the keys of {source}, which are not here ({why}).",
    "Run it on {source} as root, with your ticket: `vmferry delegation verify {source} {host} --as {user}`.",
)
