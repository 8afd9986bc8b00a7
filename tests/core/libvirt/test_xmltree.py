import time
from collections.abc import Callable
from itertools import count

import pytest

from vmferry.core.errors import UsageError
from vmferry.core.libvirt import xmltree
from vmferry.core.libvirt.xmltree import DocumentLimits

NUMBER = count()  # of a document: one that was read is remembered


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ("<!DOCTYPE domain><domain/>", "a DOCTYPE"),
        ("<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><domain>&e;</domain>", "a DOCTYPE"),
        ("<?xml version='1.0'?><domain/>", "an XML declaration"),
        ("<domain><?php x?></domain>", "a processing instruction"),
        ("<domain><devices><!-- x --></devices></domain>", "a comment"),
        ("<domain>&undefined;</domain>", "not well-formed"),
        ("<domain>", "not well-formed"),
        ("<domain/><domain/>", "not well-formed"),
        ("<domain a='1' a='2'/>", "not well-formed"),
        ("", "not well-formed"),
        ("<domain>\0</domain>", "not well-formed"),
        ("<domain>\ud800</domain>", "not Unicode"),
        ("<a>" * 100 + "</a>" * 100, "deep"),
    ],
)
def test_what_libvirt_never_writes_is_refused(xml: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        xmltree.parse(xml)
    assert caught.value.code.name == "bad-request"


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        (f"<domain>{'<a/>' * 10_000}</domain>", "more than 10000 elements"),
        (f"<domain>{'<a/>' * 470_000}{' ' * 2_000_000}</domain>", "bytes, more than 1048576"),
        (f"<domain>{' ' * (1 << 20)}</domain>", "bytes, more than 1048576"),
        ("<domain " + " ".join(f"a{n}=''" for n in range(65)) + "/>", "more than 64 attributes"),
        (f"<domain a='{'x' * 131_073}'/>", "an attribute is longer"),
        (f"<domain>{'x' * 131_073}</domain>", "a text is longer"),
        (f"<domain>{'&lt;' * 131_073}</domain>", "a text is longer"),
    ],
)
def test_what_is_too_big_is_refused_at_once(xml: str, why: str) -> None:
    def read() -> None:
        xmltree.parse(f"<domain number='{next(NUMBER)}'>{'<a/>' * 9_999}</domain>")

    def refuse() -> None:
        with pytest.raises(UsageError, match=why):
            xmltree.parse(xml)

    assert _quickest(refuse) < 5 * _quickest(read)


def _quickest(do: Callable[[], object]) -> float:
    """Return the processor seconds of the quickest of some runs."""
    took = []
    for _ in range(3):
        began = time.process_time()
        do()
        took.append(time.process_time() - began)
    return min(took)


def test_the_biggest_that_is_taken_is_taken() -> None:
    attributes = " ".join(f"a{n}='{'x' * 100}'" for n in range(64))
    assert len(xmltree.parse(f"<domain {attributes}>{'<a/>' * 9_999}{'x' * 131_072}</domain>")) == 9_999
    assert len(xmltree.parse(f"<c>{'<a/>' * 20_000}</c>", DocumentLimits(elements=20_001))) == 20_000


def test_a_document_is_read_once_and_a_copy_to_edit_is_apart() -> None:
    xml = "<domain><name>once</name></domain>"
    assert xmltree.parse(xml) is xmltree.parse(xml)
    xmltree.fresh(xml)[0].text = "twice"
    assert xmltree.parse(xml)[0].text == "once"
