"""Numbers of bytes as people read them, in one way everywhere: 1.5 GiB. Spans of time are in `instants`."""

from __future__ import annotations

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def say_bytes(count: float) -> str:
    """Print a number of bytes for people: 17 B, 1.5 GiB."""
    for unit in UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {UNITS[-1]}"
