"""What other hosts know of an audit log, when the log itself no longer tells."""

from typing import TYPE_CHECKING

import pytest
from tests.agent.test_peer import offer

from vmferry.core.auditlog import chain
from vmferry.core.auditlog.chain import START, LogFault, Verification
from vmferry.core.messages.offer import Grant
from vmferry.core.policy.settings import SettingsChange

if TYPE_CHECKING:
    from tests.agent.conftest import Node


@pytest.fixture
def offered(kvm1: "Node", kvm2: "Node") -> Grant:
    """A VM that kvm1 offered to kvm2, with the head of its log; both logs go on after it."""
    kvm1.pair(kvm2)
    kvm1.client.change_settings(SettingsChange(max_migrations=3))
    grant = kvm1.peer(kvm2).offer(offer().model_copy(update={"audit_head": kvm1.trail.head()}))
    kvm1.client.change_settings(SettingsChange(max_migrations=4))
    return grant


def verified(node: "Node") -> Verification:
    return node.client.verify_audit(peers=True)


def test_a_log_that_is_whole_has_all_heads(kvm1: "Node", kvm2: "Node", offered: Grant) -> None:
    (record,) = [record for record in kvm2.client.audit() if record.peer_head]
    assert record.action == "offer_vm"
    assert record.peer_head is not None
    assert (record.peer_head.host, record.peer_head.number) == ("kvm1", 2)
    seen = verified(kvm1)
    assert (seen.wrong, seen.records) == (False, 3)
    (witness,) = seen.peers
    assert (witness.host, witness.heads, witness.missed, witness.error) == ("kvm2", 1, [], None)
    assert kvm1.client.verify_audit().peers == []


def test_the_destination_tells_its_head_and_the_source_keeps_it(kvm1: "Node", kvm2: "Node", offered: Grant) -> None:
    assert offered.audit_head is not None
    assert offered.audit_head.number == 2  # invited, accepted
    peer = kvm1.stores.peers.get("kvm2")
    assert peer is not None
    kvm1.trail.keep(peer, offer("ann").caller, "0001", "kvm1", offered.audit_head)
    (record,) = kvm1.client.audit(job="0001")
    assert (record.action, record.caller, record.on_behalf_of, record.result) == ("exchange_heads", "kvm2", "ann", "ok")
    assert [(one.heads, one.missed) for one in verified(kvm2).peers] == [(1, [])]
    lines = kvm2.config.audit_log.read_bytes().splitlines(keepends=True)
    kvm2.config.audit_log.write_bytes(lines[0])
    assert [missed.kind for missed in verified(kvm2).peers[0].missed] == [LogFault.CUT]


def test_a_log_whose_end_was_cut_off_is_found(kvm1: "Node", kvm2: "Node", offered: Grant) -> None:
    kvm1.stop()
    lines = kvm1.config.audit_log.read_bytes().splitlines(keepends=True)
    kvm1.config.audit_log.write_bytes(lines[0])
    kvm1.start()
    assert not kvm1.client.verify_audit().wrong  # by itself it looks well
    (missed,) = verified(kvm1).peers[0].missed
    assert (missed.kind, missed.head.number) == (LogFault.CUT, 2)
    for limit in range(5, 8):  # and when as many have come as were taken away
        kvm1.client.change_settings(SettingsChange(max_migrations=limit))
    assert not kvm1.client.verify_audit().wrong
    assert [missed.kind for missed in verified(kvm1).peers[0].missed] == [LogFault.REWRITTEN]


def test_a_log_that_was_written_anew_as_a_whole_is_found(kvm1: "Node", kvm2: "Node", offered: Grant) -> None:
    kvm1.stop()
    lines, head = kvm1.config.audit_log.read_bytes().splitlines(), START
    with kvm1.config.audit_log.open("wb") as file:
        for old in lines:
            text = "{" + old.decode().split(",", 2)[2].replace("root", "mallory")
            line, head = chain.bind(text, head)
            file.write(line + b"\n")
    kvm1.start()
    assert not kvm1.client.verify_audit().wrong
    assert [missed.kind for missed in verified(kvm1).peers[0].missed] == [LogFault.REWRITTEN]


def test_a_host_that_does_not_answer_is_named(kvm1: "Node", kvm2: "Node", offered: Grant) -> None:
    kvm2.stop()
    seen = verified(kvm1)
    (witness,) = seen.peers
    assert (seen.wrong, witness.heads) == (False, 0)
    assert witness.error is not None
    assert "kvm2" in witness.error


def test_a_host_is_told_of_its_own_log_only(kvm1: "Node", kvm2: "Node", offered: Grant) -> None:
    assert kvm2.peer(kvm1).heads().heads == []
    assert len(kvm1.peer(kvm2).heads().heads) == 1
