"""The audit log of this host, walked along, and compared with what other hosts have on record of it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from vmferry.agent.auditlog.log import AuditLog
from vmferry.config import Config
from vmferry.core.auditlog import chain
from vmferry.core.auditlog.chain import LogHead, Verification, Witness
from vmferry.core.errors import VmferryError
from vmferry.identity.peer import PeerClient
from vmferry.store.peers import Peer

_AT_ONCE = 8  # hosts that are asked side by side
Client = Callable[[Config, Peer], PeerClient]


def verify(config: Config, trail: AuditLog, peers: list[Peer], client: Client = PeerClient) -> Verification:
    """Walk along the log, and see that it still has every head that these hosts were told.

    A host that does not answer is named in the result, and ends nothing: the others have heads too.

    Arguments:
        peers: whom to ask; none: the log alone is looked at.

    Raises:
        OSError: a file of the log cannot be opened.
    """

    def ask(peer: Peer) -> tuple[list[LogHead], str | None]:
        try:
            return client(config, peer).heads().heads, None
        except VmferryError as error:
            return [], error.reason

    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="heads") as pool:
        told = list(pool.map(ask, peers))  # before the walk: a head that is told meanwhile is none of these
    seen, digests = trail.verify(head.number for heads, _ in told for head in heads)
    witnesses = [
        Witness(
            host=peer.name,
            heads=len(heads),
            missed=chain.missed(heads, seen, digests),
            older=chain.older(heads, seen),
            error=error,
        )
        for peer, (heads, error) in zip(peers, told, strict=True)
    ]
    return seen.model_copy(update={"peers": witnesses})
