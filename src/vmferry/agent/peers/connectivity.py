"""Tries whether two hosts reach and accept each other, in both directions, before a VM depends on it."""

from vmferry.config import Config
from vmferry.core.errors import VmferryError
from vmferry.core.messages.api import PairTest, Problem, ReverseTest
from vmferry.identity.peer import PeerClient
from vmferry.store.peers import Peer


def try_pair(config: Config, peer: Peer) -> PairTest:
    """Ask a host who it is, and let it ask this one.

    Returns:
        For each direction what is wrong, if anything; without the way there nothing is known of the way back.
    """
    client = PeerClient(config, peer)
    try:
        version = client.hello().version
    except VmferryError as error:
        return PairTest(host=peer.name, ok=False, version=None, there=_problem(error), back=None)
    try:
        back = client.back().problem
    except VmferryError as error:
        back = _problem(error)
    return PairTest(host=peer.name, ok=back is None, version=version, there=None, back=back)


def try_back(config: Config, peer: Peer) -> ReverseTest:
    """Ask the host that asks this one who it is."""
    try:
        PeerClient(config, peer).hello()
    except VmferryError as error:
        return ReverseTest(problem=_problem(error))
    return ReverseTest(problem=None)


def _problem(error: VmferryError) -> Problem:
    return Problem.model_validate(error.problem())
