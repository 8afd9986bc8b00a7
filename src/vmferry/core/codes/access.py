"""Codes of who may what: hosts, people, tokens and certificates."""

from vmferry.core.errors import AccessError, UsageError

# --- API tokens -------------------------------------------------------------------------------------------------
API_TOKEN_UNKNOWN = UsageError.define(
    "api-token-unknown", "There is no API token {token}.", "See `vmferry host token list`.", status=404
)
API_TOKEN_NAME_TAKEN = UsageError.define(
    "api-token-name-taken",
    "The API token {id} is named {name} already.",
    "Choose another --name, or revoke that one: `vmferry host token revoke {id}`.",
    status=409,
)
API_TOKEN_NEEDED = UsageError.define(
    "api-token-needed",
    "It takes an API token, and there is no terminal to ask for it.",
    "Name the token's file, or - for standard input, with --token-file.",
)

PERSON_UNKNOWN = UsageError.define(
    "person-unknown", "{host} has no {kind} {name}.", "Correct the name; groups are written as @group."
)

# --- who may ----------------------------------------------------------------------------------------------------
NOT_ALLOWED = AccessError.define(
    "not-allowed",
    "{host} does not allow {caller} to {action}.",
    "Ask an administrator of {host} for the role {role}.",
)
CROSS_SITE = AccessError.define(
    "cross-site",
    "{host} takes no request that a page of another site makes ({why}).",
    "Call the API from a program, or from a page of {host} itself; see docs/api.md.",
)
NOT_AUTHENTICATED = AccessError.define(
    "not-authenticated",
    "{host} does not know who is calling.",
    "Use vmferry on {host} itself, as root or a member of its group `vmferry`, or an API token: "
    "`vmferry host token create --role ROLE` there, `vmferry host login ADDRESS` here.",
)
NOT_PAIRED = AccessError.define(
    "not-paired",
    "{host} does not know the host that is calling.",
    "Pair the two: `vmferry host pair` on either of them.",
)
API_TOKEN_WRONG = AccessError.define(
    "api-token-wrong",
    "{host} does not know the API token.",
    "Make a new one on {host} (`vmferry host token create --role ROLE`), and use it with `vmferry host login ADDRESS`.",
    status=401,
)
API_TOKEN_EXPIRED = AccessError.define(
    "api-token-expired",
    "The API token {name} of {host} expired at {when}.",
    "Make a new one on {host} (`vmferry host token create --role ROLE`), and use it with `vmferry host login ADDRESS`.",
    status=401,
)
API_TOKEN_REVOKED = AccessError.define(
    "api-token-revoked",
    "The API token {name} of {host} was revoked.",
    "Ask an administrator of {host} why, and for a new one.",
    status=401,
)
API_TOKEN_BY_TOKEN = AccessError.define(
    "api-token-by-token",
    "{host} does not let {caller} make API tokens: no token makes another.",
    "Make it on {host} itself, as an administrator.",
)
LOGIN_MISSING = AccessError.define(
    "login-missing",
    "{path} has no token for {host}.",
    "Make one on {host} (`vmferry host token create --role ROLE`), then use the line that it shows "
    "(`vmferry host login ADDRESS`).",
)
LOGIN_FILE = AccessError.define(
    "login-file-wrong", "The tokens in {path} are not used: {why}.", "Correct that, or start anew: {remedy}."
)
SERVER_CERTIFICATE = AccessError.define(
    "server-certificate-wrong",
    "{address} does not show the certificate that was to be seen there ({why}), so that nothing was sent to it.",
    "If the host was set up anew, `vmferry host login ADDRESS` again. If not, find out who answers there.",
)
JOB_KEY_WRONG = AccessError.define(
    "job-key-wrong", "The key shown for job {job} is not its key.", "Start the move again.", status=401
)
TOKEN_CERTIFICATE = AccessError.define(
    "pairing-certificate-wrong",
    "{address} shows another certificate than the pairing token names, so the token was not sent there.",
    "See whether that is the address of the host that made the token; if it is, find out who answers there.",
)
TOKEN_WRONG = AccessError.define(
    "pairing-token-wrong",
    "{host} did not accept the pairing token: it is wrong, used, or older than 10 minutes.",
    "Make a new one on {host}: `vmferry host pair --invite`.",
)
TOKEN_RATE = AccessError.define(
    "pairing-rate-limited",
    "{host} has seen too many wrong pairing tokens.",
    "Wait {seconds} seconds, then make a new one with `vmferry host pair --invite`.",
    status=429,
)
CERTIFICATE_CHANGED = AccessError.define(
    "certificate-changed",
    "{host} shows another certificate than the one it was paired with.",
    "If it was set up anew: `vmferry host unpair {host}`, then pair again. If not, find out who answers there.",
)

WORKER_CERTIFICATE = AccessError.define(
    "worker-certificate-wrong",
    "{host} shows another certificate than the one exchanged for job {job}.",
    "Start the move again; if it happens again, find out who answers at that address.",
)

# --- the site's authority ---------------------------------------------------------------------------------------
TRUST_INVALID = UsageError.define(
    "trust-invalid",
    "That cannot be trusted as an authority: {why}.",
    "Give the PEM certificate of the site's authority, not that of a host.",
)
PRIVATE_KEY = UsageError.define(
    "private-key",
    "{path} holds a private key, and certificates were asked for.",
    "Give a file that holds certificates only; no key is to leave its place.",
)
SITE_BUSY = UsageError.define(
    "site-busy",
    "Job {job} with {host}, which the site's authority vouches for, has not ended.",
    "Wait for its end: the two hosts know each other by what was to be changed.",
    status=409,
)
SITE_UNTRUSTED = AccessError.define(
    "site-untrusted",
    "{local} trusts no authority that could vouch for {host}, and is not paired with it.",
    "Trust the site's authority on both (`vmferry host trust set CA.pem`), or pair them: `vmferry host pair {host}`.",
)
SITE_MISSING = AccessError.define(
    "site-certificate-missing",
    "{host} has no certificate of the site's authority.",
    "Get one: `vmferry host certificate request` on {host}, have it signed, "
    "`vmferry host certificate install CHAIN.pem`.",
)
SITE_KEY = AccessError.define(
    "site-certificate-key-wrong",
    "The certificate is not for the key of {host}.",
    "Have the request signed that `vmferry host certificate request` prints on {host}.",
)
SITE_EXPIRED = AccessError.define(
    "site-certificate-expired",
    "The certificate of {host} has expired ({when}).",
    "Renew it: `vmferry host certificate request` on {host}; or see to the clocks.",
)
SITE_NOT_YET_VALID = AccessError.define(
    "site-certificate-not-yet-valid",
    "The certificate of {host} is not valid yet ({when}).",
    "See to the clocks of the hosts and of the authority.",
)
SITE_NAME = AccessError.define(
    "site-certificate-name-wrong",
    "The certificate that {host} shows does not name {name}, but {names}.",
    "Use a name that is in it, or request one with that name: `vmferry host certificate request --name NAME`.",
)
SITE_UNNAMED = AccessError.define(
    "site-certificate-names-missing",
    "The certificate of {host} names no host: the authority left out the names that were asked for.",
    "Have the request signed again with its names kept (`openssl x509 -req` drops them without "
    "`-copy_extensions copy`): docs/settings.md has the commands.",
)
SITE_USAGE = AccessError.define(
    "site-certificate-usage-wrong",
    "The certificate of {host} does not say that it is for TLS servers and clients (extended key usage).",
    "Have it issued anew with serverAuth and clientAuth, as `vmferry host certificate request` asks for.",
)
SITE_ISSUER = AccessError.define(
    "site-certificate-issuer-wrong",
    "The certificate of {host} is not of an authority that is trusted here ({why}).",
    "Compare `vmferry host trust show` on both hosts, and see that {host} sends the intermediate certificates too.",
)
SITE_NOT_ADMITTED = AccessError.define(
    "site-host-not-admitted",
    "{host} is a host of the site, but its name matches none of those that are let in ({names}).",
    "Let it in: `vmferry host trust set CA.pem --names PATTERN`.",
)
SITE_REFUSED = AccessError.define(
    "site-certificate-refused",
    "{host} did not accept the certificate of {local}.",
    "See that {host} trusts the same authority (`vmferry host trust show`) and that the clocks agree; "
    "vmferryd's log on {host} says why.",
)
AUDIT_BROKEN = AccessError.define(
    "audit-log-broken",
    "The audit log of {host} is not as it was written: {what}.",
    "Find out who was root on {host} since, keep the files, and compare what other hosts have on record "
    "(`vmferry audit list` there); what was shipped elsewhere is the copy to trust.",
)
OPERATOR_RESTRICTED = AccessError.define(
    "operator-restricted",
    "{caller} may not move {vm} to {destination}: on {host} there are limits ({rules}).",
    "Have an administrator of {host} allow it: `vmferry host restrict {caller} --vm {vm} --to {destination}`.",
)
