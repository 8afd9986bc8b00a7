"""Two hosts come to know each other, and part: two daemons with folders of their own."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.store.steps import walk

from vmferry.agent.peers import pairing
from vmferry.agent.peers.pairing import Attempts
from vmferry.core import codes
from vmferry.core.errors import Code, VmferryError
from vmferry.core.job import Phase
from vmferry.core.messages.api import PairingRequest
from vmferry.identity import certificates
from vmferry.identity.pairing import Token, redeem

if TYPE_CHECKING:
    from tests.agent.conftest import Node


def refused(code: Code, call: Callable[[], object]) -> VmferryError:
    with pytest.raises(VmferryError) as caught:
        call()
    assert caught.value.code is code, caught.value
    return caught.value


def request(node: "Node", token: Token, **changes: str) -> PairingRequest:
    fields = {
        "secret": token.secret.hex(),
        "name": node.config.name,
        "port": node.config.port,
        "certificate": node.identity.certificate,
    }
    return PairingRequest.model_validate(fields | changes)


def test_pairing_is_mutual(kvm1: "Node", kvm2: "Node") -> None:
    invitation = kvm1.client.invite()
    there = kvm2.client.pair(invitation.token)
    assert (there.name, there.address, there.port) == ("kvm1", "127.0.0.1", kvm1.config.port)
    assert there.fingerprint == kvm1.identity.fingerprint
    assert kvm2.client.hosts() == [there]
    (here,) = kvm1.client.hosts()
    assert (here.name, here.address, here.port) == ("kvm2", "127.0.0.1", kvm2.config.port)
    assert (here.fingerprint, here.paired_by, here.callers) == (kvm2.identity.fingerprint, "root", ["*"])
    assert kvm2.peer(kvm1).hello().name == "kvm1"
    assert kvm1.peer(kvm2).hello().name == "kvm2"


def test_each_side_names_the_callers_it_lets_the_other_speak_for(kvm1: "Node", kvm2: "Node") -> None:
    kvm2.client.pair(kvm1.client.invite(["alice"]).token, callers=["bob", "carol"])
    assert kvm1.client.hosts()[0].callers == ["alice"]
    assert kvm2.client.hosts()[0].callers == ["bob", "carol"]


def test_pairing_survives_restarts(kvm1: "Node", kvm2: "Node") -> None:
    kvm2.pair(kvm1)
    kvm1.stop()
    kvm1.start()
    assert kvm2.peer(kvm1).hello().name == "kvm1"


def test_token_is_good_once(kvm1: "Node", kvm2: "Node", nodes: "Callable[[str], Node]") -> None:
    token = kvm1.client.invite().token
    kvm2.client.pair(token)
    kvm3 = nodes("kvm3")
    refused(codes.TOKEN_WRONG, lambda: kvm3.client.pair(token))
    assert [host.name for host in kvm1.client.hosts()] == ["kvm2"]
    assert kvm3.client.hosts() == []


def test_token_is_good_for_ten_minutes(kvm1: "Node", kvm2: "Node") -> None:
    token = kvm1.client.invite().token
    with kvm1.database.transaction() as connection:
        connection.execute("UPDATE invitations SET expires_at = expires_at - 600")
    error = refused(codes.TOKEN_WRONG, lambda: kvm2.client.pair(token))
    assert error.fields == {"host": "kvm1"}
    assert kvm1.client.hosts() == kvm2.client.hosts() == []


def test_wrong_secret(kvm1: "Node", kvm2: "Node") -> None:
    token = Token.decode(kvm1.client.invite().token)
    refused(codes.TOKEN_WRONG, lambda: kvm2.client.pair(replace(token, secret=bytes(16)).encode()))
    refused(codes.TOKEN_WRONG, lambda: redeem(token, request(kvm2, token, secret="not hex")))
    kvm2.client.pair(token.encode())  # a few wrong ones do not spoil the right one


def test_secret_is_shown_to_the_right_host_only(kvm1: "Node", kvm2: "Node", nodes: "Callable[[str], Node]") -> None:
    impostor = nodes("kvm3")
    token = kvm1.client.invite().token
    error = refused(codes.TOKEN_CERTIFICATE, lambda: kvm2.client.pair(token, f"127.0.0.1:{impostor.config.port}"))
    assert str(impostor.config.port) in error.reason
    assert kvm2.client.hosts() == []
    assert kvm2.client.pair(token).name == "kvm1"  # it is still secret, and good


def test_wrong_tokens_are_rate_limited(kvm1: "Node", kvm2: "Node") -> None:
    good = kvm1.client.invite().token
    wrong = replace(Token.decode(good), secret=bytes(16)).encode()
    for _ in range(pairing.FROM_ONE):
        refused(codes.TOKEN_WRONG, lambda: kvm2.client.pair(wrong))
    error = refused(codes.TOKEN_RATE, lambda: kvm2.client.pair(wrong))
    assert 0 < error.fields["seconds"] <= 601
    refused(codes.TOKEN_RATE, lambda: kvm2.client.pair(good))
    assert kvm1.client.hosts() == []


def test_attempts_are_counted_by_place_and_together() -> None:
    now = 0.0
    attempts = Attempts("kvm1", lambda: now)
    for _ in range(pairing.FROM_ONE):
        attempts.enter("10.0.0.1")
    refused(codes.TOKEN_RATE, lambda: attempts.enter("10.0.0.1"))
    attempts.enter("10.0.0.2")
    for number in range(pairing.FROM_ONE):
        attempts.enter(f"fd00::{number + 1}")
    refused(codes.TOKEN_RATE, lambda: attempts.enter("fd00::ffff"))  # one network, many addresses
    for number in range(pairing.FROM_ALL - 2 * pairing.FROM_ONE - 1):
        attempts.enter(f"10.1.0.{number}")
    refused(codes.TOKEN_RATE, lambda: attempts.enter("10.2.0.1"))
    now += pairing.WINDOW
    attempts.enter("10.0.0.1")


def test_right_tokens_are_not_counted() -> None:
    attempts = Attempts("kvm1")
    for _ in range(3 * pairing.FROM_ONE):
        attempts.enter("10.0.0.1")
        attempts.forgive("10.0.0.1")


def test_damaged_token_is_not_tried(kvm1: "Node", kvm2: "Node") -> None:
    token = kvm1.client.invite().token
    for _ in range(2 * pairing.FROM_ONE):
        error = refused(codes.BAD_REQUEST, lambda: kvm2.client.pair(token[:-2]))
        assert token[:-2] not in str(error)
    kvm2.client.pair(token)


def test_host_is_not_paired_with_itself(kvm1: "Node") -> None:
    refused(codes.SELF_PAIRING, lambda: kvm1.client.pair(kvm1.client.invite().token))


def test_names_are_not_taken_over(kvm1: "Node", kvm2: "Node", nodes: "Callable[[str], Node]") -> None:
    kvm2.pair(kvm1)
    kvm3 = nodes("kvm3")
    token = Token.decode(kvm1.client.invite().token)
    for name in ("kvm2", "kvm1"):
        error = refused(codes.PEER_NAME_TAKEN, partial(redeem, token, request(kvm3, token, name=name)))
        assert error.fields == {"local": "kvm1", "host": name}
    certificate, _ = certificates.create("kvm3")
    refused(codes.BAD_REQUEST, lambda: redeem(token, request(kvm3, token, certificate="PEM")))
    refused(codes.SELF_PAIRING, lambda: redeem(token, request(kvm1, token, name="kvm9")))
    assert [host.name for host in kvm1.client.hosts()] == ["kvm2"]
    redeem(token, request(kvm3, token, certificate=certificate))  # nothing of that used the token up
    assert [host.name for host in kvm1.client.hosts()] == ["kvm2", "kvm3"]


def test_pairing_again_after_a_lost_answer(kvm1: "Node", kvm2: "Node") -> None:
    token = Token.decode(kvm1.client.invite().token)
    redeem(token, request(kvm2, token))  # kvm1 knows kvm2, and kvm2 died before it knew kvm1
    kvm2.pair(kvm1)
    assert [host.name for host in kvm1.client.hosts()] == ["kvm2"]
    assert kvm1.peer(kvm2).hello().name == "kvm2"


def test_unpairing_is_mutual(kvm1: "Node", kvm2: "Node") -> None:
    kvm2.pair(kvm1)
    to_kvm1 = kvm2.peer(kvm1)
    kvm1.client.unpair("kvm2")
    assert kvm1.client.hosts() == kvm2.client.hosts() == []
    refused(codes.NOT_PAIRED, to_kvm1.hello)
    refused(codes.HOST_UNKNOWN, lambda: kvm1.client.unpair("kvm2"))
    kvm2.pair(kvm1)
    assert to_kvm1.hello().name == "kvm1"


def test_unpairing_a_host_that_is_away(kvm1: "Node", kvm2: "Node") -> None:
    kvm2.pair(kvm1)
    to_kvm1 = kvm2.peer(kvm1)
    kvm2.stop()
    kvm1.client.unpair("kvm2")
    assert kvm1.client.hosts() == []
    refused(codes.NOT_PAIRED, to_kvm1.hello)
    kvm2.start()
    kvm2.client.unpair("kvm1")  # kvm1 does not know it any more: no hindrance


def test_no_unpairing_while_a_job_needs_it(kvm1: "Node", kvm2: "Node") -> None:
    kvm2.pair(kvm1)
    kvm1.job(peer="kvm2")
    error = refused(codes.PEER_BUSY, lambda: kvm1.client.unpair("kvm2"))
    assert error.fields == {"host": "kvm2", "job": "0001"}
    refused(codes.PEER_BUSY, lambda: kvm2.client.unpair("kvm1"))  # kvm1 says so
    assert len(kvm1.client.hosts()) == len(kvm2.client.hosts()) == 1
    kvm1.end()
    kvm2.client.unpair("kvm1")
    assert kvm1.client.hosts() == kvm2.client.hosts() == []


def test_unpairing_by_force_ends_what_has_not_ended(kvm1: "Node", kvm2: "Node") -> None:
    kvm2.pair(kvm1)
    kvm1.job(peer="kvm2")
    refused(codes.PEER_BUSY, lambda: kvm2.client.unpair("kvm1"))
    kvm2.client.unpair("kvm1", force=True)  # kvm1 objects, and is not heard
    assert kvm2.client.hosts() == []
    walk(kvm1.stores.jobs, "0001", Phase.COMMITTING)
    refused(codes.PAST_FORCE, lambda: kvm1.client.unpair("kvm2", force=True))
    assert len(kvm1.client.hosts()) == 1


def test_certificate_that_changed_is_told(kvm1: "Node", kvm2: "Node") -> None:
    kvm2.pair(kvm1)
    kvm1.stop()
    (kvm1.config.state_folder / "host.pem").unlink()  # set up anew
    kvm1.identity = certificates.host_identity(kvm1.config)
    kvm1.start()
    error = refused(codes.CERTIFICATE_CHANGED, kvm2.peer(kvm1).hello)
    assert error.fields == {"host": "kvm1"}


def test_host_that_does_not_answer(kvm1: "Node", kvm2: "Node") -> None:
    kvm2.pair(kvm1)
    kvm1.stop()
    error = refused(codes.HOST_UNREACHABLE, kvm2.peer(kvm1).hello)
    assert error.fields["address"] == f"127.0.0.1 port {kvm1.config.port}"
    assert "refused" in error.reason
    token = Token("127.0.0.1", kvm1.config.port, "ab" * 32, bytes(16)).encode()
    refused(codes.HOST_UNREACHABLE, lambda: kvm2.client.pair(token))


def test_something_else_at_the_address(kvm1: "Node", kvm2: "Node") -> None:
    kvm2.pair(kvm1)
    kvm1.stop()
    with socket.create_server(("127.0.0.1", kvm1.config.port)) as listener:

        def answer() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0-none\r\n")

        threading.Thread(target=answer).start()
        refused(codes.HOST_UNREACHABLE, kvm2.peer(kvm1).hello)
