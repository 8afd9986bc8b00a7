"""The job key: it authenticates one job's messages once both hosts have authorised the job.

The destination makes it and returns it in the grant. From then on nobody sends the key itself, only proofs of it:
HMAC-SHA256 over the job, the fingerprints of both hosts' certificates and the purpose. So a proof for one job, one pair
of hosts or one purpose is worth nothing for another.
"""

import hashlib
import hmac
import secrets

_BYTES = 32


def new() -> str:
    """Return a new key as hex."""
    return secrets.token_hex(_BYTES)


def proof(key: str, job: str, source_fingerprint: str, destination_fingerprint: str, purpose: str) -> str:
    """Return a proof of the key for one purpose, as hex.

    Arguments:
        key: as `new` made it.
        job: the job's identifier.
        source_fingerprint: of the source host's certificate, hex.
        destination_fingerprint: of the destination host's certificate, hex.
        purpose: what the proof is for; it is worth nothing elsewhere.

    Raises:
        ValueError: the key is not hex of the right length.
    """
    raw = bytes.fromhex(key)
    if len(raw) != _BYTES:
        raise ValueError(f"a job key has {_BYTES} bytes, not {len(raw)}")
    digest = hmac.new(raw, digestmod=hashlib.sha256)
    for part in ("vmferry job key 1", job, source_fingerprint, destination_fingerprint, purpose):
        text = part.encode("utf-8", "surrogatepass")
        digest.update(len(text).to_bytes(4, "big"))  # so that no two lists of parts look alike
        digest.update(text)
    return digest.hexdigest()


def check(key: str, job: str, source_fingerprint: str, destination_fingerprint: str, purpose: str, shown: str) -> bool:
    """Return whether a proof is right, in constant time.

    Raises:
        ValueError: the key, which is our own, is not hex of the right length.
    """
    right = proof(key, job, source_fingerprint, destination_fingerprint, purpose)
    return hmac.compare_digest(right.encode(), shown.encode("utf-8", "surrogatepass"))
