"""What other hosts have offered and this one has not admitted: how much of it there may be, and when it ends."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from vmferry.config import Config
from vmferry.core import codes, jobkey
from vmferry.core.errors import CancelledError, PreflightError, UnreachableError, VmferryError
from vmferry.core.job import Role, State
from vmferry.core.messages.api import KnownVerdict
from vmferry.core.messages.offer import Offer
from vmferry.identity.peer import PROOF_PURPOSE, PeerClient
from vmferry.jobs import spec
from vmferry.jobs.spec import Spec
from vmferry.store.admissions import Admissions
from vmferry.store.jobs import JobRow, Jobs
from vmferry.store.peers import Peer, Peers

MOST = 256  # of one host that wait here
SIZE = 64 << 20  # bytes of them on disk
DAILY = 2000  # jobs that one host may begin here in a day, however they end: each is kept for long
EXPIRY = 7 * 86400.0  # seconds after which an offer is dropped that its source does not ask for any more
_DAY = 86400.0
_UNSEEN = 30.0  # seconds without a question after which a source is asked whether it still wants to move a VM here

log = logging.getLogger("vmferry.agent")


@dataclass(frozen=True, slots=True)
class Offers:
    """The offers that wait here. Every method blocks."""

    config: Config
    jobs: Jobs
    admissions: Admissions
    peers: Peers
    client: Callable[[Config, Peer], PeerClient]

    def make_room(self, offer: Offer, peer: Peer) -> None:
        """Hold a host to what it may have waiting here, and end what a new offer takes the place of.

        A source has one job of each VM, so a new offer says that the earlier one has ended.

        Raises:
            PreflightError: peer-limit.
        """
        for earlier in self.jobs.offered(peer.name):
            if earlier.vm == offer.vm:
                self.drop(earlier, f"{peer.name} has offered the VM anew, as job {offer.job}")
        waiting = self.jobs.offered(peer.name)
        size = len(offer.model_dump_json())
        kept = sum(spec.size(self.config.state_folder, row.id) for row in waiting)
        begun = self.jobs.count(peer.name, Role.DESTINATION, time.time() - _DAY)
        what = ""
        if len(waiting) >= MOST:
            what = f"{len(waiting)} offers"
        elif size + kept > SIZE:
            what = f"{kept >> 20} MiB of offers"
        elif begun >= DAILY:
            what = f"{begun} offers of the last 24 hours"
        if what:
            raise PreflightError(codes.PEER_LIMIT, host=self.config.name, peer=peer.name, what=what)

    def drop(self, row: JobRow, why: str, cancelled_by: str = "") -> bool:
        """End a job for which nothing has been made yet.

        Arguments:
            cancelled_by: who cancelled it at the source; empty: nobody did.

        Returns:
            Whether it is ended; false: it has been admitted meanwhile, and its worker sees to it.
        """
        if cancelled_by:
            error: VmferryError = CancelledError(
                codes.CANCELLED, job=row.id, caller=cancelled_by, vm=row.vm, host=row.peer
            )
        else:
            fields = {"vm": row.vm, "phase": row.phase.value, "why": why, "host": row.peer}
            error = VmferryError(codes.MOVE_FAILED, advice=f"see `vmferry job list` on {row.peer}", **fields)
        state = State.CANCELLED if cancelled_by else State.FAILED
        if not self.jobs.end(row.id, state, error.problem(), None, only=State.WAITING):
            return False
        spec.forget(self.config.state_folder, row.id, key=True)
        return True

    def tidy(self) -> None:
        """End jobs that wait here and that their source has given up without being able to say so.

        Only its word ends them, or a week without a question for them: a source that does not answer may be back soon.
        """
        for row in self.jobs.active():
            if row.role is not Role.DESTINATION or row.state is not State.WAITING or self._is_fresh(row):
                continue
            if not self._is_fresh(row, EXPIRY):
                self.drop(row, f"{row.peer} has not asked for it for {EXPIRY / _DAY:g} days")
                continue
            peer = self.peers.get(row.peer)
            try:
                work = spec.load(self.config.state_folder, row.id)
                if peer is not None and self._verdict(work, peer) is not KnownVerdict.ABORT:
                    continue
            except UnreachableError:
                continue
            except (VmferryError, FileNotFoundError) as error:
                log.info("job %s is not known to %s any more: %s", row.id, row.peer, error)
            self.drop(row, f"{row.peer} has given it up")

    def _is_fresh(self, row: JobRow, limit: float = _UNSEEN) -> bool:
        """Return whether the source has asked for a job of late, or may not have heard yet that it is granted.

        Arguments:
            limit: seconds that are of late.
        """
        seen = [entry.seen_at for entry in self.admissions.entries() if entry.job == row.id]
        return time.time() - max([row.updated_at, *seen]) < limit

    def _verdict(self, work: Spec, peer: Peer) -> KnownVerdict:
        proof = jobkey.proof(
            work.grant.job_key, work.job, work.source_fingerprint, work.destination_fingerprint, PROOF_PURPOSE
        )
        return self.client(self.config, peer).verdict(work.job, proof).verdict
