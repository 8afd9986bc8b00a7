"""The hash chain of the audit log."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from vmferry.core.auditlog import chain
from vmferry.core.auditlog.chain import START, LogFault, LogHead, Verification, Walk


def made(count: int, after: LogHead = START, begins: int = 0) -> list[bytes]:
    """Make records, of which those from one number on are in a file of their own."""
    lines = []
    for number in range(count):
        text = json.dumps({"at": datetime(2026, 1, 1, 0, number % 60, tzinfo=UTC).isoformat(), "what": f"é{number}"})
        line, after = chain.bind(text, after, begins=number == begins)
        lines.append(line)
    return lines


def walked(lines: list[bytes], *heads: LogHead) -> tuple[Verification, list[LogFault]]:
    walk = Walk(head.number for head in heads)
    for number, line in enumerate(lines, 1):
        walk.step("audit.log", number, line)
    seen = walk.end()
    return seen, [one.kind for one in chain.missed(heads, seen, walk.digests)]


def head(lines: list[bytes]) -> LogHead:
    found = chain.resume(lines)
    assert found is not None
    return found


def kind(lines: list[bytes]) -> LogFault | None:
    broken = walked(lines)[0].broken
    return broken.kind if broken else None


@given(st.integers(1, 20), st.integers(0, 19))
def test_what_was_only_written_holds(count: int, rotated: int) -> None:
    """Also without the oldest, which rotation takes away, and with a stop of the daemon in between."""
    lines = made(count, begins=rotated)
    lines += made(3, head(lines))
    left = lines[min(rotated, count) :]
    seen, missed = walked(left, head(lines), head(lines[:1]))
    assert (seen.broken, missed) == (None, [])
    assert (seen.records, seen.head.number, seen.first) == (len(left), count + 3, min(rotated, count) + 1)


@given(st.integers(2, 12), st.data())
def test_any_change_removal_insertion_and_swap_is_found(count: int, data: st.DataObject) -> None:
    """By the chain itself, but for what is done to its end, which the head that another host has shows."""
    lines = made(count)
    known = head(lines)
    at = data.draw(st.integers(0, count - 1))
    forged = list(lines)
    match data.draw(st.sampled_from(["change", "remove", "insert", "swap"])):
        case "change":
            place = data.draw(st.integers(0, len(lines[at]) - 1))
            byte = data.draw(st.integers(0, 255).filter(lambda byte: byte not in (lines[at][place], 10)))
            forged[at] = lines[at][:place] + bytes([byte]) + lines[at][place + 1 :]
        case "remove":
            del forged[at]
        case "insert":
            forged.insert(at, data.draw(st.sampled_from(lines)))
        case _:
            other = data.draw(st.integers(0, count - 1).filter(lambda other: other != at))
            forged[at], forged[other] = lines[other], lines[at]
    seen, missed = walked(forged, known)
    assert seen.broken or missed or seen.unchained
    if at < count - 1 and seen.head == known and not seen.unchained:
        assert seen.broken


@given(st.integers(2, 12), st.data())
def test_a_log_that_was_written_anew_or_cut_off_is_told_by_a_head(count: int, data: st.DataObject) -> None:
    lines = made(count)
    at = data.draw(st.integers(1, count - 1))
    seen, missed = walked(lines[:at], head(lines), head(lines[:1]))
    assert (seen.broken, missed) == (None, [LogFault.CUT])
    text = json.dumps({"at": "2026-01-01T00:00:00Z", "what": "nothing"})
    line, after = chain.bind(text, head(lines[:at]))
    anew = [*lines[:at], line, *made(count, after)]
    seen, missed = walked(anew, head(lines), head(lines[:at]))
    assert (seen.broken, missed) == (None, [LogFault.REWRITTEN])


@given(st.integers(2, 12), st.data())
def test_lines_cut_off_at_the_front_are_found(count: int, data: st.DataObject) -> None:
    """Rotation takes whole files away, so what is left of a file without its first line was cut."""
    lines = made(count)
    at = data.draw(st.integers(1, count - 1))
    broken = walked(lines[at:])[0].broken
    assert broken is not None
    assert (broken.kind, broken.line, broken.number) == (LogFault.REMOVED, 1, at + 1)
    marked = lines[at].replace(b'"at"', b'"begins":true,"at"')
    assert at == count - 1 or walked([marked, *lines[at + 1 :]])[0].broken


def test_each_kind_of_break_is_named_with_its_place() -> None:
    lines = made(6)
    changed = [*lines[:2], lines[2].replace(b"01-01", b"01-02"), *lines[3:]]
    broken = walked(changed)[0].broken
    assert broken is not None
    assert (broken.kind, broken.file, broken.line, broken.number) == (LogFault.CHANGED, "audit.log", 3, 3)
    assert kind(lines[:2] + lines[3:]) is LogFault.REMOVED
    assert kind([*lines[:3], lines[1], *lines[3:]]) is LogFault.INSERTED
    assert kind([*lines[:3], b"{}", *lines[3:]]) is LogFault.UNREADABLE


def test_lines_from_before_the_chain_are_vouched_for_once_it_began() -> None:
    old = [b'{"at":"2025-01-01T00:00:00Z"}', b'{"at":"2025-01-02T00:00:00Z"}']
    lines = old + made(3, head(old))
    seen = walked(lines)[0]
    assert (seen.unchained, seen.records, seen.broken) == (2, 3, None)
    assert kind([old[0], *lines[2:]]) is LogFault.CHANGED


def test_heads_of_what_was_rotated_away_are_counted() -> None:
    lines = made(5, begins=3)
    heads = [START, *(head(lines[:number]) for number in range(1, 6))]
    seen, missed = walked(lines[3:], *heads)
    assert (seen.broken, missed, chain.older(heads, seen)) == (None, [], 3)
    assert chain.older(heads, walked(lines)[0]) == 0
    assert chain.older(heads, walked([])[0]) == 0


def test_nothing_is_no_break() -> None:
    seen, missed = walked([], START)
    assert (seen.records, seen.head, seen.broken, missed) == (0, START, None, [])
    assert walked([], LogHead(number=3, digest="0" * 64))[1] == [LogFault.CUT]
