"""Nonces that a destination draws: each for one host, one VM, one time, and not for long."""

from vmferry.agent.moves.nonces import _MOST, Challenges

UUID = "7f0c8cc5-2d4c-4f4b-9b5a-0123456789ab"
OTHER = "00000000-2d4c-4f4b-9b5a-0123456789ab"


def test_a_nonce_is_for_one_host_one_vm_and_one_time() -> None:
    drawn = Challenges()
    nonce = drawn.draw("kvm1", UUID)
    assert drawn.take("kvm3", UUID, {nonce}) is None
    assert drawn.take("kvm1", OTHER, {nonce}) is None
    assert drawn.take("kvm1", UUID, {"5a" * 16, ""}) is None
    assert drawn.take("kvm1", UUID, {"5a" * 16, nonce}) == nonce
    assert drawn.take("kvm1", UUID, {nonce}) is None


def test_a_nonce_is_not_good_for_long() -> None:
    now = [0.0]
    drawn = Challenges(lambda: now[0])
    nonce = drawn.draw("kvm1", UUID)
    now[0] = 61.0
    assert drawn.take("kvm1", UUID, {nonce}) is None


def test_one_host_has_a_few_and_takes_none_of_anothers() -> None:
    drawn = Challenges()
    other = drawn.draw("kvm3", UUID)
    nonces = [drawn.draw("kvm1", UUID) for _ in range(100)]
    assert len(set(nonces)) == 100
    assert drawn.take("kvm1", UUID, {nonces[0]}) is None
    assert drawn.take("kvm1", UUID, {nonces[-1]}) == nonces[-1]
    assert drawn.take("kvm3", UUID, {other}) == other


def test_what_a_host_may_have_it_keeps() -> None:
    drawn = Challenges()
    nonces = [drawn.draw("kvm1", UUID) for _ in range(_MOST)]
    assert [drawn.take("kvm1", UUID, {nonce}) for nonce in nonces] == nonces
