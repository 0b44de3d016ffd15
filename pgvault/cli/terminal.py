"""The one console on stderr: a bar, and what is logged while it is there, must come from the same one."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@cache
def stderr_console() -> Console:
    """Return the console on stderr. What is written by another one tears whatever bar this one shows."""
    from rich.console import Console

    # Else rich believes $FORCE_COLOR: a pipe would be drawn upon, and when that breaks, rich ends the program.
    return Console(stderr=True, force_terminal=sys.stderr is not None and sys.stderr.isatty())
