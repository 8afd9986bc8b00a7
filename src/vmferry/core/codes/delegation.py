"""Codes of the domain's directory: reaching it, reading it, and changing who may act for whom."""

from vmferry.core.errors import AccessError, InternalError, UnreachableError, UsageError

DIRECTORY_LIBRARY = InternalError.define(
    "directory-library",
    "The domain's directory cannot be used on this machine: {why}.",
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
    "Get a new ticket (`kinit administrator`), name the controller by its full name in the domain, and do not use "
    "--ldaps: not every controller accepts Kerberos inside TLS.",
)
DIRECTORY_UNREADABLE = InternalError.define(
    "directory-unreadable",
    "The domain controller {controller} does not answer the query: {why}.",
    "Name the hosts that you want to see, or ask another controller: `--controller NAME`.",
)
DIRECTORY_FAILED = InternalError.define(
    "directory-failed",
    "The domain controller {controller} refuses to change {attribute} of {account}: {why}.",
    "Check the account; `vmferry delegation show` shows its present state.",
)
ACCOUNT_UNKNOWN = UsageError.define(
    "account-unknown",
    "The domain {domain} has no computer account for {host}.",
    "Use the name that the host has in the domain. If it is not in the domain, join it with `net ads join`, `adcli "
    "join` or `realm join` on {host}.",
)
GROUP_UNKNOWN = UsageError.define(
    "group-unknown",
    "The domain {domain} has no group {group}.",
    "Use its pre-Windows 2000 name (sAMAccountName), or its common name.",
)
WRITE_REFUSED = AccessError.define(
    "write-refused",
    "{user} may not change {attribute} of {account}: the right to write that attribute is missing ({why}).",
    "Use a ticket of a domain administrator (`kinit administrator`), or have an administrator give {user} the right "
    '"Write {attribute}" on {account}. With write access to {destination} alone, use the resource-based kind: '
    "`vmferry delegation grant {source} {destination} --resource-based`.",
)
ATTRIBUTE_REFUSED = AccessError.define(
    "attribute-refused",
    "{user} may not change {attribute} of {account}: the right to do so is missing ({why}).",
    "Use a ticket of a domain administrator (`kinit administrator`), or have an administrator give {user} the right "
    '"Write {attribute}" on {account}.',
)
PRIVILEGE_MISSING = AccessError.define(
    "privilege-missing",
    "{user} may write to {account}, but lacks the privilege to allow delegation (SeEnableDelegationPrivilege).",
    'Use a ticket of a domain administrator (`kinit administrator`), or have an administrator give {user} "Enable '
    'computer and user accounts to be trusted for delegation" in the policy of the controllers. The resource-based '
    "kind does not need this privilege: `vmferry delegation grant {source} {destination} --resource-based`.",
)
SERVICE_NAME_TAKEN = AccessError.define(
    "service-name-taken",
    "The domain does not let {account} have the service name: {why}.",
    "Find out which account has it (`vmferry delegation show {account}`), and move it: `vmferry delegation register "
    "{account}`.",
)
DELEGATION_TO_ITSELF = UsageError.define(
    "delegation-to-itself", "{host} needs no delegation to itself.", "Name two different hosts."
)
RESOURCE_UNSUPPORTED = InternalError.define(
    "resource-unsupported",
    "The domain controller {controller} does not let anyone write resource-based delegation over the network: {why}.",
    "Use the classic kind, `vmferry delegation grant {source} {destination}`. Or, with Samba, grant it on the "
    "controller itself: `samba-tool delegation add-principal '{destination}$' '{source}$'`.",
)
RESOURCE_OPTIONS = UsageError.define(
    "resource-options",
    "{option} cannot be used with --resource-based, which covers all services and any protocol.",
    "Leave out one of the two options.",
)

# --- why the domain refuses; found in its directory -------------------------------------------------------------
DELEGATION_ABSENT = AccessError.define(
    "delegation-absent",
    "The domain does not let {source} act for users towards `{service}` on {host}: the account of {source} does not "
    "list it.",
    "Allow it: `vmferry delegation grant {source} {host}`.",
)
DELEGATION_KERBEROS_ONLY = AccessError.define(
    "delegation-kerberos-only",
    "The domain lets {source} act towards `{service}` on {host} only for users who came to {source} with a ticket "
    '("Kerberos only").',
    "Use a ticket (`kinit -f`, then `vmferry --host {source} ...`), or allow any protocol: `vmferry delegation grant "
    "{source} {host}`.",
)
DELEGATION_UNEXPLAINED = AccessError.define(
    "delegation-unexplained",
    "The KDC does not let {source} act for {user} towards `{service}` on {host}, although the directory allows it.",
    "Wait until the change has reached the controller that issues the tickets: minutes within a site, up to hours "
    "between sites. Then try again; vmferryd requests new tickets each time.",
)
SERVICE_NAME_ELSEWHERE = AccessError.define(
    "service-name-elsewhere",
    "The service name `{name}` is registered for {holders}, not for {host}, so {host} cannot use tickets for it.",
    "Move it: `vmferry delegation register {host}`.",
)
SERVICE_NAME_DUPLICATE = AccessError.define(
    "service-name-duplicate",
    "The service name `{name}` is registered more than once ({holders}). The KDC then issues no tickets for it, or "
    "issues tickets with the key of either account.",
    "Register it for {host} alone: `vmferry delegation register {host}`.",
)
SERVICE_NAME_MISSING = AccessError.define(
    "service-name-missing",
    "The service name `{name}` is not registered for any account, so the domain issues no tickets for it.",
    "Register it: `vmferry delegation register {host}`.",
)
CONTROLLERS_DIFFER = AccessError.define(
    "controllers-differ",
    "{others} and {controller} differ in what they know of delegation.",
    "Wait until the change has reached all controllers: minutes within a site; between sites as scheduled, by "
    "default 180 minutes. Or start the replication: `repadmin /syncall`, `samba-tool drs replicate`.",
)
KDC_UNTRIED = AccessError.define(
    "kdc-untried",
    "The KDC was not tested: this needs the keys of {source}, which are not available here ({why}).",
    "Run it on {source} as root, with your ticket: `vmferry delegation verify {source} {host} --as {user}`.",
)
