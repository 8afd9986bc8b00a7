"""What people type and read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.cli.terminal.units import duration, parse_rate, parse_seconds, parse_span, rate, size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100M", 100 << 20),
        ("100MiB", 100 << 20),
        ("100 mb/s", 100 << 20),
        ("1.5G", 3 << 29),
        ("64k", 64 << 10),
        ("1T", 1 << 40),
        ("800Mbit", 100_000_000),
        ("1Gbit/s", 125_000_000),
        ("1gbps", 1 << 30),
    ],
)
def test_rate_is_read(text: str, expected: int) -> None:
    assert parse_rate(text) == expected


@pytest.mark.parametrize("text", ["", "100", "M", "-1M", "1e3M", "0M", "0.0000001k", "1 lot", "1M M"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a rate|too small"):
        parse_rate(text)


@pytest.mark.parametrize(("text", "expected"), [("300ms", 0.3), ("1s", 1.0), ("1.5 S", 1.5)])
def test_time_is_read(text: str, expected: float) -> None:
    assert parse_seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("1.5 h", 5400), ("10m", 600), ("10min", 600)])
def test_a_long_time_is_read(text: str, expected: float) -> None:
    assert parse_span(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "1", "0m", "300ms", "h", "10:00"])
def test_what_is_no_long_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_span(text)


@pytest.mark.parametrize("text", ["", "1", "0s", "-1s", "1m", "s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (500 << 20, "500 MiB"),
        (1023.9 * (1 << 20), "1 GiB"),
        (12.34 * (1 << 30), "12.3 GiB"),
        (99.97 * (1 << 20), "100 MiB"),
        (5 << 40, "5.0 TiB"),
    ],
)
def test_size_is_written(count: float, expected: str) -> None:
    assert size(count) == expected
    assert rate(count) == f"{expected}/s"


@given(st.integers(0, 1 << 55))
def test_size_is_short_and_never_in_powers_of_ten(count: int) -> None:
    assert len(size(count)) <= 11
    assert "e" not in size(count)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 ms"),
        (0.2468, "247 ms"),
        (0.9999, "1.0 s"),
        (12.34, "12.3 s"),
        (125, "2:05 min"),
        (3725, "1:02:05 h"),
    ],
)
def test_duration_is_written(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected
