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

# --- who may ----------------------------------------------------------------------------------------------------
NOT_ALLOWED = AccessError.define(
    "not-allowed",
    "{host} does not allow {caller} to {action}.",
    "Ask an administrator of {host} for the role {role}.",
)
NOT_AUTHENTICATED = AccessError.define(
    "not-authenticated",
    "{host} does not know who is calling.",
    "Use vmferry on {host} itself, as root or a member of its group `vmferry`, or an API token: "
    "`vmferry host token create` there, `vmferry host login` here.",
)
NOT_PAIRED = AccessError.define(
    "not-paired",
    "{host} does not know the host that is calling.",
    "Pair the two: `vmferry host pair` on either of them.",
)
API_TOKEN_WRONG = AccessError.define(
    "api-token-wrong",
    "{host} does not know the API token.",
    "Make a new one on {host} (`vmferry host token create`), and use it with `vmferry host login`.",
    status=401,
)
API_TOKEN_EXPIRED = AccessError.define(
    "api-token-expired",
    "The API token {name} of {host} expired at {when}.",
    "Make a new one on {host} (`vmferry host token create`), and use it with `vmferry host login`.",
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
    "Make one on {host} (`vmferry host token create`), then use the line that it shows (`vmferry host login`).",
)
LOGIN_FILE = AccessError.define(
    "login-file-wrong", "The tokens in {path} are not used: {why}.", "Correct that, or start anew: {remedy}."
)
SERVER_CERTIFICATE = AccessError.define(
    "server-certificate-wrong",
    "{address} does not show the certificate that was to be seen there ({why}), so that nothing was sent to it.",
    "If the host was set up anew, `vmferry host login` again. If not, find out who answers there.",
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
