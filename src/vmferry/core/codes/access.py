"""Codes of who may what: hosts, people, tokens and certificates."""

from vmferry.core.errors import AccessError, UsageError

# --- API tokens -------------------------------------------------------------------------------------------------
API_TOKEN_UNKNOWN = UsageError.define(
    "api-token-unknown", "There is no API token {token}.", "List the tokens: `vmferry host token list`.", status=404
)
API_TOKEN_NAME_TAKEN = UsageError.define(
    "api-token-name-taken",
    "The API token {id} already has the name {name}.",
    "Choose another --name, or revoke that token: `vmferry host token revoke {id}`.",
    status=409,
)
API_TOKEN_NEEDED = UsageError.define(
    "api-token-needed",
    "An API token is needed, and there is no terminal to ask for it.",
    "Name the file that holds the token, or - for standard input, with --token-file.",
)

PERSON_UNKNOWN = UsageError.define(
    "person-unknown", "{host} has no {kind} {name}.", "Correct the name. Write a group as @group."
)

# --- who may ----------------------------------------------------------------------------------------------------
NOT_ALLOWED = AccessError.define(
    "not-allowed",
    "{host} does not allow {caller} to {action}.",
    "Ask an administrator of {host} for the role {role}.",
)
CROSS_SITE = AccessError.define(
    "cross-site",
    "{host} accepts no request that comes from a page of another site ({why}).",
    "Call the API from a program, or from a page of {host} itself; see docs/api.md.",
)
NOT_AUTHENTICATED = AccessError.define(
    "not-authenticated",
    "{host} does not know who is calling.",
    "Use vmferry on {host} itself, as root or as a member of its group `vmferry`. Or use an API token: run `vmferry "
    "host token create --role ROLE` there, then `vmferry host login ADDRESS` here.",
)
NOT_PAIRED = AccessError.define(
    "not-paired",
    "{host} does not know the host that is calling.",
    "Pair the two hosts: run `vmferry host pair` on either of them.",
)
API_TOKEN_WRONG = AccessError.define(
    "api-token-wrong",
    "{host} does not know this API token.",
    "Create a new one on {host} (`vmferry host token create --role ROLE`), and use it with `vmferry host login "
    "ADDRESS`.",
    status=401,
)
API_TOKEN_EXPIRED = AccessError.define(
    "api-token-expired",
    "The API token {name} of {host} expired at {when}.",
    "Create a new one on {host} (`vmferry host token create --role ROLE`), and use it with `vmferry host login "
    "ADDRESS`.",
    status=401,
)
API_TOKEN_REVOKED = AccessError.define(
    "api-token-revoked",
    "The API token {name} of {host} was revoked.",
    "Ask an administrator of {host} for a new one.",
    status=401,
)
API_TOKEN_BY_TOKEN = AccessError.define(
    "api-token-by-token",
    "{host} does not let {caller} create API tokens: a token cannot create another one.",
    "Create it on {host} itself, as an administrator.",
)
LOGIN_MISSING = AccessError.define(
    "login-missing",
    "{path} has no token for {host}.",
    "Create one on {host} (`vmferry host token create --role ROLE`), then run the command that this prints (`vmferry "
    "host login ADDRESS`).",
)
LOGIN_FILE = AccessError.define(
    "login-file-wrong", "The tokens in {path} cannot be used: {why}.", "Correct that, or start again: {remedy}."
)
SERVER_CERTIFICATE = AccessError.define(
    "server-certificate-wrong",
    "{address} does not show the expected certificate ({why}), so nothing was sent to it.",
    "If the host was set up again, run `vmferry host login ADDRESS` again. If not, find out which machine answers "
    "there.",
)
JOB_KEY_WRONG = AccessError.define(
    "job-key-wrong", "The key that was shown for job {job} is wrong.", "Start the move again.", status=401
)
TOKEN_CERTIFICATE = AccessError.define(
    "pairing-certificate-wrong",
    "{address} shows another certificate than the pairing token names, so the token was not sent.",
    "Check that this is the address of the host that made the token. If it is, find out which machine answers there.",
)
TOKEN_WRONG = AccessError.define(
    "pairing-token-wrong",
    "{host} did not accept the pairing token: it is wrong, used, or older than 10 minutes.",
    "Create a new one on {host}: `vmferry host pair --invite`.",
)
TOKEN_RATE = AccessError.define(
    "pairing-rate-limited",
    "{host} has received too many wrong pairing tokens.",
    "Wait {seconds} seconds, then create a new one on {host}: `vmferry host pair --invite`.",
    status=429,
)
CERTIFICATE_CHANGED = AccessError.define(
    "certificate-changed",
    "{host} shows another certificate than the one it was paired with.",
    "If {host} was set up again, run `vmferry host unpair {host}`, then pair again. If not, find out which machine "
    "answers there.",
)

WORKER_CERTIFICATE = AccessError.define(
    "worker-certificate-wrong",
    "{host} shows another certificate than the one exchanged for job {job}.",
    "Start the move again. If this happens again, find out which machine answers at that address.",
)

# --- the site's authority ---------------------------------------------------------------------------------------
TRUST_INVALID = UsageError.define(
    "trust-invalid",
    "This cannot be trusted as a certificate authority: {why}.",
    "Give the PEM certificate of the site's authority, not the certificate of a host.",
)
PRIVATE_KEY = UsageError.define(
    "private-key",
    "{path} holds a private key, but only certificates are expected.",
    "Give a file that holds certificates only. A private key should never leave its host.",
)
SITE_BUSY = UsageError.define(
    "site-busy",
    "Job {job} with {host} has not ended, and {host} is known only by the site's authority.",
    "Wait until the job ends. Until then, the two hosts need what you want to change.",
    status=409,
)
SITE_UNTRUSTED = AccessError.define(
    "site-untrusted",
    "{local} is not paired with {host}, and trusts no authority that vouches for it.",
    "Trust the site's authority on both hosts (`vmferry host trust set CA.pem`), or pair them: `vmferry host pair "
    "{host}`.",
)
SITE_MISSING = AccessError.define(
    "site-certificate-missing",
    "{host} has no certificate from the site's authority.",
    "Run `vmferry host certificate request` on {host}, have the request signed, then run `vmferry host certificate "
    "install CHAIN.pem`.",
)
SITE_KEY = AccessError.define(
    "site-certificate-key-wrong",
    "The certificate does not belong to the key of {host}.",
    "Have the request signed that `vmferry host certificate request` prints on {host}.",
)
SITE_EXPIRED = AccessError.define(
    "site-certificate-expired",
    "The certificate of {host} has expired ({when}).",
    "Renew it with `vmferry host certificate request` on {host}. If it should still be valid, check the clocks.",
)
SITE_NOT_YET_VALID = AccessError.define(
    "site-certificate-not-yet-valid",
    "The certificate of {host} is not valid yet ({when}).",
    "Check the clocks of the hosts and of the authority.",
)
SITE_NAME = AccessError.define(
    "site-certificate-name-wrong",
    "The certificate that {host} shows is for {names}, not for {name}.",
    "Use a name that is in the certificate, or request one with that name: `vmferry host certificate request --name "
    "NAME`.",
)
SITE_UNNAMED = AccessError.define(
    "site-certificate-names-missing",
    "The certificate of {host} names no host: the authority left out the requested names.",
    "Have the request signed again with its names kept. `openssl x509 -req` drops them without `-copy_extensions "
    "copy`; docs/settings.md has the commands.",
)
SITE_USAGE = AccessError.define(
    "site-certificate-usage-wrong",
    "The certificate of {host} is not marked for TLS servers and clients (extended key usage).",
    "Have it issued again with serverAuth and clientAuth, as `vmferry host certificate request` asks for.",
)
SITE_ISSUER = AccessError.define(
    "site-certificate-issuer-wrong",
    "The certificate of {host} was not issued by an authority that is trusted here ({why}).",
    "Compare `vmferry host trust show` on both hosts, and check that {host} also sends the intermediate certificates.",
)
SITE_NOT_ADMITTED = AccessError.define(
    "site-host-not-admitted",
    "{host} is a host of the site, but its name matches none of the admitted names ({names}).",
    "Admit it: `vmferry host trust set CA.pem --names PATTERN`.",
)
SITE_REFUSED = AccessError.define(
    "site-certificate-refused",
    "{host} did not accept the certificate of {local}.",
    "Check that {host} trusts the same authority (`vmferry host trust show`) and that the clocks agree. The log of "
    "vmferryd on {host} gives the reason.",
)
AUDIT_BROKEN = AccessError.define(
    "audit-log-broken",
    "The audit log of {host} is not as it was written: {what}.",
    "Find out who has been root on {host} since then, keep the files, and compare them with the records of other "
    "hosts (`vmferry audit list` there). If the log is also shipped to another machine, trust that copy.",
)
OPERATOR_RESTRICTED = AccessError.define(
    "operator-restricted",
    "{caller} may not move {vm} to {destination}: the limits on {host} do not allow it ({rules}).",
    "Have an administrator of {host} allow it: `vmferry host restrict {caller} --vm {vm} --to {destination}`.",
)
