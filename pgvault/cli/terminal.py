"""The one console on stderr: a bar, and what is logged while it is there, must come from the same one."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@cache
def stderr_console() -> Console:
    """Return the console on stderr. What is written by another one tears whatever bar this one shows."""
    from rich.console import Console

    return Console(stderr=True)
