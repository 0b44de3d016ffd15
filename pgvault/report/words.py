"""Numbers and instants in words, for sentences and for the page; what would deceive the eye is spelt out."""

from __future__ import annotations

from datetime import datetime, tzinfo


def counted(count: int, noun: str) -> str:
    """A number of things: 1 check, 3 checks."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def clock(value: datetime, zone: tzinfo) -> str:
    """An instant as a clock in `zone` shows it, to the minute: 2026-01-17 06:00."""
    return value.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def share(value: float) -> str:
    """A share of one in per cent, never rounded up to all: 99.93 %."""
    text = f"{value * 100:.2f}"
    if value < 1 and text == "100.00":
        text = "99.99"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def number(value: float) -> str:
    """A measure of a check: 3, 0.05."""
    return f"{value:.6g}"


def printable(text: str) -> str:
    """Text with control characters, and those that turn the direction of reading, spelt out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
