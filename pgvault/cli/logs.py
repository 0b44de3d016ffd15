"""Where the library's log goes: stderr, so that stdout holds results alone."""

from __future__ import annotations

import logging
import sys


def setup_logging(*, is_verbose: bool) -> None:
    """Send the library's log to stderr: warnings always, facts for the curious."""
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, markup=False, highlighter=None)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("pgvault")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO if is_verbose else logging.WARNING)
