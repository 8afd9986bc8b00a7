"""Trying whether two hosts reach and accept each other."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.agent.peers.test_site import join
from tests.authority import Authority

from vmferry.core import codes
from vmferry.core.errors import VmferryError

if TYPE_CHECKING:
    from tests.agent.conftest import Node


def test_both_ways(kvm1: "Node", kvm2: "Node") -> None:
    kvm1.pair(kvm2)
    for here, there in ((kvm1, "kvm2"), (kvm2, "kvm1")):
        test = here.client.try_host(there)
        assert (test.host, test.ok, test.there, test.back) == (there, True, None, None)
        assert test.version


def test_a_host_that_does_not_answer(kvm1: "Node", kvm2: "Node") -> None:
    kvm1.pair(kvm2)
    kvm2.stop()
    test = kvm1.client.try_host("kvm2")
    assert not test.ok
    assert test.there is not None
    assert test.there.code == "host-unreachable"
    assert test.back is None


def test_a_way_back_that_leads_elsewhere(kvm1: "Node", kvm2: "Node") -> None:
    kvm1.pair(kvm2)
    known = kvm2.stores.peers.get("kvm1")
    assert known is not None
    kvm2.stores.peers.add(replace(known, port=1))
    test = kvm1.client.try_host("kvm2")
    assert (test.ok, test.there) == (False, None)
    assert test.back is not None
    assert "port 1" in test.back.detail


def test_hosts_of_a_site(kvm1: "Node", kvm2: "Node") -> None:
    authority = Authority()
    for node in (kvm1, kvm2):
        join(node, authority, "localhost", "127.0.0.1")
    test = kvm1.client.try_host(f"localhost:{kvm2.config.port}")
    assert test.there is None
    # Both call themselves localhost here, so that the way back is known by that name too.
    assert test.ok, test.back


def test_a_stranger(kvm1: "Node") -> None:
    with pytest.raises(VmferryError) as caught:
        kvm1.client.try_host("kvm9")
    assert caught.value.code is codes.HOST_UNKNOWN


def test_addresses_are_those_that_moves_can_travel_on(kvm1: "Node") -> None:
    for address in kvm1.client.addresses():
        assert not address.address.startswith("127.")
        assert "/" in address.subnet
        assert address.interface
