"""The worker: which ends it has, and its lock, which vmferryd holds too where it stands in for a worker."""

from pathlib import Path

import pytest

from vmferry.core.job import Role
from vmferry.core.kinds import MoveKind
from vmferry.transfer.worker.main import ENDS, _alone


def test_every_kind_of_move_has_both_ends() -> None:
    assert set(ENDS) == {(kind, role) for kind in MoveKind for role in Role}


def test_a_lock_is_free_again_in_the_same_process_whatever_happened(tmp_path: Path) -> None:
    """vmferryd kept it, and no worker could take the job up before vmferryd was started anew."""
    place = tmp_path / "lock"
    with _alone(place) as first, _alone(place) as second:
        assert (first, second) == (True, False)
    with pytest.raises(KeyError):
        _fail(place)
    with _alone(place) as again:
        assert again


def _fail(place: Path) -> None:
    with _alone(place) as alone:
        assert alone
        raise KeyError("x")
