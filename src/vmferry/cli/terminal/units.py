"""Parse and format sizes, rates and times."""

import re
from collections.abc import Callable
from typing import Any

import click

_BINARY = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt])(i?b|bit)?(?:/s|ps)?", re.IGNORECASE)
_SPANS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)", re.IGNORECASE)
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s)", re.IGNORECASE)


def parse_rate(text: str) -> int:
    """Return a rate in bytes per second; text is like `100M` (MiB), `1.5G` or `800Mbit`.

    Raises:
        ValueError: it is not a rate, or has no unit: there is no unit that everybody would expect.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text} is not a rate; write 100M for 100 MiB per second, or 800Mbit")
    number, prefix, unit = float(match[1]), match[2].lower(), (match[3] or "").lower()
    found = round(number * _DECIMAL[prefix] / 8 if unit == "bit" else number * _BINARY[prefix])
    if found == 0:
        raise ValueError(f"{text} is too small")
    return found


def parse_seconds(text: str) -> float:
    """Return a time in seconds; text is like `300ms` or `1.5s`.

    Raises:
        ValueError: it is not a time, or is zero.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text} is not a time; write 300ms or 1.5s")
    return float(match[1]) / (1000 if match[2].lower() == "ms" else 1)


def parse_span(text: str) -> float:
    """Return a longer time in seconds; text is like `90s`, `15m`, `1h` or `30d`.

    Raises:
        ValueError: it is not a time, or is zero.
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text} is not a time; write 15m, 1h or 30d")
    return float(match[1]) * _SPANS[match[2].lower()]


def parsed(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return a callback for an option, repeatable or not, that parses each value with a function."""

    def callback(_ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        try:
            if isinstance(value, tuple):
                return tuple(parse(one) for one in value)
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return callback


def size(count: float) -> str:
    """Return a number of bytes as text: three digits and a binary unit."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1023.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def rate(count: float) -> str:
    """Return a rate in bytes per second as text."""
    return f"{size(count)}/s"


def duration(seconds: float) -> str:
    """Return a time in seconds as text: milliseconds, seconds, or minutes and hours as on a clock."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def long_ago(seconds: float) -> str:
    """Return how long ago something was, in the largest whole unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return f"{max(int(seconds), 0)} s ago"
